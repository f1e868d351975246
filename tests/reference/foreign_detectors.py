"""Keys and shapes of other projects' detectors with a backbone that can be converted.

`python -m tests.reference.foreign_detectors` builds the models on the meta device and writes the
table. It needs detectron2 (02b5c4e2), torchvision (0.28.0) and transformers (5.24.0).
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from detrex_hub.specs import TORCH_DTYPES, TensorSpec

TABLE = Path(__file__).parent / "foreign_detectors.json.gz"

_DETECTRON2 = {
    "detectron2 Faster R-CNN": "COCO-Detection/faster_rcnn_R_50_FPN_3x.yaml",
    "detectron2 RetinaNet": "COCO-Detection/retinanet_R_101_FPN_3x.yaml",
}


def load() -> dict[str, dict[str, TensorSpec]]:
    """The state dict of each detector, by its name."""
    tables = json.loads(gzip.decompress(TABLE.read_bytes()))
    return {
        name: {
            key: TensorSpec(TORCH_DTYPES[dtype], tuple(shape))
            for key, (dtype, shape) in table.items()
        }
        for name, table in tables.items()
    }


def _models() -> Iterator[tuple[str, Any]]:
    import torch
    import torchvision
    import transformers
    from detectron2 import model_zoo
    from detectron2.modeling import build_model

    detection = torchvision.models.detection
    without = {"weights": None, "weights_backbone": None}
    with torch.device("meta"):
        yield "torchvision Faster R-CNN", detection.fasterrcnn_resnet50_fpn(**without)
        yield "torchvision Mask R-CNN v2", detection.maskrcnn_resnet50_fpn_v2(**without)
        segmentation = torchvision.models.segmentation
        yield "torchvision DeepLabV3", segmentation.deeplabv3_resnet50(**without)
        config = transformers.MaskFormerConfig()
        yield "transformers MaskFormer", transformers.MaskFormerForInstanceSegmentation(config)
    for name, path in _DETECTRON2.items():
        config = model_zoo.get_config(path)
        config.MODEL.DEVICE = "cpu"
        yield name, build_model(config)


def main() -> None:
    tables = {
        name: {
            key: [str(tensor.dtype).removeprefix("torch."), list(tensor.shape)]
            for key, tensor in model.state_dict().items()
        }
        for name, model in _models()
    }
    text = json.dumps(tables, separators=(",", ":"))
    TABLE.write_bytes(gzip.compress(text.encode(), mtime=0))


if __name__ == "__main__":
    main()
