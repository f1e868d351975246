"""Values of a config that cannot be read, such as interpolations that lead to nothing."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from detrex_hub.errors import ConfigError


@contextmanager
def readable(where: str) -> Iterator[None]:
    """Refuse a config in one line if a value that is needed cannot be read.

    Args:
        where: what needs the value, for the message.

    Raises:
        ConfigError: instead of the errors of omegaconf.
    """
    try:
        yield
    except Exception as error:
        # if omegaconf is not imported, no config of it can fail
        errors = sys.modules.get("omegaconf.errors")
        if errors is None or not isinstance(error, errors.OmegaConfBaseException):
            raise
        why = str(error).partition("\n")[0]
        value = error.full_key or "a value"
        raise ConfigError(
            f"{where} needs {value} of the config, which cannot be read: {why}"
        ) from None
