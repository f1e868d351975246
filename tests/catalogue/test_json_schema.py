"""The JSON schema of catalogue files in docs/, for editors."""

import json
import re
from pathlib import Path

from detrex_hub.catalogue.json_schema import dumped, json_schema
from detrex_hub.catalogue.loader import Defaults, WeightsTable

FILE = Path(__file__).parents[2] / "docs" / "catalogue.schema.json"
MAKE = "python -m detrex_hub.catalogue.json_schema docs/catalogue.schema.json"


def test_the_schema_file_matches_the_types():
    assert FILE.read_text(encoding="utf-8") == dumped(), f"write it again: {MAKE}"


def test_the_schema_has_every_field_and_no_other():
    known = json_schema()["$defs"]
    for kind in (Defaults, WeightsTable):
        table = known[kind.__name__]
        assert set(table["properties"]) == set(kind.__struct_fields__)
        assert table["additionalProperties"] is False
        # a table inherits what [defaults] says
        assert "required" not in table


def test_patterns_are_valid_in_javascript():
    patterns = re.findall(r'"pattern": "(.*)"', dumped())
    assert patterns
    assert not [one for one in patterns if "(?" in one.replace("(?:", "") or r"\\A" in one]
    assert json.loads(dumped())["$defs"]["WeightsTable"]["properties"]["architecture"][
        "description"
    ]
