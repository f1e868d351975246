"""Catalogue files are read strictly, and each problem is reported in one line."""

import os

import pytest

from detrex_hub import catalogue
from detrex_hub.catalogue import loader
from detrex_hub.catalogue.lock import Lock, Pin, ResultPin, lock_path, read_lock, write_lock
from detrex_hub.catalogue.models import model_of
from detrex_hub.errors import CatalogueError, DetrexHubError, UsageError

SHA256 = "5c" * 32
ENTRY = """
[weights.mine]
architecture = "resnet"
layout = "torchvision"
title = "Mine"
url = "https://example.org/mine.pth"
"""


@pytest.fixture
def load(tmp_path):
    """`load(text, lock)`: the entries of a file, and no others."""
    path = tmp_path / "my.toml"

    def _load(text, lock=None):
        path.write_text(text)
        if lock is not None:
            write_lock(lock_path(path), lock)
        known = catalogue.load_entries([path])
        return {name: entry for name, entry in known.items() if entry.family == "my"}

    return _load


@pytest.mark.parametrize("exists", [True, False])
def test_a_lock_that_is_a_link_stays_a_link(tmp_path, exists):
    real, link = tmp_path / "real.toml", tmp_path / "my.lock.toml"
    link.symlink_to(real)
    lock = Lock(weights={"mine": ResultPin(sha256=SHA256, mapper=SHA256)}, sources={})
    if exists:
        write_lock(real, Lock())
    write_lock(link, lock)
    assert link.is_symlink()
    assert read_lock(real) == lock


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (ENTRY + "depth = 50", r"\[weights.mine\] has an unknown name 'depth'"),
        ("[default]\n" + ENTRY, r"unknown table \[default\]; it can have \[defaults\]"),
        ("weights = 3", "weights should be a table"),
        ("[weights]\nmine = 3", "weights.mine should be a table"),
        ("[defaults]\ntitel = 'x'", r"\[defaults\] has an unknown name 'titel'"),
        ("[defaults]", r"there is no \[weights.<name>\] table"),
        (ENTRY.replace('title = "Mine"', ""), r"\[weights.mine\] title is missing"),
        (
            ENTRY.replace('"Mine"', "3"),
            r"\[weights.mine\] title should be a string, not an integer",
        ),
        (ENTRY.replace('"Mine"', '" "'), r"title should be a string of at least one character"),
        (ENTRY.replace("url", "#"), r"\[weights.mine\] lacks url or sources"),
        (ENTRY.replace("https", "ftp"), "url is 'ftp://.* and should be https"),
        (ENTRY + 'sources = [{ url = "hf://one" }]', r"sources\[0\] url is 'hf://one'"),
        (
            ENTRY + "sources = [{ file = 'x' }]",
            r"sources\[0\].url is missing|sources.*url is missing",
        ),
        (ENTRY + 'sha256 = "abc"', "sha256 should be a string of 64 hexadecimal digits"),
        (
            ENTRY.replace('"resnet"', '"Res Net"'),
            "architecture should be a string of lower-case letters, digits and '_'$",
        ),
        (ENTRY.replace("mine]", "'mine.pth']"), "is named 'mine.pth', which would mean a file"),
        (ENTRY + 'aliases = ["my.pkl"]', "is named 'my.pkl', which would mean a file"),
        (ENTRY + "size = 0", "size should be an integer, at least 1"),
        (ENTRY + 'license = "apache 2"', "license is 'apache 2' and should be .*apache-2.0"),
        (ENTRY + 'license = "other"', "license is 'other', which needs license_name"),
        (ENTRY + 'homepage = "nowhere"', "homepage is 'nowhere' and should be the https"),
        (ENTRY + 'metrics = { "acc@1" = 3 }', "metrics: acc@1 lacks task, dataset, unit, source"),
        (ENTRY + 'metrics = { "acc@1" = nan }', "metrics"),
        (ENTRY + 'metrics = { "acc@1" = "high" }', "metrics.* should be"),
        (ENTRY + 'origin = "me"', "origin cannot be 'me'"),
        (ENTRY + "facts = { pixel_std = 2020-01-01 }", "facts.* should be"),
        (ENTRY + "facts = { colour = 3 }", "facts has an unknown name 'colour'; resnet takes"),
        (ENTRY + "facts = { stride_in_1x1 = 3 }", "facts.stride_in_1x1 should be .*, not 3"),
        (ENTRY.replace("resnet", "resnets"), "there is no architecture 'resnets'"),
        (
            ENTRY.replace('"torchvision"', '"caffe"'),
            "layout is 'caffe', and resnet has torchvision",
        ),
        (ENTRY.replace("mine]", '"a--b"]'), "is not a valid name"),
        (ENTRY + "aliases = ['a--b']", "aliases: 'a--b' is not a valid name"),
        (ENTRY + "aliases = ['MINE']", r"both have the name MINE"),
        (ENTRY + ENTRY.replace("mine]", "other]\naliases = ['mine']"), "both have the name mine"),
        (ENTRY + ENTRY.replace("mine]", "Mine]"), "both have the name Mine"),
        (ENTRY.replace("mine]", "R50_V1]"), "differs from r50_v1 of resnet.toml only in case"),
    ],
)
def test_errors_name_the_file_and_the_table(load, tmp_path, text, message):
    with pytest.raises(CatalogueError, match=message) as refused:
        load(text)
    said = str(refused.value)
    assert said.startswith(f"{tmp_path / 'my.toml'}: ")
    assert "\n" not in said


