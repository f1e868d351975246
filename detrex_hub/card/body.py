"""How the body of a card looks: one function for each section, in the order in which they stand.

What a section prints is what `contents` says, by the same names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any, TypeAlias

from detrex_hub.card.markdown import Markdown, block, bullets, code, joined, md, number, table

Contents: TypeAlias = Mapping[str, Any]

# a longer table of settings is folded
_MOST_SETTINGS = 16


def body(card: Contents) -> Markdown:
    """The card below its metadata, of what `contents.body_values` says."""
    sections = (
        _title,
        _introduction,
        _warnings,
        _snippet,
        _facts,
        _accuracy,
        _evaluation,
        _settings,
        _provenance,
        _moves,
        _initialised,
        _licence,
    )
    blocks = chain.from_iterable(section(card) for section in sections)
    return md("{blocks}\n", blocks=joined("\n\n", blocks))


_SYNTHETIC = """\
> ⚠️ **SYNTHETIC: seeded random numbers, not weights.** They have the names, shapes and types of
> {title}, and they detect nothing. They are there to try detrex-hub without a network: do not
> train from them, compare with them or publish them."""


def _title(card: Contents) -> Iterator[Markdown]:
    if card["synthetic"]:
        yield md(_SYNTHETIC, **card)
    yield md("# {title} (SYNTHETIC)" if card["synthetic"] else "# {title}", **card)


_BACKBONE = """\
A backbone for [detrex](https://github.com/IDEA-Research/detrex) and
[detectron2](https://github.com/facebookresearch/detectron2), under the names that they expect"""

_DETECTOR = """\
A detector for [detrex](https://github.com/IDEA-Research/detrex), under the names that it expects"""


def _introduction(card: Contents) -> Iterator[Markdown]:
    if card["summary"]:
        yield md("{summary}", **card)
    what = md(_BACKBONE if card["backbone"] else _DETECTOR)
    if card["proof"] and not card["synthetic"]:
        original = "checkpoint" if card["trained"] else "original"
        yield md("{what}, each tensor compared with the {original}.", what=what, original=original)
    else:
        yield md("{what}.", what=what)


_ANOTHER = """\
> ⚠️ **Not the published file**: its sha256 is none of those that the catalogue knows, so the
> published accuracy is not claimed for it."""

_NON_COMMERCIAL = """\
> ⚠️ **Not for commercial use**: the licence of these weights, {licence}, forbids it."""


def _warnings(card: Contents) -> Iterator[Markdown]:
    if card["another"] and not card["synthetic"]:
        yield md(_ANOTHER)
    if card["non_commercial"]:
        yield md(_NON_COMMERCIAL, **card)


_CONFIG = """\
```python
# {own}
from detrex_hub import from_hub
from .{base_module} import train, dataloader, optimizer, lr_multiplier, model

{before}train.init_checkpoint = from_hub("{repo_id}", model=model, dataloader=dataloader{built})
```"""

_FROM_HUB = """\
`pip install detrex-hub` and save this beside {beside}.
`from_hub` downloads the weights once, checks every byte, sets [what they need](#what-it-sets) on
the config, logs each change, and refuses a config that cannot take them."""


def _snippet(card: Contents) -> Iterator[Markdown]:
    before = joined("", (md("{line}\n", line=line) for line in card["decided"]))
    built = md(", build=True") if card["build"] else ""
    yield md(_CONFIG, before=before, built=built, **card)
    yield md(_FROM_HUB, beside=card["base_link"] or "the config to start from")


def _facts(card: Contents) -> Iterator[Markdown]:
    yield table("| | |\n|---|---|", card["facts"])


_OF_THE_ORIGINAL = "Published for the original weights, not measured again."

_OF_NO_SYNTHETIC = """\
Published for the original weights. **It says nothing of the numbers in this repository.**"""

_OF_THE_TRAINED = """\
Measured in training: they are the figures of its `metrics.json` for these very weights."""


def _accuracy(card: Contents) -> Iterator[Markdown]:
    if not card["metrics"]:
        return
    yield md("## Accuracy")
    yield table("| Dataset | Metric | Value |\n|---|---|---:|", card["metrics"])
    if card["synthetic"]:
        lines = [md(_OF_NO_SYNTHETIC)]
    else:
        lines = [md(_OF_THE_TRAINED if card["trained"] else _OF_THE_ORIGINAL)]
    if card["metric_pages"]:
        lines.append(md("Source: {metric_pages}", **card))
    yield joined("\n", lines)


_EVALUATION = """\
## Evaluate

```bash
python tools/train_net.py --eval-only --num-gpus 1 \\
    --config-file {own}
```"""

_DIFFERENCES = """\
From the same weights detrex computes what the original does, but for this, which no conversion can
mend:"""


def _evaluation(card: Contents) -> Iterator[Markdown]:
    if card["backbone"]:
        return
    yield md(_EVALUATION, **card)
    if card["differences"]:
        yield md(_DIFFERENCES)
        yield bullets(card["differences"])


_BEFORE_CONVERSION = """\
That follows from the shapes in the checkpoint: it is read when the weights are converted, and
written to `config.json`."""

_CLASSIC = """\
```python
from detrex_hub import apply_overrides, from_hub

apply_overrides(cfg, "{repo_id}")
cfg.MODEL.WEIGHTS = from_hub("{repo_id}")
```"""


def _settings(card: Contents) -> Iterator[Markdown]:
    yield md("## What it sets")
    if lazy := card["lazy"]:
        yield md("`from_hub` sets these. Who loads the file without it sets them by hand.")
        shown = table(
            "| LazyConfig | Value | |\n|---|---|---|",
            ((code(path), value and code(value), remark) for path, value, remark in lazy),
        )
        folded = len(lazy) > _MOST_SETTINGS
        yield _details(md("{number} settings", number=len(lazy)), shown) if folded else shown
    else:
        yield md(_BEFORE_CONVERSION)
    if card["yacs"]:
        yield table(
            "| Classic config (yacs) | Value |\n|---|---|",
            ((code(key), code(value)) for key, value in card["yacs"]),
        )
    if card["classic"]:
        yield md(_CLASSIC, **card)


_PROOF = """\
- The result was reopened and compared with its source, byte by byte:
  {tensors_compared} tensors, {bytes_compared} bytes, {tensors_that_differ} tensors differ.
- Its names and shapes are those of the detrex model: {missing} missing,
  {unexpected} unexpected, {mismatched} of another shape.
- To check all of this again: `detrex-hub verify {repo_id}`"""

_NO_PROOF = """\
The size and sha256 of the result, and what was proven of it, are recorded in `conversion.json` when
it is converted: {command}"""


def _provenance(card: Contents) -> Iterator[Markdown]:
    yield md("## Where it comes from")
    yield table("| | |\n|---|---|", card["provenance"])
    if card["proof"]:
        counts = {name: number(count) for name, count in card["proof"].items()}
        yield md(_PROOF, repo_id=card["repo_id"], **counts)
    else:
        yield md(_NO_PROOF, command=code(f"detrex-hub convert {card['name']}"))


def _moves(card: Contents) -> Iterator[Markdown]:
    if not card["planned"]:
        return
    yield md("### What moved")
    yield md("{fate}. `conversion.json` lists every one of them.", **card)
    if card["notes"]:
        yield bullets(card["notes"])
    if card["dropped"]:
        yield table(
            "| Dropped | Tensors | Why |\n|---|---:|---|",
            ((keys, number(tensors), reason) for reason, keys, tensors in card["dropped"]),
        )
    if card["set_by_model"] and not card["backbone"]:
        yield md(
            "No checkpoint holds these, the detrex model sets them itself: {set_by_model}", **card
        )
    if card["moved"]:
        moved = table(
            f"| Original | detrex | Tensors | {card['how']} |\n|---|---|---:|---|",
            (
                (sources, code(target), number(tensors), note)
                for sources, target, note, tensors in card["moved"]
            ),
        )
        yield _details("New names", moved)
    if card["ties"]:
        ties = table(
            "| Name | Stored as | Tensors |\n|---|---|---:|",
            ((code(name), stored, number(tensors)) for stored, name, _, tensors in card["ties"]),
        )
        yield _details("Names that share a tensor, which is stored once", ties)


_INITIALISED = """\
### Initialised by the model

The file holds none of these. They stay as the detrex model makes them, and a load reports those of
them that the model has as missing, and nothing else: {set_by_model}"""


def _initialised(card: Contents) -> Iterator[Markdown]:
    if card["planned"] and card["set_by_model"] and card["backbone"]:
        yield md(_INITIALISED, **card)


def _licence(card: Contents) -> Iterator[Markdown]:
    yield md("## Licence and citation")
    yield bullets(_licence_and_authors(card))
    if card["citation"]:
        yield block(card["citation"], "bibtex")


def _licence_and_authors(card: Contents) -> Iterator[Markdown]:
    if not card["licence"]:
        yield md(
            "No licence is stated. Ask the authors of the original before you share the weights."
        )
    elif card["trained"]:
        yield md("Licence of the weights: {licence}.", **card)
    else:
        yield md(
            "Licence of the original weights: {licence}. The conversion adds no terms of its own.",
            **card,
        )
    if card["licence"] and card["licence_evidence"]:
        yield md("Who states it: {licence_evidence}.", **card)
    if card["authors"]:
        yield md("Authors: {authors}", **card)
    yield from card["pages"]


_DETAILS = """\
<details>
<summary>{summary}</summary>

{inner}

</details>"""


def _details(summary: str, inner: Markdown) -> Markdown:
    return md(_DETAILS, summary=summary, inner=inner)
