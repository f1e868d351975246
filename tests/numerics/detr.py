"""Small DETRs."""

from functools import partial

import torch

from tests.numerics.originals import Original

WIDTH = 32
HYPER_PARAMETERS = {
    "backbone": "resnet",
    "backbone_depth": 18,
    "num_queries": 300,
    "num_classes": 80,
    "classes_cut_from": 92,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "embed_dim": WIDTH,
    "feedforward_dim": 16,
}
DC5 = {"backbone": "torchvision_resnet", "backbone_depth": 50, "backbone_dilation": True}


class Panoptic(Original):
    """The detector with a mask head."""

    def __init__(self):
        super().__init__(
            "detr", **{**HYPER_PARAMETERS, "num_classes": 250, "classes_cut_from": None}
        )

    def state_dict(self):
        detector = {f"detr.{key}": value for key, value in super().state_dict().items()}
        masks = ("mask_head.lay1.weight", "bbox_attention.q_linear.weight")
        return detector | {key: torch.empty(8, 8) for key in masks}

    def load_state_dict(self, state, strict):
        self._state = state


def transformers_detr(**backbone):
    from transformers import DetrConfig, DetrForObjectDetection

    backbone = backbone or {"backbone": "resnet18", "use_timm_backbone": True}
    return DetrForObjectDetection(
        DetrConfig(
            **backbone,
            use_pretrained_backbone=False,
            num_labels=91,
            num_queries=300,
            d_model=WIDTH,
            encoder_layers=2,
            decoder_layers=2,
            encoder_ffn_dim=16,
            decoder_ffn_dim=16,
        )
    )


def own_resnet18():
    """The config of transformers for its own ResNet-18."""
    from transformers import ResNetConfig

    widths = [64, 128, 256, 512]
    body = ResNetConfig(
        depths=[2] * 4, hidden_sizes=widths, layer_type="basic", out_features=["stage4"]
    )
    return {"backbone_config": body, "use_timm_backbone": False}


_NORMS = tuple(f"transformer.decoder.layers.1.norms.{i}.weight" for i in (0, 1))
# two tensors of one shape that a wrong mapper could take for each other
MODELS = {
    "detr_original": (partial(Original, "detr", **HYPER_PARAMETERS), *_NORMS),
    "detr_transformers": (transformers_detr, *_NORMS),
}

# other variants, which are only compared
VARIANTS = {
    "detr_learned_positions": partial(Original, "detr", **HYPER_PARAMETERS, position_grid=[50, 50]),
    "detr_panoptic": Panoptic,
    "detr_no_timm": lambda: transformers_detr(**own_resnet18()),
    "detr_dc5": partial(Original, "detr", **{**HYPER_PARAMETERS, **DC5}),
    "detr_prepared": partial(Original, "detr", **HYPER_PARAMETERS),
}

OPTIONS = {
    "detr_dc5": {"facts": {"dilation": True}},
    "detr_prepared": {"facts": {"class_names": ["zebra", "unicorn", "cat"]}},
}
