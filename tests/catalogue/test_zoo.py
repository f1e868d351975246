"""The catalogue has every checkpoint that detrex's pages link to, with their data.

``tests/reference/zoo.tsv`` lists the files that the pages of detrex e244e6c link (``zoo``) and the
files that its configs start from (``start``). ``positions.tsv`` is the position embedding of its
configs, read from the real ones with `LazyConfig.load`.
"""

from __future__ import annotations

import csv
import re
from pathlib import Path, PurePosixPath

import pytest

from detrex_hub import catalogue
from detrex_hub.architectures import architecture
from detrex_hub.catalogue import models
from detrex_hub.catalogue.entry import same_address
from detrex_hub.catalogue.lock import read_lock
from detrex_hub.catalogue.tables import parse

REFERENCE = Path(__file__).parent.parent / "reference"
ENTRIES = catalogue.load_entries()


def table(name):
    with (REFERENCE / name).open(newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


ROWS = table("zoo.tsv")
ZOO = [row for row in ROWS if row["part"] == "zoo"]
POSITIONS = {row["config"]: row for row in table("positions.tsv")}


def of(row):
    """The entries of a row's file."""
    return [e for e in ENTRIES.values() if any(same_address(s.url, row["url"]) for s in e.sources)]


def stem(row):
    return PurePosixPath(row["config"]).stem


def test_every_file_that_detrex_links_is_there():
    assert len({row["url"] for row in ROWS if row["part"] == "zoo"}) == 114
    assert [row["url"] for row in ROWS if not of(row)] == []


@pytest.mark.parametrize("row", ZOO, ids=lambda row: PurePosixPath(row["url"]).name)
def test_an_entry_matches_the_table(row):
    (entry,) = of(row)
    assert entry.license and entry.license_evidence
    assert entry.origin == row["made"]
    # Mask DINO's rows name YAML configs of its authors if detrex has none
    if row["config"] and "bs16" not in row["config"]:
        assert entry.base_config == row["config"]
    assert entry.has_detrex_names or entry.origin == "authors"
    figures = dict(
        re.fullmatch(r"(.+) ([\d.]+)", one).groups() for one in row["metric"].split("; ")
    )
    # a second figure for the same has its origin in brackets
    said = {(one.name.casefold().partition(" (")[0], one.value) for one in entry.metrics}
    assert {(name.casefold(), float(value)) for name, value in figures.items()} <= said
    assert all(
        one.source.startswith("https://github.com/IDEA-Research/detrex") for one in entry.metrics
    )
    if entry.base_config in POSITIONS:
        position = POSITIONS[entry.base_config]
        lazy = models.model_of(entry).overrides(dict(entry.facts)).lazy
        for name in ("temperature", "offset"):
            assert lazy[f"model.position_embedding.{name}"] == float(position[name]), name


def test_a_detector_trained_in_detrex_has_the_alias_of_its_config():
    """The first file of a config in the project's tables, or the only one."""
    first = {}
    for row in ZOO:
        if row["made"] == "trained" and row["config"]:
            first.setdefault(stem(row), []).append(row)
    alone = {name: rows[0] for name, rows in first.items() if len(rows) == 1}
    assert len(alone) >= 30
    for name, row in alone.items():
        assert catalogue.find_entry(name) in of(row), name
    assert catalogue.find_entry("dino_r50_4scale_12ep").metrics[0].value == 49.2
    for name, rows in first.items():
        others = [entry for row in rows for entry in of(row)]
        assert catalogue.find_entry(name) in others, name
        for entry in others:
            assert any(one.startswith(name) for one in (entry.name, *entry.aliases)), name


def test_a_converted_file_has_the_alias_of_its_config_if_no_other_file_has():
    trained = {stem(row) for row in ZOO if row["made"] == "trained"}
    for row in ZOO:
        epochs = re.search(r"_\d+ep(?=_|$)", stem(row))
        # DETR's configs have 300 epochs, and its files were trained for 500
        if row["made"] == "converted" and stem(row) not in trained and "_300ep" not in stem(row):
            assert epochs
            assert catalogue.find_entry(stem(row)) in of(row)


def test_the_authors_own_files_have_separate_names():
    # detrex trained no Mask DINO, and its pages list the authors' files under its configs
    stems = {stem(row) for row in ROWS if row["config"] and row["made"] != "authors"}
    for entry in ENTRIES.values():
        if entry.origin == "authors" and not architecture(entry.architecture).backbone:
            assert entry.name not in stems
            assert not stems & set(entry.aliases)


@pytest.mark.parametrize("name", ENTRIES)
def test_an_entry_fits_its_architecture(name):
    entry = ENTRIES[name]
    models.check_entry(entry, where=name)
    made = models.model_of(entry)
    found = made.hyper_parameters()
    assert {k: found[k] for k in entry.hyper_parameters} == dict(entry.hyper_parameters)
    assert entry.license_evidence


def test_digests_are_only_in_the_lock():
    for path in Path(catalogue.__file__).parent.glob("*.toml"):
        if path == catalogue.BUILT_IN_LOCK:
            continue
        text = path.read_text()
        assert not re.search(r"^(sha256|size) =|[{,] (sha256|size) =", text, re.MULTILINE), (
            path.name
        )
        assert "weights" in parse(path)


def test_every_source_in_the_lock_exists():
    urls = {source.url for entry in ENTRIES.values() for source in entry.sources}
    lock = read_lock(catalogue.BUILT_IN_LOCK)
    assert lock.sources.keys() <= urls
    assert lock.weights.keys() <= ENTRIES.keys()
    assert sum(bool(pin.sha256) for pin in lock.sources.values()) >= 45


def test_weights_made_from_non_commercial_weights_are_non_commercial():
    for entry in ENTRIES.values():
        from_mae = "mae" in entry.name or entry.name.startswith("dino_vitdet_")
        assert entry.non_commercial == from_mae, entry.name
