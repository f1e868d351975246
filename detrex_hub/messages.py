"""Messages to a training run: on stderr at once, and in detectron2's ``log.txt``.

A config is read before the training script sets up detectron2's logger, so the messages of
`from_hub` come too early for ``log.txt``. They are kept, and handed to the log file when detectron2
logs for the first time. detectron2 itself is not imported.

How detectron2 logs (``detectron2/utils/logger.py``, 02b5c4e2): ``setup_logger`` puts a handler for
stdout and one for ``log.txt`` on the logger ``detectron2``, which does not propagate. Right after
that ``default_setup`` logs the rank.
"""

from __future__ import annotations

import logging
import os
import sys
from collections import deque

from detrex_hub.redaction import without_addresses

logger = logging.getLogger("detrex_hub")

_MOST_KEPT = 1000


def log(message: str, level: int = logging.INFO) -> None:
    """Log a message on the main process of a distributed run.

    Args:
        message: one line.
        level: of the `logging` module.
    """
    if not is_main_process():
        return
    _connect()
    logger.log(level, "%s", without_addresses(message))


def is_main_process() -> bool:
    """Whether this is rank 0, by torch.distributed or by a launcher's environment variables."""
    distributed = sys.modules.get("torch.distributed")
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        return bool(distributed.get_rank() == 0)
    rank = os.environ.get("RANK") or os.environ.get("SLURM_PROCID") or "0"
    return rank == "0"


class _LogFile(logging.Handler):
    """Passes our records to the log files of detectron2, and keeps them until these exist.

    It is a handler of both loggers: of ours to get the records, and of detectron2's to see when
    that is set up.
    """

    def __init__(self) -> None:
        super().__init__()
        self._kept: deque[logging.LogRecord] = deque(maxlen=_MOST_KEPT)

    def emit(self, record: logging.LogRecord) -> None:
        theirs = record.name.partition(".")[0] == _detectron2.name
        if not theirs:
            self._kept.append(record)
        files = [one for one in _detectron2.handlers if _writes_file(one)]
        while files and self._kept:
            kept = self._kept.popleft()
            for one in files:
                if kept.levelno >= one.level:
                    one.handle(kept)
        if theirs and _detectron2.handlers == [self] and not logging.root.handlers:
            self._as_without_us(record)

    def _as_without_us(self, record: logging.LogRecord) -> None:
        """The default action of `logging` for a record without a handler."""
        last = logging.lastResort
        if last is not None and record.levelno >= last.level:
            last.handle(record)


_detectron2 = logging.getLogger("detectron2")
_log_file = _LogFile()


def _connect() -> None:
    seen = [one for one in logger.handlers if one is not _log_file]
    if not seen and not (logger.propagate and logging.root.handlers):
        # configs are read before a training script sets up logging
        logger.addHandler(logging.StreamHandler())
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.INFO)
    for one in (logger, _detectron2):
        one.addHandler(_log_file)


def _writes_file(handler: logging.Handler) -> bool:
    """Whether a handler writes to a file and not to the terminal, which has our messages
    already."""
    terminal = (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__)
    stream = getattr(handler, "stream", None)
    return stream is not None and not any(stream is one for one in terminal)
