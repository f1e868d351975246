"""The original weights: find them, pull them, open them."""
