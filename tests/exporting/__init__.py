"""Exports to other software."""
