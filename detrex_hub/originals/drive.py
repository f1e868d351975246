"""Files on Google Drive, through the `gdown` library."""

from __future__ import annotations

from pathlib import Path

from detrex_hub.errors import SourceError
from detrex_hub.originals import http_download
from detrex_hub.originals.pages import refuse_page
from detrex_hub.progress import Progress

_FILE = "https://drive.google.com/uc?id="


def download(file_id: str, part: Path, size: int | None, progress: Progress) -> None:
    """Download a shared file to ``part``, resuming an earlier download of it.

    Args:
        file_id: Drive's identifier of the file.
        part: where to write it.
        size: in bytes, where known.
        progress: reports the bytes.

    Raises:
        SourceError: `gdown` is not installed, or Drive refuses or sends something else.
    """
    _require_gdown()
    import gdown
    from gdown.exceptions import DownloadError, FileURLRetrievalError

    announced: int | None = size
    done = 0

    def tell(so_far: int, total: int | None) -> None:
        nonlocal announced, done
        if done == 0:
            announced = total or announced
            progress.start(f"downloading {part.stem} from Google Drive", announced)
        progress.advance(so_far - done)
        done = so_far

    # gdown derives the names of its unfinished files from this one
    target = part.with_suffix(".drive")
    try:
        gdown.download(
            id=file_id,
            output=str(target),
            quiet=True,
            use_cookies=False,
            resume=True,
            progress=tell,
        )
    except FileURLRetrievalError:
        raise SourceError(
            "Google Drive does not give the file: its quota for today is used up, "
            "or it is no longer shared"
        ) from None
    except DownloadError:
        raise SourceError(
            "Google Drive closed the connection; run the command again to resume"
        ) from None
    except OSError as error:
        # requests' exceptions are OSErrors too, and have no file name
        if error.filename is not None or error.errno is not None:
            raise
        raise SourceError(
            f"Google Drive cannot be reached ({type(error).__name__}); "
            "run the command again to resume"
        ) from None
    finally:
        progress.finish()
    _check(target, announced)
    target.replace(part)


def ask(file_id: str) -> None:
    """Find out whether Drive still has a file. Before a large file it sends a page.

    Raises:
        SourceError: `gdown` is not installed, or Drive has no such file.
    """
    _require_gdown()
    http_download.ask(f"{_FILE}{file_id}", page=True)


def _require_gdown() -> None:
    try:
        import gdown  # noqa: F401
    except ImportError:
        raise SourceError(
            "Google Drive needs the library gdown: pip install 'detrex-hub[drive]'"
        ) from None


def _check(target: Path, announced: int | None) -> None:
    try:
        found = target.stat().st_size
        with target.open("rb") as file:
            refuse_page(file.read(512), found)
        if announced is not None and found != announced:
            raise SourceError(f"is {found} bytes long instead of {announced}")
    except SourceError:
        target.unlink(missing_ok=True)
        raise
