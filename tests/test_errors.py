"""The choices of an error become commands that can be pasted."""

import shlex

import pytest

from detrex_hub.errors import ArchitectureError, CheckpointError, suggesting

LOOK = "Look at the keys: detrex-hub inspect x.pth --keys"


def raised(error, command="detrex-hub convert 'my file.pth'", otherwise=LOOK):
    with pytest.raises(type(error)) as caught, suggesting(command, otherwise):
        raise error
    return caught.value


def test_choices_become_commands():
    error = raised(ArchitectureError("two fit", choices=["--arch a", "--prefix 'b c.'"]))
    assert str(error) == (
        "two fit. Choose one: detrex-hub convert 'my file.pth' --arch a or "
        "detrex-hub convert 'my file.pth' --prefix 'b c.'"
    )
    assert shlex.split(error.hint.rpartition(" or ")[2])[2:] == ["my file.pth", "--prefix", "b c."]


def test_a_single_choice_is_offered_with_try():
    error = ArchitectureError("it has heads", choices=["--new-head"])
    assert error.hint == "Try: --new-head"
    assert raised(error).hint == "Try: detrex-hub convert 'my file.pth' --new-head"


def test_only_an_error_about_keys_offers_to_show_the_keys():
    assert raised(ArchitectureError("no")).hint == LOOK
    assert raised(CheckpointError("damaged")).hint is None
    assert raised(ArchitectureError("no", hint="Do this")).hint == "Do this"


def test_an_offer_does_not_replace_a_hint():
    error = ArchitectureError("no", hint="Do this")
    error.offer("--prefix x.")
    assert error.hint == "Do this"
    error = ArchitectureError("no")
    error.offer("--prefix x.")
    assert error.choices == ("--prefix x.",)
    assert raised(error).hint.endswith("--prefix x.")
