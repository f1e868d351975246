"""The output of a training run of a small DETR with detrex: weights, config and metrics."""

import json
from pathlib import Path

import torch
from omegaconf import OmegaConf

from detrex_hub.architectures import architecture
from tests.checkpoint_files import tensors

HYPER_PARAMETERS = {
    "backbone": "resnet",
    "backbone_depth": 18,
    "num_queries": 7,
    "num_classes": 3,
    "encoder_layers": 1,
    "decoder_layers": 2,
    "embed_dim": 16,
    "feedforward_dim": 8,
    "position_temperature": 20,
    "position_offset": -0.5,
}
LAST = 89_999


def layers(number):
    return {
        "_target_": "projects.detr.modeling.Layers",
        "embed_dim": 16,
        "feedforward_dim": 8,
        "num_layers": number,
        "num_heads": 4,
    }


def config(**changes):
    cfg = OmegaConf.create(
        {
            "model": {
                "_target_": "projects.detr.modeling.DETR",
                "backbone": {
                    "_target_": "detectron2.modeling.backbone.ResNet",
                    "stages": {"_target_": "make_default_stages", "depth": 18},
                    "out_features": ["res5"],
                },
                "in_features": ["res5"],
                "in_channels": 512,
                "embed_dim": 16,
                "num_classes": 3,
                "num_queries": 7,
                "criterion": {"_target_": "SetCriterion", "num_classes": 3},
                "position_embedding": {
                    "_target_": "PositionEmbeddingSine",
                    "num_pos_feats": 8,
                    "temperature": 20,
                    "offset": -0.5,
                },
                "transformer": {
                    "_target_": "DetrTransformer",
                    "encoder": layers(1),
                    "decoder": layers(2),
                },
                "pixel_mean": [1.0, 2.0, 3.0],
                "pixel_std": [4.0, 5.0, 6.0],
            },
            "dataloader": {
                "train": {"mapper": {"img_format": "BGR"}},
                "test": {
                    "mapper": {"img_format": "BGR"},
                    "dataset": {"names": "coco_2017_val"},
                },
            },
            "train": {"model_ema": {"enabled": False}},
        }
    )
    for path, value in changes.items():
        OmegaConf.update(cfg, path.replace("__", "."), value)
    return cfg


def metrics(*evaluations):
    lines = [{"iteration": 19, "loss_bbox": 0.3, "lr": 1e-4}]
    for iteration, value in evaluations:
        figures = {"bbox/AP": value, "bbox/AP50": value + 1, "bbox/AP-bird": 9.0, "bbox/APs": -1}
        lines += [{"iteration": iteration, **figures, "bbox/APl": float("nan")}]
    return "".join(json.dumps(line) + "\n" for line in lines)


def checkpoint(path: Path) -> dict[str, torch.Tensor]:
    """Write the last checkpoint with averaged weights and an optimizer, and return the weights."""
    made = architecture("detr").from_hyper_parameters(HYPER_PARAMETERS)
    state = tensors(made.target(), made.ties())
    whole = {
        "model": state,
        "optimizer": {"state": {0: {"exp_avg": torch.ones(5)}}},
        "iteration": LAST,
        "ema_state": {key: value + 1 for key, value in state.items()},
    }
    torch.save(whole, path)
    return state


def output(folder: Path) -> None:
    """Write the output folder of the training run."""
    folder.mkdir()
    checkpoint(folder / "model_final.pth")
    OmegaConf.save(config(), folder / "config.yaml")
    (folder / "metrics.json").write_text(metrics((9_999, 11.0), (LAST + 1, 41.25)))
    (folder / "model_0009999.pth").write_bytes(b"an earlier one")
    (folder / "last_checkpoint").write_text("model_final.pth")
