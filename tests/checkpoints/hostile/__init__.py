"""Checkpoints that attack their readers, written by the tests: one idea a file."""
