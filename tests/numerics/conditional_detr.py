"""Small Conditional-DETRs. The original always has a width of 256."""

from functools import partial

from tests.numerics.detr import DC5, own_resnet18
from tests.numerics.originals import Original

HYPER_PARAMETERS = {
    "backbone": "resnet",
    "backbone_depth": 18,
    "num_queries": 300,
    "num_classes": 80,
    "classes_cut_from": 91,
    "encoder_layers": 1,
    "decoder_layers": 2,
    "embed_dim": 256,
    "feedforward_dim": 16,
}


def transformers_conditional_detr(**backbone):
    from transformers import ConditionalDetrConfig, ConditionalDetrForObjectDetection

    return ConditionalDetrForObjectDetection(
        ConditionalDetrConfig(
            **backbone,
            use_pretrained_backbone=False,
            num_labels=91,
            num_queries=300,
            encoder_layers=1,
            decoder_layers=2,
            encoder_ffn_dim=16,
            decoder_ffn_dim=16,
        )
    )


original = partial(Original, "conditional_detr", **HYPER_PARAMETERS)
_LAYER = "transformer.decoder.layers.1.attentions"
# two tensors of one shape that a wrong mapper could take for each other
MODELS = {
    "conditional_detr_original": (
        original,
        f"{_LAYER}.1.query_pos_sine_proj.weight",
        f"{_LAYER}.1.key_pos_proj.weight",
    ),
    "conditional_detr_transformers": (
        partial(transformers_conditional_detr, backbone="resnet18", use_timm_backbone=True),
        f"{_LAYER}.0.query_content_proj.weight",
        f"{_LAYER}.0.query_pos_proj.weight",
    ),
}

# other variants, which are only compared
VARIANTS = {
    "conditional_detr_no_timm": lambda: transformers_conditional_detr(**own_resnet18()),
    "conditional_detr_dc5": partial(Original, "conditional_detr", **{**HYPER_PARAMETERS, **DC5}),
    "conditional_detr_prepared": original,
}

OPTIONS = {
    "conditional_detr_dc5": {"facts": {"dilation": True}},
    # all class heads of the original are replaced
    "conditional_detr_prepared": {"facts": {"num_classes": 3}},
}
