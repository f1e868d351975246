"""From names and training runs to repositories."""
