"""Messages reach ``log.txt``, with loggers set up as in detectron2 02b5c4e2."""

from __future__ import annotations

import subprocess
import sys

import pytest

SETUP = """
import logging, sys

def setup_logger(output, name="detectron2"):
    logger = logging.getLogger(name)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    plain = logging.Formatter("%(name)s %(levelname)s: %(message)s")
    stdout = logging.StreamHandler(stream=sys.stdout)
    stdout.setFormatter(plain)
    logger.addHandler(stdout)
    file = logging.StreamHandler(open(output, "a"))
    file.setFormatter(plain)
    logger.addHandler(file)
    return logger

from detrex_hub.messages import log
"""


@pytest.fixture
def script(tmp_path):
    """Run lines after those of `SETUP`. Returns stdout, stderr and the lines of log.txt."""

    def run(lines):
        done = subprocess.run(
            [sys.executable, "-c", f"{SETUP}\n{lines}"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        )
        file = tmp_path / "log.txt"
        written = file.read_text().splitlines() if file.exists() else []
        return done.stdout.splitlines(), done.stderr.splitlines(), written

    return run


def test_messages_before_the_logger_exists_reach_the_log_file(script):
    stdout, stderr, written = script(
        """
log("depth: 50 -> 101")
log("std differs", logging.WARNING)
setup_logger("log.txt", "fvcore")
setup_logger("log.txt").info("Rank of current process: 0")
log("later")
"""
    )
    assert written == [
        "detrex_hub INFO: depth: 50 -> 101",
        "detrex_hub WARNING: std differs",
        "detectron2 INFO: Rank of current process: 0",
        "detrex_hub INFO: later",
    ]
    # each message is on the terminal once
    assert stderr == ["depth: 50 -> 101", "std differs", "later"]
    assert stdout == ["detectron2 INFO: Rank of current process: 0"]


def test_any_logger_below_detectron2_passes_messages_to_the_log_file(script):
    _, _, written = script(
        """
log("depth: 50 -> 101")
setup_logger("log.txt")
logging.getLogger("detectron2.checkpoint.c2_model_loading").info("loading")
"""
    )
    assert written == [
        "detrex_hub INFO: depth: 50 -> 101",
        "detectron2.checkpoint.c2_model_loading INFO: loading",
    ]


def test_messages_reach_the_log_file_beside_a_quiet_root_logger(script):
    _, stderr, written = script(
        """
logging.basicConfig(level=logging.WARNING, format="%(message)s")
log("depth: 50 -> 101")
setup_logger("log.txt").info("rank")
"""
    )
    assert written[0] == "detrex_hub INFO: depth: 50 -> 101"
    assert stderr == ["depth: 50 -> 101"]


def test_the_level_that_a_user_chose_is_kept(script):
    _, stderr, written = script(
        """
logging.getLogger("detrex_hub").setLevel(logging.WARNING)
log("depth: 50 -> 101")
setup_logger("log.txt").info("rank")
"""
    )
    assert written == ["detectron2 INFO: rank"]
    assert stderr == []


def test_warnings_of_detectron2_without_a_logger_stay_on_stderr(script):
    stdout, stderr, _ = script(
        """
log("ours")
logging.getLogger("detectron2.config").warning("theirs")
logging.getLogger("detectron2.config").info("nothing")
"""
    )
    assert (stdout, stderr) == ([], ["ours", "theirs"])


@pytest.mark.parametrize("variable", ["RANK", "SLURM_PROCID"])
def test_other_processes_of_a_run_log_nothing(script, monkeypatch, variable):
    monkeypatch.setenv(variable, "3")
    _, stderr, written = script('log("depth: 50 -> 101"); setup_logger("log.txt").info("rank")')
    assert stderr == []
    assert written == ["detectron2 INFO: rank"]
