"""Training configs: read them, find the place of weights, and set the values that weights need."""
