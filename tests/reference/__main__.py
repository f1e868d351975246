"""Add tables: ``python -m tests.reference FILE.json...``."""

import sys
from pathlib import Path

from tests.reference import pack

for argument in sys.argv[1:]:
    print(pack(Path(argument), Path(__file__).parent / "variants"))
