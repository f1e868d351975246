"""The outline of an entry, derived from its architecture: backbone, parameters and size.

Working it out takes some milliseconds for each entry. So it is written down for the built-in
entries, in `built_in.outlines.json`, which the tests compare with the architectures.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import msgspec

from detrex_hub.catalogue.entry import CatalogueEntry
from detrex_hub.errors import DetrexHubError

BUILT_IN_OUTLINES = Path(__file__).with_name("built_in.outlines.json")


class Outline(msgspec.Struct, frozen=True):
    """The data of a model that is known without its file.

    ``backbone`` as tables name it, such as ``Swin-T``. ``parameters`` counts the numbers in the
    converted weights, as their card does. ``size`` is that of the converted tensors, in bytes.
    """

    backbone: str
    parameters: int
    size: int

    @property
    def backbone_family(self) -> str:
        """The backbone without its size, such as ``Swin``."""
        return re.sub(r"-[^-]+(-DC5|-D)?$", "", self.backbone)


def outline(entry: CatalogueEntry) -> Outline | None:
    """The outline of an entry; None where its hyper-parameters are not known."""
    from detrex_hub.catalogue import is_built_in

    return _written().get(entry.name) if is_built_in(entry) else work_out(entry)


def work_out(entry: CatalogueEntry) -> Outline | None:
    """The outline of an entry, from the state dict of its architecture."""
    from detrex_hub.catalogue.models import model_of

    if not entry.hyper_parameters:
        return None
    try:
        made = model_of(entry)
    except DetrexHubError:
        return None
    not_stored = made.set_by_model() | {key for group in made.ties() for key in group[1:]}
    stored = [spec for key, spec in made.target().items() if key not in not_stored]
    return Outline(
        backbone=made.backbone_label,
        parameters=sum(spec.numel for spec in stored),
        size=sum(spec.nbytes for spec in stored),
    )


def write_outlines(path: Path = BUILT_IN_OUTLINES) -> bool:
    """Write the outlines of the built-in entries, one a line.

    Returns:
        whether the file changed.
    """
    from detrex_hub.catalogue import built_in

    found = ((name, work_out(entry)) for name, entry in sorted(built_in().items()))
    lines = [
        f"{msgspec.json.encode(name).decode()}: {msgspec.json.encode(one).decode()}"
        for name, one in found
        if one is not None
    ]
    text = "{\n" + ",\n".join(lines) + "\n}\n"
    changed = not path.is_file() or path.read_text(encoding="utf-8") != text
    if changed:
        path.write_text(text, encoding="utf-8", newline="\n")
    _written.cache_clear()
    return changed


@cache
def _written() -> dict[str, Outline]:
    return msgspec.json.decode(BUILT_IN_OUTLINES.read_bytes(), type=dict[str, Outline])
