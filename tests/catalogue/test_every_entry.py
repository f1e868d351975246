"""Every entry of the catalogue can be converted, as far as names and shapes show."""

import pytest

from detrex_hub import catalogue
from detrex_hub.conversion import prepare
from detrex_hub.originals.conversion_options import ConversionOptions


@pytest.mark.parametrize("name", catalogue.load_entries())
def test_an_entry_is_planned(name):
    with prepare(name, ConversionOptions(synthetic=True)) as planned:
        assert planned.plan.moves
        assert planned.name == name
