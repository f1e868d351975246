"""The logs of huggingface_hub and its HTTP client hold no secret."""

import logging

import pytest

from detrex_hub.repositories import logs
from detrex_hub.repositories.client import set_limits

SECRET = "hush"
URL = f"https://me:{SECRET}@example.org/x?sig={SECRET}&Policy={SECRET}&X-Amz-Credential={SECRET}"


@pytest.fixture(params=["huggingface_hub.utils._http", "huggingface_hub", "httpx2", "httpcore2.x"])
def logger(request, caplog):
    """A logger whose records reach the handlers of the program."""
    logger = logging.getLogger(request.param)
    top = logging.getLogger(request.param.partition(".")[0])
    before = top.propagate, top.level
    top.propagate = True
    top.setLevel(logging.DEBUG)
    caplog.set_level(logging.DEBUG)
    set_limits()
    yield logger
    top.propagate, level = before
    top.setLevel(level)


def test_secrets_are_taken_out_of_what_is_logged(logger, caplog):
    logger.debug(f"Request {URL}")
    logger.warning("HTTP Error %s thrown while requesting %s", 500, URL)
    try:
        raise ValueError(URL)
    except ValueError:
        logger.exception("it failed")
    assert "HTTP Error 500 thrown while requesting https://***@example.org/x?***" in caplog.text
    assert "ValueError" in caplog.text
    assert SECRET not in caplog.text
    assert SECRET not in "".join(record.getMessage() for record in caplog.records)


def test_the_redaction_comes_first_and_once(logger):
    top = logging.getLogger(logger.name.partition(".")[0])
    other = logging.NullHandler()
    top.handlers.insert(0, other)
    set_limits()
    assert top.handlers[0] is logs._redaction
    assert top.handlers.count(logs._redaction) == 1
    top.removeHandler(other)
