"""Small backbones as other libraries make them."""


def timm_resnet():
    import timm

    return timm.create_model("resnet18", num_classes=3)


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


# two tensors of one shape that a wrong mapper could take for each other
MODELS = {
    "resnet": (timm_resnet, "res2.0.conv1.norm.weight", "res2.0.conv2.norm.weight"),
    "torchvision_resnet": (
        timm_resnet,
        "body.layer1.0.bn1.weight",
        "body.layer1.0.bn2.weight",
    ),
    "convnext": (timm_convnext, "stages.2.0.norm.bias", "stages.2.1.norm.bias"),
    "swin": (timm_swin, "layers.1.blocks.0.norm1.weight", "layers.1.blocks.0.norm2.weight"),
}

TOLD = {"torchvision_resnet": {"architecture": "torchvision_resnet"}}
