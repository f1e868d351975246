"""Add a table that was written by hand, or print the description of one model.

python -m tests.reference add my_arch_r50.json
python -m tests.reference describe torch.nn:Transformer
"""

import argparse
import importlib
import json
from pathlib import Path

from tests.reference import pack
from tests.reference.record import VARIANTS, describe


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.reference", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    add = commands.add_parser("add", help="store JSON tables in tests/reference/variants")
    add.add_argument("files", nargs="+", type=Path)
    one = commands.add_parser("describe", help="print types, shapes and ties of a model")
    one.add_argument("model", help="MODULE:CALLABLE, which returns the model")
    arguments = parser.parse_args()
    if arguments.command == "add":
        for file in arguments.files:
            print(pack(file.stem, json.loads(file.read_text(encoding="utf-8")), VARIANTS))
    else:
        import torch

        module, _, name = arguments.model.partition(":")
        with torch.device("meta"):
            model = getattr(importlib.import_module(module), name)()
        print(json.dumps(describe(model), indent=1))


if __name__ == "__main__":
    main()
