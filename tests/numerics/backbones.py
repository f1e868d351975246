"""Small backbones as other libraries make them, and in the form of their authors' files."""

from tests.numerics.originals import Original


def timm_resnet():
    import timm

    return timm.create_model("resnet18", num_classes=3)


def timm_resnet_d():
    import timm

    return timm.create_model("resnet26d", num_classes=3)


def timm_basic_resnet_d():
    import timm

    return timm.create_model("resnet18d", num_classes=3)


def timm_convnext():
    from timm.models.convnext import ConvNeXt

    return ConvNeXt(depths=(1, 1, 2, 1), dims=(8, 16, 24, 32), num_classes=3)


def timm_swin():
    from timm.models.swin_transformer import SwinTransformer

    return SwinTransformer(
        img_size=64,
        window_size=2,
        embed_dim=8,
        depths=(2, 2, 2, 2),
        num_heads=(1, 2, 2, 4),
        num_classes=3,
    )


def original_convnext():
    return Original("convnext", depths=[1, 1, 2, 1], dims=[8, 16, 24, 32])


def original_swin():
    return Original(
        "swin",
        embed_dim=8,
        depths=[2, 2, 2, 2],
        num_heads=[1, 2, 2, 4],
        window_size=2,
        pretrain_img_size=64,
    )


def original_focalnet():
    return Original(
        "focalnet",
        embed_dim=8,
        depths=[1, 1, 2, 1],
        focal_levels=[2, 2, 2, 2],
        focal_windows=[3, 3, 3, 3],
    )


def original_huge_focalnet():
    """A FocalNet with all parts that only large and huge models have."""
    return Original(
        "focalnet",
        embed_dim=8,
        depths=[1, 1, 2, 1],
        focal_levels=[4, 4, 4, 3],
        focal_windows=[5, 5, 3, 3],
        use_conv_embed=True,
        use_layerscale=True,
        use_postln=True,
        use_postln_in_modulation=True,
    )


def timm_vit():
    from timm.models.vision_transformer import VisionTransformer

    return VisionTransformer(
        img_size=32, patch_size=8, embed_dim=32, depth=5, num_heads=4, num_classes=3
    )


def timm_dinov2():
    from timm.models.vision_transformer import VisionTransformer

    return VisionTransformer(
        img_size=42,
        patch_size=14,
        embed_dim=64,
        depth=5,
        num_heads=1,
        init_values=1.0,
        reg_tokens=4,
        no_embed_class=True,
        num_classes=0,
    )


def timm_resnext():
    import timm

    return timm.create_model("resnet50", cardinality=4, base_width=8, num_classes=3)


def original_eva02():
    return Original(
        "eva02",
        embed_dim=32,
        depth=5,
        num_heads=2,
        patch_size=4,
        pretrain_img_size=56,
        window_block_indexes=[0, 2],
    )


# two tensors of one shape that a wrong mapper could take for each other
MODELS = {
    "resnet": (timm_resnet, "res2.0.conv1.norm.weight", "res2.0.conv2.norm.weight"),
    "torchvision_resnet": (
        timm_resnet,
        "body.layer1.0.bn1.weight",
        "body.layer1.0.bn2.weight",
    ),
    "timm_resnet_d": (
        timm_resnet_d,
        "timm_model.layer2.0.bn1.weight",
        "timm_model.layer2.0.bn2.weight",
    ),
    "convnext": (timm_convnext, "stages.2.0.norm.bias", "stages.2.1.norm.bias"),
    "swin": (timm_swin, "layers.1.blocks.0.norm1.weight", "layers.1.blocks.0.norm2.weight"),
    "focalnet_huge": (
        original_huge_focalnet,
        "layers.2.blocks.0.gamma_1",
        "layers.2.blocks.0.modulation.ln.bias",
    ),
    "vit_mae": (timm_vit, "blocks.1.norm1.weight", "blocks.1.norm2.weight"),
    "dinov2": (timm_dinov2, "blocks.1.norm1.weight", "blocks.1.norm2.weight"),
    "eva02": (original_eva02, "blocks.2.mlp.w1.weight", "blocks.2.mlp.w2.weight"),
}

VARIANTS = {
    "resnet_with_classifier": timm_resnet,
    "resnext": timm_resnext,
    "basic_timm_resnet_d": timm_basic_resnet_d,
    "convnext_original": original_convnext,
    "swin_original": original_swin,
    "focalnet": original_focalnet,
}

OPTIONS = {
    "resnet_with_classifier": {"facts": {"keep_classifier": True}},
    "torchvision_resnet": {"architecture": "torchvision_resnet"},
    "focalnet_huge": {"facts": {"normalize_modulator": True}},
    "vit_mae": {"facts": {"num_heads": 4}},
}
