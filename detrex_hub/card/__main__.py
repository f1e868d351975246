"""``python -m detrex_hub.card [FOLDER]``: write the outlines and cards of the whole catalogue."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from detrex_hub.card import write_model_cards
from detrex_hub.catalogue import CATALOGUE_VARIABLE
from detrex_hub.catalogue.outlines import BUILT_IN_OUTLINES, write_outlines

if __name__ == "__main__":
    # the cards in this repository are those of its own catalogue
    os.environ.pop(CATALOGUE_VARIABLE, None)
    # cards show the outlines
    if write_outlines():
        print(BUILT_IN_OUTLINES)
    for path in write_model_cards(Path(*sys.argv[1:2] or ["model_cards"])):
        print(path)
