"""Fuzz targets: valid checkpoints, damaged at random, must be read or refused and nothing else.

``python -m tests.fuzz READER --runs N`` runs one of them for longer; ``--seed`` begins elsewhere.
"""
