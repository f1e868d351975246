"""Files of a commit that report the progress of their upload. This imports huggingface_hub."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from huggingface_hub import CommitOperationAdd

from detrex_hub.progress import Progress, Silent


class Upload(CommitOperationAdd):
    """A file of a commit that reports its upload as ``uploading <title>``.

    huggingface_hub opens a large file with `as_file(with_tqdm=True)` to send it, and draws its own
    bar. With Xet it does not open the file, and nothing is reported.
    """

    title: str = ""
    progress: Progress = Silent()

    @contextmanager
    def as_file(self, with_tqdm: bool = False) -> Iterator[BinaryIO]:
        if not with_tqdm or not isinstance(self.path_or_fileobj, str | Path):
            with super().as_file() as file:
                yield file
            return
        self.progress.start(f"uploading {self.title}", self.upload_info.size)
        try:
            with _Counted(self.path_or_fileobj, self.progress) as counted:
                yield counted
        finally:
            self.progress.finish()


class _Counted(io.BufferedReader):
    """A file that reports each byte when it is read for the first time."""

    def __init__(self, path: str | Path, progress: Progress) -> None:
        super().__init__(io.FileIO(path))
        self._progress = progress
        self._reported = 0

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        new = self.tell() - self._reported
        if new > 0:
            self._reported += new
            self._progress.advance(new)
        return data