def test_a_byte_order_mark_is_skipped(load):
    assert [*load(f"\ufeff{ENTRY}")] == ["mine"]


def test_wrong_hyper_parameters_name_their_entry(load):
    entry = load(f"{ENTRY}hyper_parameters = {{ depth = 19 }}")["mine"]
    with pytest.raises(
        DetrexHubError, match=r"^\[weights.mine\] invalid hyper-parameters of resnet"
    ):
        model_of(entry)


def test_a_file_that_costs_much_time_is_refused(load, tmp_path):
    path = tmp_path / "pipe.toml"
    os.mkfifo(path)
    with pytest.raises(CatalogueError, match="not a regular file"):
        catalogue.load_entries([path])
    with pytest.raises(CatalogueError, match="larger than"):
        load(" " * (4 * 2**20 + 1))
    # the parser would need ten seconds for this key
    with pytest.raises(CatalogueError, match="more than 100 dots"):
        load("a" + ".a" * 20_000 + " = 1")


def test_every_table_with_a_problem_is_reported_at_once(load):
    with pytest.raises(CatalogueError) as refused:
        load(ENTRY + "size = 0\n" + ENTRY.replace("mine]", "other]") + "depth = 50")
    assert "[weights.mine] size" in str(refused.value)
    assert "[weights.other] has an unknown name 'depth'" in str(refused.value)


def test_an_entry_is_found_by_its_aliases_and_suggested_for_similar_names(load, tmp_path):
    load(ENTRY + "aliases = ['my_resnet']")
    extra = [tmp_path / "my.toml"]
    assert catalogue.find_entry("my_resnet", extra).name == "mine"
    assert catalogue.look_up("my_resnet") is None
    with pytest.raises(UsageError, match="Did you mean my_resnet"):
        catalogue.find_entry("my_resnet5", extra)


def test_a_name_takes_precedence_over_an_alias(load, tmp_path):
    load(ENTRY + "aliases = ['other', 'third']")
    first, second = tmp_path / "my.toml", tmp_path / "second.toml"
    second.write_text(ENTRY.replace("mine]", "other]"))
    for extra in ([first, second], [second, first]):
        assert catalogue.find_entry("other", extra).name == "other"
        assert catalogue.find_entry("third", extra).name == "mine"


LOCK = Lock(
    sources={
        "https://example.org/mine.pth": Pin(size=12, sha256=SHA256),
        "hf://me/mine/model.safetensors": Pin(commit="a" * 40),
    },
    weights={"mine": ResultPin(sha256="ab" * 32, mapper="2")},
)


def test_each_name_and_alias_finds_its_entry():
    known = catalogue.load_entries()
    for entry in known.values():
        for name in (entry.name, *entry.aliases):
            assert catalogue.look_up(name) == known.get(name, entry)


def test_a_users_file_is_parsed_again_only_after_it_or_its_lock_has_changed(tmp_path, monkeypatch):
    path = tmp_path / "my.toml"
    path.write_text(ENTRY)
    catalogue.load_entries()  # parses the built-in files once
    read, parsed = loader.read_catalogue, []
    monkeypatch.setattr(
        loader, "read_catalogue", lambda path, lock: parsed.append(path) or read(path, lock)
    )
    for _ in range(3):
        assert catalogue.look_up("mine", [path]).title == "Mine"
        assert catalogue.load_entries([path])["mine"].title == "Mine"
    assert parsed == [path]
    # of the same size, and perhaps of the same time
    path.write_text(ENTRY.replace("Mine", "Ours"))
    assert catalogue.look_up("mine", [path]).title == "Ours"
    pin = Pin(size=12, sha256=SHA256)
    write_lock(lock_path(path), Lock(sources={"https://example.org/mine.pth": pin}))
    assert catalogue.look_up("mine", [path]).sources[0].sha256 == SHA256
    assert len(parsed) == 3
    path.unlink()
    with pytest.raises(CatalogueError, match="there is no catalogue file"):
        catalogue.look_up("mine", [path])


