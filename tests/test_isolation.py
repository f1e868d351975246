"""No test reads the state of the machine that it runs on."""

import os
import tempfile
from pathlib import Path

import pytest

from detrex_hub.materialising import roots


@pytest.mark.parametrize(
    "name",
    [
        "HF_HUB_CACHE",
        "HF_TOKEN",
        "HUGGING_FACE_HUB_TOKEN",
        "DETREX_HUB_CATALOGUE",
        "DETREX_HUB_ROOT",
        "COLUMNS",
        "https_proxy",
    ],
)
def test_no_variable_of_the_machine_is_set(name):
    assert os.environ.get(name) is None


def test_home_and_temporary_folder_are_those_of_the_tests():
    ours = Path(os.environ["HOME"])
    assert ours.name.startswith("detrex-hub-tests-")
    for place in (Path.home(), tempfile.gettempdir(), os.environ["HF_HOME"], *roots()):
        assert Path(place).is_relative_to(ours)


def test_each_test_has_an_empty_temporary_folder(hub):
    assert [*Path(tempfile.gettempdir()).iterdir()] == []
    assert [path for root in roots() for path in root.glob("*")] == []
