"""Fuzz targets: randomly damaged checkpoints must be read or refused.

``python -m tests.fuzz READER --runs N`` runs one target for longer; ``--seed`` sets another seed.
"""
