"""`detrex-hub info`"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from detrex_hub.cli.options import Catalogues, Name
from detrex_hub.cli.output import Output, human_size, pairs

EXAMPLES = ("detrex-hub info r101_v2", "detrex-hub info r101_v2 --json")


def command(
    out: Output,
    name: Name,
    catalogue: Catalogues = None,
) -> None:
    """Show sources, licence, accuracy and facts of weights."""
    from detrex_hub.catalogue import find_entry
    from detrex_hub.inspection import describe_entry

    known = describe_entry(find_entry(name, catalogue or ()))
    out.show(known, _lines(known), bare=[known["name"]])


def _lines(known: Mapping[str, Any]) -> Iterator[str]:
    from detrex_hub.catalogue.entry import ORIGINS

    license = known["license"] or "not stated; push needs --license"
    return pairs(
        {
            "name": known["name"],
            "also called": list(known["aliases"]),
            "title": known["title"],
            "origin": ORIGINS[known["origin"]],
            "architecture": known["architecture"],
            "licence": license + (", non-commercial" if known["non_commercial"] else ""),
            "evidence": known["license_evidence"],
            "accuracy": [
                f"{one['name']} {one['value']:g} {one['unit']} on {one['dataset']}"
                for one in known["metrics"]
            ],
            "sources": [f"{one['url']} ({', '.join(_marks(one))})" for one in known["sources"]],
            "result": f"sha256 {known['result']['sha256']}" if known["result"] else "not pinned",
            "base config": known["base_config"],
            "homepage": known["homepage"],
            "paper": known["paper"],
            "hyper-parameters": [
                f"{name} = {value}" for name, value in known["hyper_parameters"].items()
            ],
            "facts": [f"{name} = {value}" for name, value in known["facts"].items()],
            "takes": [
                f"--fact {name}=…  {one['meaning']}: {one['values']}"
                for name, one in known["takes"].items()
            ],
            "overrides": [
                f"{path} = {value!r}" for path, value in known["overrides"]["lazy"].items()
            ],
        }
    )


def _marks(source: Mapping[str, object]) -> list[str]:
    digits = source["sha256"] or source["sha256_prefix"]
    size = source["size"]
    return [
        str(source["layout"]),
        *([human_size(size)] if isinstance(size, int) else []),
        *([f"sha256 {digits}"] if digits else []),
        *([f"commit {source['commit']}"] if source["commit"] else []),
        *([] if digits or source["commit"] else ["not pinned"]),
    ]
