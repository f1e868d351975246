"""Class heads, and files with the names of classes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from tests.situations import Situation
from tests.situations._models import below, detector, saved, several, text

TITLE = "Class heads"


def _headless() -> dict[str, torch.Tensor]:
    return {key: tensor for key, tensor in detector().items() if "class_embed" not in key}


def _of(rows: int) -> dict[str, torch.Tensor]:
    return {
        key: tensor[:1].expand(rows, *tensor.shape[1:]).clone() if "class_embed" in key else tensor
        for key, tensor in detector().items()
    }


def _with(build: Callable[[Path], Any]) -> Callable[[Path], Any]:
    """Write a detector with COCO's classes, and a file with class names."""
    return several([saved("detr.pth", lambda: {"model": detector()}), build])


def _json(file: str, content: Any) -> Callable[[Path], Any]:
    return text(file, json.dumps(content))


_CATEGORIES = [{"id": 7, "name": "cat"}, {"id": 3, "name": "owl"}]

SITUATIONS = (
    Situation(
        "A detector whose class heads were deleted",
        "The heads get fresh rows for N classes.",
        "detrex-hub convert headless.pth --num-classes 5",
        saved("headless.pth", lambda: {"model": _headless()}),
        (
            "deformable_detr (original)",
            "the file has no class heads: all their rows are newly initialised",
            "class heads made for 5 classes: 0 keep their rows, 5 get fresh ones (seed 0)",
        ),
    ),
    Situation(
        "A detector without class heads, and no number of classes",
        "Refused: the detector needs the number of classes. The backbone alone can be taken.",
        "detrex-hub convert headless.pth",
        saved("headless.pth", lambda: {"model": _headless()}),
        ("the class heads or the label embedding of headless.pth were deleted",),
        refused=True,
    ),
    Situation(
        "A detector without class heads in a Lightning module",
        "The prefix is found, and the heads get fresh rows.",
        "detrex-hub convert headless.ckpt --num-classes 5",
        saved("headless.ckpt", lambda: {"state_dict": below("model.", _headless())}),
        ("below the prefix 'model.'; all keys have it", "made for 5 classes: 0 keep their rows"),
    ),
    Situation(
        "Names with a byte-order mark and Windows line endings",
        "Classes that the weights know keep their rows.",
        "detrex-hub convert detr.pth --classes-from names.txt",
        _with(text("names.txt", "cat", "owl", ending="\r\n", encoding="utf-8-sig")),
        ("made for 2 classes: 1 keep their rows, 1 get fresh ones (seed 0): owl",),
    ),
    Situation(
        "Pascal VOC's names",
        "Other spellings and synonyms keep their rows too. The record lists each match.",
        "detrex-hub convert detr.pth --classes-from voc.txt",
        _with(text("voc.txt", "aeroplane", "dining_table", "TVmonitor", "sofa")),
        (
            "4 keep their rows, 0 get fresh ones",
            "Taken as: aeroplane -> airplane, dining_table -> dining table, TVmonitor -> tv, "
            "sofa -> couch",
        ),
    ),
    Situation(
        "Pascal VOC's names",
        "Only equal names keep their rows.",
        "detrex-hub convert detr.pth --classes-from voc.txt --exact-names",
        _with(text("voc.txt", "aeroplane", "dining_table", "TVmonitor", "sofa")),
        ("0 keep their rows, 4 get fresh ones",),
    ),
    Situation(
        "COCO annotations",
        "The categories are ordered by their ids, as detectron2 numbers them.",
        "detrex-hub convert detr.pth --classes-from instances.json",
        _with(_json("instances.json", {"images": [], "categories": _CATEGORIES})),
        ("made for 2 classes: 1 keep their rows",),
    ),
    Situation(
        "A `config.json` of transformers, with `id2label`",
        "Its labels are read in the order of their numbers.",
        "detrex-hub convert detr.pth --classes-from config.json",
        _with(_json("config.json", {"id2label": {"0": "cat", "1": "owl"}})),
        ("made for 2 classes: 1 keep their rows",),
    ),
    Situation(
        "A `data.yaml` of YOLO, with `names` as a list or by number",
        "The names are read.",
        "detrex-hub convert detr.pth --classes-from data.yaml",
        _with(text("data.yaml", "nc: 2", "names:", "  0: cat", "  1: owl")),
        ("made for 2 classes: 1 keep their rows",),
    ),
    Situation(
        "Metadata of detectron2, with `thing_classes`",
        "The names are read.",
        "detrex-hub convert detr.pth --classes-from metadata.json",
        _with(_json("metadata.json", {"thing_classes": ["cat", "owl"]})),
        ("made for 2 classes: 1 keep their rows",),
    ),
    Situation(
        "A file that holds no names, such as a table",
        "Refused: its lines are not read as class names.",
        "detrex-hub convert detr.pth --classes-from classes.csv",
        _with(text("classes.csv", "id,name", "1,cat", "2,owl")),
        ("classes.csv contains no class names",),
        refused=True,
    ),
    Situation(
        "Two names for the same class",
        "Refused, unless other spellings count as different classes.",
        "detrex-hub convert detr.pth --classes-from twice.txt",
        _with(text("twice.txt", "sofa", "couch")),
        ("'sofa' and 'couch' are both 'couch' of COCO",),
        refused=True,
    ),
    Situation(
        "Names for a head whose classes are not known",
        "Refused, unless all rows may be fresh.",
        "detrex-hub convert own.pth --classes-from names.txt",
        several([saved("own.pth", lambda: {"model": _of(7)}), text("names.txt", "cat", "owl")]),
        ("the class head has 7 rows, which are not known to be COCO's",),
        refused=True,
    ),
    Situation(
        "An Objects365 head with 366 rows, or 365",
        "Its classes are found by name too.",
        "detrex-hub convert objects365.pth --classes-from names.txt",
        several(
            [
                saved("objects365.pth", lambda: {"model": _of(366)}),
                text("names.txt", "Hockey Stick", "tv", "unicorn"),
            ]
        ),
        ("2 keep their rows, 1 get fresh ones (seed 0): unicorn. Taken as: tv -> Monitor/TV",),
    ),
)
