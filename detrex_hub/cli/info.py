"""`detrex-hub info`"""

from __future__ import annotations

from detrex_hub.cli.options import Catalogues, Json, Name, Quiet
from detrex_hub.cli.output import Output, human_size, pairs

EXAMPLES = ("detrex-hub info r101_v2", "detrex-hub info r101_v2 --json")


def command(
    name: Name, catalogue: Catalogues = None, json: Json = False, quiet: Quiet = False
) -> None:
    """Show sources, licence and accuracy of weights."""
    from detrex_hub.catalogue import find
    from detrex_hub.catalogue.entry import ORIGINS
    from detrex_hub.inspection import about

    known = about(find(name, catalogue or ()))
    metrics = [
        f"{one['name']} {one['value']:g} {one['unit']} on {one['dataset']}"
        for one in known["metrics"]
    ]
    sources = [
        " ".join(
            (
                one["url"],
                f"({', '.join(_marks(one))})" if _marks(one) else "",
            )
        ).rstrip()
        for one in known["sources"]
    ]
    shown = {
        "name": known["name"],
        "also called": list(known["aliases"]),
        "title": known["title"],
        "origin": ORIGINS[known["origin"]],
        "architecture": known["architecture"],
        "licence": (known["license"] or "not stated; push needs --license")
        + (", non-commercial" if known["non_commercial"] else ""),
        "who states it": known["license_evidence"],
        "accuracy": metrics,
        "sources": sources,
        "result": f"sha256 {known['result']['sha256']}" if known["result"] else "not pinned",
        "base config": known["base_config"],
        "homepage": known["homepage"],
        "paper": known["paper"],
        "hyper-parameters": [f"{k} = {v}" for k, v in known["hyper_parameters"].items()],
        "overrides": [f"{path} = {value!r}" for path, value in known["overrides"]["lazy"].items()],
    }
    Output(json=json, quiet=quiet).show(known, pairs(shown), bare=(known["name"],))


def _marks(source: dict[str, object]) -> list[str]:
    digits = source["sha256"] or source["sha256_prefix"]
    size = source["size"]
    return [
        str(source["layout"]),
        *([human_size(size)] if isinstance(size, int) else []),
        *([f"sha256 {digits}"] if digits else []),
        *([f"commit {source['commit']}"] if source["commit"] else []),
        *([] if digits or source["commit"] else ["not pinned"]),
    ]
