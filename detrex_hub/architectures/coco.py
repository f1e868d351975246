"""COCO's classes: their names, and the rows that they have in the heads of the originals.

The originals number their rows by COCO's category ids, 1 to 90, of which ten do not exist, so that
a head has 91 rows (row 0 is never used) and DETR's 92 (row 91 is "no object"). detrex numbers the
80 classes that exist from 0.
"""

from __future__ import annotations

# fmt: off
NAMES: tuple[str, ...] = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat",
    "traffic light", "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog",
    "horse", "sheep", "cow", "elephant", "bear", "zebra", "giraffe", "backpack", "umbrella",
    "handbag", "tie", "suitcase", "frisbee", "skis", "snowboard", "sports ball", "kite",
    "baseball bat", "baseball glove", "skateboard", "surfboard", "tennis racket", "bottle",
    "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple", "sandwich", "orange",
    "broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch", "potted plant",
    "bed", "dining table", "toilet", "tv", "laptop", "mouse", "remote", "keyboard", "cell phone",
    "microwave", "oven", "toaster", "sink", "refrigerator", "book", "clock", "vase", "scissors",
    "teddy bear", "hair drier", "toothbrush",
)
# fmt: on
"""The 80 classes in detrex's order."""

MISSING_CATEGORIES = frozenset({12, 26, 29, 30, 45, 66, 68, 69, 71, 83})

CATEGORIES: tuple[int, ...] = tuple(id for id in range(1, 91) if id not in MISSING_CATEGORIES)
"""The category id of each of the 80 classes, which is its row in the originals."""
