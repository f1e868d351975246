"""``python -m detrex_hub.catalogue.json_schema FILE``: write the JSON schema of catalogue files.

Editors check and complete a TOML file that names it: ``#:schema ./catalogue.schema.json``.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import msgspec

from detrex_hub.catalogue.loader import Defaults, WeightsTable

# how `detrex_hub.schema.matching` writes a pattern
_NAMED = re.compile(r"\\A\(\?#(?P<meaning>[^)]*)\)\(\?:(?P<pattern>.*)\)\\Z", re.DOTALL)


def json_schema() -> dict[str, Any]:
    """The JSON schema of a catalogue file. A table may leave out what ``[defaults]`` says, so that
    the schema requires nothing of it."""
    schemas, components = msgspec.json.schema_components(
        (Defaults, WeightsTable), ref_template="#/$defs/{name}"
    )
    defaults, weights = schemas
    for table in (Defaults, WeightsTable):
        components[table.__name__].pop("required", None)
    document = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A catalogue of detrex-hub",
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "defaults": defaults,
            "weights": {"type": "object", "additionalProperties": weights},
        },
        "$defs": components,
    }
    found: dict[str, Any] = _in_javascript(document)
    return found


def _in_javascript(value: Any) -> Any:
    """The same with patterns of JSON schema, which are JavaScript's, and what they mean as
    descriptions."""
    if isinstance(value, list):
        return [_in_javascript(one) for one in value]
    if not isinstance(value, dict):
        return value
    found = {name: _in_javascript(one) for name, one in value.items()}
    pattern = found.get("pattern")
    named = _NAMED.fullmatch(pattern) if isinstance(pattern, str) else None
    if named is not None:
        inner = r"\S" if "(?s:" in named["pattern"] else f"^(?:{named['pattern']})$"
        found |= {"pattern": inner, "description": named["meaning"]}
    return found


def dumped() -> str:
    """The schema as its file holds it."""
    return json.dumps(json_schema(), indent=2, sort_keys=True, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(dumped(), encoding="utf-8", newline="\n")
