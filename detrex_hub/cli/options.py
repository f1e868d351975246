"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

from typer import Argument, Option


def _names(incomplete: str) -> list[str]:
    from detrex_hub import catalogue

    return [name for name in catalogue.load_entries() if name.startswith(incomplete)]


def repositories(incomplete: str) -> list[str]:
    """Repositories that this machine has."""
    from detrex_hub.repositories.nearby import repository_ids

    return [name for name in repository_ids() if name.startswith(incomplete)]


def _weights(incomplete: str) -> list[str]:
    return [*_names(incomplete), *repositories(incomplete)]


def architecture_names(incomplete: str) -> list[str]:
    from detrex_hub.architectures import architectures

    return [name for name in architectures() if name.startswith(incomplete)]


def backbone_names(incomplete: str) -> list[str]:
    from detrex_hub.catalogue import load_entries
    from detrex_hub.catalogue.selection import backbone_of

    names = sorted({backbone_of(entry) for entry in load_entries().values()} - {""})
    return [name for name in names if name.lower().startswith(incomplete.lower())]


def license_names(incomplete: str) -> list[str]:
    from detrex_hub.catalogue import load_entries

    names = sorted({entry.license for entry in load_entries().values() if entry.license})
    return [name for name in names if name.startswith(incomplete)]


Json: TypeAlias = Annotated[bool, Option("--json", help="Print one JSON document.")]
Quiet: TypeAlias = Annotated[bool, Option("--quiet", "-q", help="Print only the bare result.")]
Catalogues: TypeAlias = Annotated[
    list[Path] | None,
    Option("--catalogue", metavar="FILE", help="Add the weights in this TOML file. Repeatable."),
]
Name: TypeAlias = Annotated[
    str, Argument(metavar="NAME", help="A name in the catalogue.", autocompletion=_names)
]
NameOrFile: TypeAlias = Annotated[
    str,
    Argument(
        metavar="WEIGHTS",
        help="A name in the catalogue, a checkpoint, a folder, or owner/name on the Hub.",
        autocompletion=_weights,
    ),
]
Names: TypeAlias = Annotated[
    list[str] | None,
    Argument(metavar="NAME...", help="Names in the catalogue.", autocompletion=_names),
]
Repo: TypeAlias = Annotated[
    str,
    Argument(
        metavar="REPO_OR_DIR",
        help="A name in the catalogue, owner/name, owner/name@revision, or a folder.",
        autocompletion=repositories,
    ),
]
Revision: TypeAlias = Annotated[
    str | None, Option(metavar="REV", help="Use this branch, tag or commit.")
]
Source: TypeAlias = Annotated[
    str | None,
    Option(metavar="FILE_OR_URL", help="Use this file or URL as the original."),
]

# facts that no shape shows, and other choices of the user
Arch: TypeAlias = Annotated[
    str | None,
    Option(
        metavar="ARCH",
        help="Set the architecture instead of recognising it.",
        autocompletion=architecture_names,
    ),
]
Layout: TypeAlias = Annotated[
    str | None,
    Option(metavar="LAYOUT", help="Set the layout of the keys instead of recognising it."),
]
Container: TypeAlias = Annotated[
    str | None, Option(metavar="KEY", help="Read the weights from this dict of the checkpoint.")
]
Dtype: TypeAlias = Annotated[
    str | None,
    Option(
        metavar="float32|float16|bfloat16|float64",
        help="Round floating point numbers to this type. Default: keep their type.",
    ),
]
Prefix: TypeAlias = Annotated[
    str | None,
    Option(metavar="PREFIX", help="Take only the keys below this prefix, such as backbone."),
]
Synthetic: TypeAlias = Annotated[
    bool,
    Option("--synthetic", help="Use seeded numbers instead of the real weights."),
]
KeepClassifier: TypeAlias = Annotated[
    bool,
    Option("--keep-classifier", help="Keep the ImageNet classifier and BatchNorm of a backbone."),
]
Dc5: TypeAlias = Annotated[
    bool | None, Option("--dc5/--no-dc5", help="Set whether the last stage is dilated.")
]
Classes: TypeAlias = Annotated[
    str | None,
    Option(
        metavar="auto|coco|keep",
        help="Cut heads with 91 or 92 rows to the 80 COCO classes, or keep them.",
    ),
]
NumClasses: TypeAlias = Annotated[
    int | None,
    Option(
        metavar="N",
        min=1,
        help="Prepare class heads for fine-tuning on N classes. Heads that have N keep their rows.",
    ),
]
ClassesFrom: TypeAlias = Annotated[
    Path | None,
    Option(
        metavar="FILE",
        help="Read the names of the classes: one per line, a JSON list, COCO annotations, a "
        "config.json, a data.yaml of YOLO. Classes that the weights know keep their rows.",
    ),
]
ExactNames: TypeAlias = Annotated[
    bool,
    Option(
        "--exact-names",
        help="Keep rows only for equal names, without other spellings and synonyms.",
    ),
]
NewHead: TypeAlias = Annotated[
    bool, Option("--new-head", help="Reset all rows of class heads, even if they have N rows.")
]
Seed: TypeAlias = Annotated[
    int | None, Option(metavar="N", help="Seed the new rows of class heads. Default: 0.")
]
Ema: TypeAlias = Annotated[
    bool, Option("--ema", help="Use the averaged weights of a training checkpoint.")
]
ImageFormat: TypeAlias = Annotated[
    str | None,
    Option(metavar="RGB|BGR", help="Set the channel order of images, mean and std."),
]
FactsOption: TypeAlias = Annotated[
    list[str] | None,
    Option(
        "--fact",
        metavar="NAME=VALUE",
        help="Set an option that shapes cannot show, such as pixel_std=1,1,1 in channel "
        "order. Repeatable.",
    ),
]

# the target
Namespace: TypeAlias = Annotated[
    str | None,
    Option(
        metavar="OWNER",
        help="Push to this user or organisation. Default: DETREX_HUB_NAMESPACE, else you.",
    ),
]
To: TypeAlias = Annotated[
    Path | None, Option(metavar="DIR", help="Push into the folder DIR/OWNER/NAME instead.")
]
Private: TypeAlias = Annotated[bool, Option("--private", help="Make a new repository private.")]
CreatePr: TypeAlias = Annotated[
    bool, Option("--create-pr", help="Open a pull request instead of committing.")
]
License: TypeAlias = Annotated[
    str | None, Option(metavar="ID", help="State the licence of the weights if the card has none.")
]
Collection: TypeAlias = Annotated[
    str | None,
    Option(
        metavar="SLUG",
        help="Add the repository to this collection of the Hub, OWNER/WORDS. Create the collection "
        "if it does not exist.",
    ),
]
Message: TypeAlias = Annotated[
    str | None, Option("--message", "-m", metavar="TEXT", help="Set the title of the commit.")
]
DryRun: TypeAlias = Annotated[
    bool, Option("--dry-run", help="Show what would be done and write nothing.")
]
SignKey: TypeAlias = Annotated[
    Path | None,
    Option(metavar="PRIVATE_KEY", help="Sign the files with this elliptic-curve key."),
]
AllowSynthetic: TypeAlias = Annotated[
    bool, Option("--allow-synthetic", help="Allow seeded numbers on the Hub.")
]
