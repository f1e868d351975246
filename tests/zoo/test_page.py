"""The zoo page has every entry, and sends no request to another host."""

import re
from html.parser import HTMLParser

import pytest
from msgspec.structs import replace

from detrex_hub import card, catalogue
from detrex_hub.catalogue.outlines import outline
from detrex_hub.zoo import page

KNOWN = catalogue.load_entries()
LOADS = {"src", "srcset", "poster", "background", "data", "action", "formaction", "ping"}


class Elements(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))


@pytest.fixture(scope="module")
def whole():
    return page(KNOWN.values())


@pytest.fixture(scope="module")
def elements(whole):
    return Elements(whole).found


@pytest.fixture(scope="module")
def rows(elements):
    return {given["id"]: given for tag, given in elements if tag == "tbody"}


def test_every_entry_is_a_row(rows):
    assert rows.keys() == KNOWN.keys()
    for name, row in rows.items():
        entry, known = KNOWN[name], outline(KNOWN[name])
        assert row["data-arch"] == entry.architecture
        assert row["data-parameters"] == str(known.parameters)
        assert row["data-size"] == str(known.size)
        assert row["data-backbone"] == known.backbone
        assert row["data-auto"] == str(int(entry.downloads))


def test_the_config_line_matches_the_card(rows):
    for name in ("r101_v2", "detr_r50_dc5", "dino_swin_large_384_5scale_36ep"):
        assert rows[name]["data-line"] in card.render_for(KNOWN[name])
    building = [row for row in rows.values() if "build=True" in row["data-line"]]
    assert building


def test_every_source_is_linked(whole, elements):
    links = {given.get("href") for tag, given in elements if tag == "a"}
    assert "https://download.pytorch.org/models/resnet101-cd907fc2.pth" in links
    for entry in KNOWN.values():
        if entry.base_config:
            assert f"https://github.com/IDEA-Research/detrex/blob/main/{entry.base_config}" in links
        for digest in filter(None, (one.sha256 for one in entry.sources)):
            assert digest in whole


def test_the_best_detector_is_first_and_backbones_are_last(rows):
    names = list(rows)
    best = max(entry.box_ap.value for entry in KNOWN.values() if entry.box_ap)
    assert KNOWN[names[0]].box_ap.value == best
    kinds = [row["data-kind"] for row in rows.values()]
    assert kinds == sorted(kinds, reverse=True)


def test_the_page_loads_nothing(whole, elements):
    for tag, given in elements:
        assert not LOADS & given.keys(), (tag, given)
        assert tag not in {"iframe", "object", "embed", "img", "base"}
        if tag == "link":
            assert given["href"].startswith("data:")
        assert not [name for name in given if name.startswith("on")]
    assert "@import" not in whole and "url(" not in whole
    (policy,) = (given["content"] for tag, given in elements if "http-equiv" in given)
    assert policy.startswith("default-src 'none';")


def test_identifiers_are_unique(elements):
    found = [given["id"] for _, given in elements if "id" in given]
    assert len(found) == len(set(found))


def test_catalogue_values_are_shown_as_text(elements):
    entry = replace(
        KNOWN["r50_v1"],
        title='<script>alert(1)</script><img src="https://example.org/x.png">',
        paper="javascript:alert(1)",
        summary="</style>",
        license_evidence="<b onclick='x'>",
        aliases=('"><a href=x>',),
        base_config='x"onmouseover="alert(1)',
    )
    text = page([entry])
    tags = [tag for tag, _ in Elements(text).found]
    assert tags.count("script") == tags.count("style") == 1
    assert "img" not in tags
    assert not re.search(r"<[^>]*\son\w+=", text)
    assert not [g for t, g in Elements(text).found if t == "a" and "javascript" in g["href"]]


def test_an_entry_with_little_data_has_a_row():
    entry = replace(
        KNOWN["r50_v1"],
        hyper_parameters={},
        metrics=(),
        license=None,
        base_config=None,
        sources=(),
        paper=None,
    )
    text = page([entry])
    assert "not published" in text
    assert "not stated" in text