def test_a_name_is_looked_up_without_reading_files_that_do_not_mention_it(monkeypatch):
    read = []
    monkeypatch.setattr(loader, "read_catalogue", lambda path, lock: read.append(path.stem) or {})
    catalogue._of_built_in_file.cache_clear()
    try:
        catalogue.look_up("r101_v2")
    finally:
        catalogue._of_built_in_file.cache_clear()
    assert "resnet" in read
    assert len(read) < 5


def test_a_look_up_refuses_a_name_that_differs_from_a_built_in_one_only_in_case(tmp_path):
    path = tmp_path / "my.toml"
    path.write_text(ENTRY.replace("mine]", "R50_V1]"))
    with pytest.raises(CatalogueError, match=r"differs from r50_v1 of resnet\.toml only in case"):
        catalogue.look_up("another", [path])


def test_the_lock_pins_sources_and_results(load):
    text = ENTRY + 'sources = [{ url = "hf://me/mine/model.safetensors" }]'
    entry = load(text, LOCK)["mine"]
    first, second = entry.sources
    assert (first.size, first.sha256, first.commit) == (12, SHA256, None)
    assert (second.size, second.sha256, second.commit) == (None, None, "a" * 40)
    assert all(one.pinned for one in entry.sources)
    assert (entry.result.sha256, entry.result.mapper) == ("ab" * 32, "2")
    assert not load(ENTRY.replace("example.org", "example.com"), LOCK)["mine"].sources[0].pinned


@pytest.mark.parametrize(
    "said",
    [f'sha256 = "{"0" * 64}"', "size = 13", 'file = "m-5d5d5d5d.pth"\nsha256_in_name = true'],
)
def test_a_file_that_contradicts_its_lock_is_refused(load, said):
    with pytest.raises(CatalogueError, match=r"\[weights.mine\] .*example.org/mine.pth"):
        load(ENTRY + said, LOCK)


def test_a_lock_is_read_as_it_was_written_and_written_as_the_same_bytes(tmp_path):
    path = tmp_path / "my.lock.toml"
    write_lock(path, LOCK)
    assert read_lock(path) == LOCK
    before = path.read_bytes()
    write_lock(
        path,
        Lock(sources=dict(reversed([*LOCK.sources.items()])), weights=LOCK.weights),
    )
    assert path.read_bytes() == before
    odd = Lock(sources={'https://a.b/"\\\u00e9\n\x7f': Pin(size=1)})
    write_lock(path, odd)
    assert read_lock(path) == odd
    assert r'[sources."https://a.b/\"\\é\n\u007f"]' in path.read_text(encoding="utf-8")
    assert read_lock(tmp_path / "none.lock.toml") == Lock()


@pytest.mark.parametrize(
    ("name", "table"),
    [
        ("my_r50-v2", "[weights.my_r50-v2]"),
        ("my.r50", '[weights."my.r50"]'),
        ("r\u00e9seau", '[weights."r\u00e9seau"]'),
    ],
)
def test_a_lock_quotes_names_as_toml_requires(tmp_path, name, table):
    path = tmp_path / "my.lock.toml"
    lock = Lock(weights={name: ResultPin(sha256=SHA256)})
    write_lock(path, lock)
    assert table in path.read_text(encoding="utf-8").splitlines()
    assert read_lock(path) == lock


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[source.x]", r"unknown table \[source\]"),
        ("sources = 3\nweights = 4", "sources should be a table; weights should be a table"),
        ('[sources."https://a"]\nsha265 = "x"', r"\[sources.\"https://a\"\] has an unknown name"),
        ('[sources."https://a"]\nsize = "x"', r"\[sources.\"https://a\"\] size should be"),
        (f'[sources."https://a"]\ncommit = "{"a" * 40}"', "has a commit, which only hf://"),
        ("[weights.a]\nmapper = '1'", r"\[weights.a\] sha256 is missing"),
    ],
)
def test_a_damaged_lock_is_refused(tmp_path, text, message):
    path = tmp_path / "my.lock.toml"
    path.write_text(text)
    with pytest.raises(CatalogueError, match=message) as refused:
        read_lock(path)
    assert str(refused.value).startswith(f"{path}: ")
