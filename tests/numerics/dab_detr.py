"""Small DAB-DETRs. detrex's always have a width of 256."""

from functools import partial

from tests.numerics.originals import Original

HYPER_PARAMETERS = {
    "backbone": "resnet",
    "backbone_depth": 18,
    "num_queries": 300,
    "num_classes": 80,
    "classes_cut_from": 91,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "embed_dim": 256,
    "feedforward_dim": 16,
}


def transformers_dab_detr(num_patterns, **backbone):
    from transformers import DabDetrConfig, DabDetrForObjectDetection

    return DabDetrForObjectDetection(
        DabDetrConfig(
            **backbone,
            num_labels=91,
            num_queries=300,
            num_patterns=num_patterns,
            encoder_layers=2,
            decoder_layers=2,
            encoder_ffn_dim=16,
            decoder_ffn_dim=16,
        )
    )


def on_timm():
    return transformers_dab_detr(
        3, backbone="resnet18", use_timm_backbone=True, use_pretrained_backbone=False
    )


def on_its_own():
    from transformers import ResNetConfig

    body = ResNetConfig(
        depths=[2, 2, 2, 2],
        hidden_sizes=[64, 128, 256, 512],
        layer_type="basic",
        out_features=["stage4"],
    )
    return transformers_dab_detr(0, backbone_config=body)


def original(architecture, **others):
    return Original(architecture, **(HYPER_PARAMETERS | others))


# two tensors of one shape that a wrong mapper could take for each other
MODELS = {
    "dab_detr": (
        partial(original, "dab_detr"),
        "transformer.decoder.layers.1.attentions.0.key_content_proj.bias",
        "transformer.decoder.layers.1.attentions.0.value_proj.bias",
    ),
    "dab_detr_transformers": (
        on_timm,
        "transformer.decoder.layers.1.norms.0.weight",
        "transformer.decoder.layers.1.norms.1.weight",
    ),
    "dn_detr": (
        partial(original, "dn_detr"),
        "transformer.decoder.layers.0.attentions.1.query_content_proj.weight",
        "transformer.decoder.layers.0.attentions.1.query_pos_proj.weight",
    ),
}

# other variants, which are only compared
VARIANTS = {
    "dab_detr_no_timm": on_its_own,
    "dab_detr_dc5": partial(
        original,
        "dab_detr",
        num_patterns=2,
        backbone="torchvision_resnet",
        backbone_depth=50,
        backbone_dilation=True,
    ),
}

OPTIONS = {"dab_detr_dc5": {"facts": {"dilation": True, "position_temperature": 10}}}
