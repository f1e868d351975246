"""`model_cards/` holds the up-to-date card of every catalogue entry."""

from functools import cache
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from detrex_hub import card, catalogue
from tests.hub_server.cards import problems

FOLDER = Path(__file__).parent.parent / "model_cards"
COMMAND = "run: make cards (or: python -m detrex_hub.card), and commit model_cards/"
ENTRIES = catalogue.load_entries()


@cache
def rendered(name):
    return card.render_for(ENTRIES[name])


@pytest.mark.parametrize("name", ENTRIES)
def test_the_stored_card_is_up_to_date(name):
    path = FOLDER / f"{name}.md"
    assert path.is_file(), f"{path.name} is missing; {COMMAND}"
    stale = path.read_bytes() != rendered(name).encode()
    assert not stale, f"{path.name} is stale; {COMMAND}"


def test_every_card_has_an_entry():
    orphans = {path.stem for path in FOLDER.iterdir()} - set(ENTRIES)
    assert not orphans, f"no weights are named {', '.join(sorted(orphans))}; {COMMAND}"


@pytest.mark.parametrize("name", ENTRIES)
def test_the_hub_accepts_the_card(name):
    text = rendered(name)
    assert problems(text) == ([], [])
    data = ModelCard(text).data
    assert len(data.eval_results or ()) == len(ENTRIES[name].metrics)
    assert data.license == ENTRIES[name].license


@pytest.mark.parametrize("name", ENTRIES)
def test_the_card_has_what_a_reader_needs(name):
    text = rendered(name)
    assert f'from_hub("detrex/{name}", model=model, dataloader=dataloader' in text
    assert "| `model.pixel_mean` |" in text
    assert "What moved" in text, f"{name} needs hyper_parameters in its catalogue file"
