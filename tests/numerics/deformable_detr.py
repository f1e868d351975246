"""Small Deformable-DETRs, as transformers makes them and in the original's names."""

from tests.numerics.detr import own_resnet18
from tests.numerics.originals import Original

HYPER_PARAMETERS = {
    "backbone": "resnet",
    "backbone_depth": 18,
    "num_classes": 80,
    "classes_cut_from": 91,
    "num_queries": 300,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "embed_dim": 32,
    "feedforward_dim": 16,
    "neck_inputs": 3,
    "feature_levels": 4,
    "with_box_refine": False,
    "as_two_stage": False,
}


def original(**arguments):
    return Original("deformable_detr", **(HYPER_PARAMETERS | arguments))


def original_in_two_stages():
    return original(embed_dim=256, num_queries=20, with_box_refine=True, as_two_stage=True)


def in_transformers(backbone=None, d_model=32, **arguments):
    from transformers import DeformableDetrConfig, DeformableDetrForObjectDetection

    return DeformableDetrForObjectDetection(
        DeformableDetrConfig(
            **(backbone or {"backbone": "resnet18"}),
            **arguments,
            num_labels=91,
            num_queries=300,
            d_model=d_model,
            encoder_layers=2,
            decoder_layers=2,
            encoder_ffn_dim=16,
            decoder_ffn_dim=16,
        )
    )


_NORMS = tuple(f"transformer.decoder.layers.1.norms.{i}.weight" for i in (0, 1))
# two tensors of one shape that a wrong mapper could take for each other
MODELS = {
    "deformable_detr": (original, *_NORMS),
    "deformable_detr_transformers": (in_transformers, *_NORMS),
    "deformable_detr_two_stage": (
        original_in_two_stages,
        "transformer.decoder.class_embed.1.weight",
        "transformer.decoder.class_embed.2.weight",
    ),
}

# other variants, which are only compared
VARIANTS = {
    "deformable_detr_refined": lambda: original(with_box_refine=True),
    "deformable_detr_of_five_levels": lambda: original(neck_inputs=4, feature_levels=5),
    "deformable_detr_on_two_stages": lambda: original(neck_inputs=2, feature_levels=4),
    "deformable_detr_dc5": lambda: original(
        backbone="torchvision_resnet", backbone_depth=50, neck_inputs=1, feature_levels=1
    ),
    "deformable_detr_of_other_classes": original,
    "deformable_detr_of_new_classes": original,
    "deformable_detr_transformers_two_stage": lambda: in_transformers(
        d_model=256, with_box_refine=True, two_stage=True
    ),
    "deformable_detr_no_timm_of_one_level": lambda: in_transformers(
        own_resnet18(), num_feature_levels=1, with_box_refine=True
    ),
}

OPTIONS = {
    "deformable_detr_two_stage": {"facts": {"num_queries": 20}},
    "deformable_detr_of_other_classes": {"facts": {"class_names": ["unicorn", "zebra"]}},
    "deformable_detr_of_new_classes": {"facts": {"num_classes": 3}},
    "deformable_detr_dc5": {"facts": {"dilation": True}},
    # more queries than the smallest image has positions
    "deformable_detr_transformers_two_stage": {"facts": {"num_queries": 200}},
}
