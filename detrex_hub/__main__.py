"""``python -m detrex_hub``: the command line."""

from detrex_hub.cli import main

main()
