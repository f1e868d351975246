"""Training configs: read them, find where weights belong, and set what weights need."""
