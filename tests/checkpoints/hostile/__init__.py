"""Checkpoints that attack whoever reads them, written by the tests: one idea a file."""
