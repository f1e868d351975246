"""Tests of exports to other software."""
