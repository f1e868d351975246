"""Checkpoints that attack their readers, written by the tests: one kind of attack per module."""
