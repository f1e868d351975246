"""Push an exported folder to the Hub, and link its card with the one of its source."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from detrex_hub import card as source_card
from detrex_hub.errors import DetrexHubError, HubError
from detrex_hub.exporting.exported import Exported
from detrex_hub.exporting.folder import Described
from detrex_hub.exporting.folder_card import origin_of
from detrex_hub.folder_files import find_file
from detrex_hub.records import CARD, read_bytes
from detrex_hub.repositories import PushOptions, PushResult, Repository, names, payload
from detrex_hub.staging import publish_file, staging_folder

if TYPE_CHECKING:
    from detrex_hub.progress import Progress


def check_push(
    described: Described, repo_id: str, license: str | None, options: PushOptions
) -> None:
    """Refuse weights that should not go to the Hub, before anything is written.

    Raises:
        UsageError: ``repo_id`` is not of the form ``owner/name``.
        HubError: the weights are seeded numbers, or no licence is stated.
    """
    names.repo_id(repo_id)
    if described.source.synthetic and not options.allow_synthetic:
        raise HubError(
            f"{described.source.name} contains seeded numbers instead of weights (--synthetic), "
            "which should not be on the Hub",
            hint="Leave --push out, or pass --allow-synthetic",
        )
    if license is None:
        raise HubError(
            f"no licence is stated for the weights of {described.source.name}",
            hint="Ask their authors, then state it: --license apache-2.0",
        )
    if repo_id == origin_of(described.source):
        raise HubError(
            f"{repo_id} contains the weights for detrex, which an export would replace",
            hint=f"Push to another repository, such as {repo_id}-{described.software}",
        )


def push_exported(
    described: Described,
    done: Exported,
    repo_id: str,
    license: str | None,
    options: PushOptions,
    *,
    progress: Progress | None,
) -> PushResult:
    """Push an exported folder as one commit, and read it back. See `export`."""
    from detrex_hub.repositories.upload import push_to_hub

    text = described.card(repo_id, license).encode()
    contents: dict[str, Path | bytes] = {path.name: path for path in done.path.iterdir()}
    contents[CARD] = text
    files = payload.Files(
        folder=done.path,
        contents=contents,
        digests={name: payload.digest(content) for name, content in contents.items()},
    )
    library = "timm" if described.software == "timm" else "transformers"
    return push_to_hub(
        files,
        repo_id,
        options,
        message=f"Upload weights for {library} exported by detrex-hub",
        progress=progress,
    )


def link_source(
    described: Described, repo_id: str, options: PushOptions, *, progress: Progress | None
) -> str | None:
    """Add the repository of the export to the card of the source.

    Returns:
        an instruction for the user if it could not be written; None otherwise.
    """
    repository = described.source.repository
    if repository is None or options.dry_run:
        return None
    origin = origin_of(described.source)
    try:
        if origin is None:
            _link_folder(repository, repo_id)
        else:
            _link_on_hub(origin, repo_id, options, progress)
    except DetrexHubError as error:
        return (
            f"The card of {repository.name} does not link to {repo_id}: {error.message}. Add the "
            f"link by hand: https://huggingface.co/{repo_id}"
        )
    return None


def _link_folder(repository: Repository, repo_id: str) -> None:
    path = find_file(repository.folder, CARD)
    if path is None:
        return
    before = _text(path)
    after = source_card.linked(before, repo_id)
    if after == before:
        return
    with staging_folder(path.absolute(), option=None) as staging:
        staged = staging / CARD
        staged.write_text(after, encoding="utf-8", newline="\n")
        publish_file(staged, path.absolute())


def _link_on_hub(
    origin: str, repo_id: str, options: PushOptions, progress: Progress | None
) -> None:
    from detrex_hub.repositories.upload import push_to_hub

    # the newest card, even if the weights were taken from an older commit
    newest = Repository.open(origin)
    path = newest.card
    if path is None:
        return
    before = _text(path)
    after = source_card.linked(before, repo_id)
    if after == before:
        return
    content = after.encode()
    files = payload.Files(
        folder=newest.folder, contents={CARD: content}, digests={CARD: payload.digest(content)}
    )
    push_to_hub(
        files,
        origin,
        PushOptions(create_pr=options.create_pr),
        message=f"Link to {repo_id}",
        progress=progress,
    )


def _text(path: Path) -> str:
    try:
        return read_bytes(path).decode()
    except UnicodeDecodeError as error:
        raise HubError(f"{path} is not readable as text: {error}") from None
