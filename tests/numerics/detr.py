"""Small DETRs: as transformers makes them, and as modules with the original's names."""

import itertools

from torch import nn

WIDTH = 32


def transformers_detr(**backbone):
    from transformers import DetrConfig, DetrForObjectDetection

    backbone = backbone or {"backbone": "resnet18", "use_timm_backbone": True}
    return DetrForObjectDetection(
        DetrConfig(
            **backbone,
            use_pretrained_backbone=False,
            num_labels=91,
            num_queries=5,
            d_model=WIDTH,
            encoder_layers=2,
            decoder_layers=2,
            encoder_ffn_dim=16,
            decoder_ffn_dim=16,
        )
    )


def own_resnet18():
    """What a config of transformers says for its own ResNet-18."""
    from transformers import ResNetConfig

    widths = [64, 128, 256, 512]
    body = ResNetConfig(
        depths=[2] * 4, hidden_sizes=widths, layer_type="basic", out_features=["stage4"]
    )
    return {"backbone_config": body, "use_timm_backbone": False}


def mlp(*widths):
    module = nn.Module()
    pairs = itertools.pairwise(widths)
    module.layers = nn.ModuleList(nn.Linear(*pair) for pair in pairs)
    return module


class Original(nn.Module):
    """The names and shapes of facebookresearch/detr, whose layers are torch's own; it is not run.

    A decoder layer may be another module.
    """

    def __init__(self, depth=18, rows=92, grid=None, decoder_layers=None):
        import timm

        super().__init__()
        body = timm.create_model(f"resnet{depth}", num_classes=0)
        self.backbone = nn.ModuleList([nn.ModuleDict({"body": body})])
        if grid is not None:
            sides = {f"{side}_embed": nn.Embedding(grid, WIDTH // 2) for side in ("row", "col")}
            self.backbone.append(nn.ModuleDict(sides))
        self.transformer = nn.Transformer(WIDTH, 8, 2, 2, 16, batch_first=True)
        self.transformer.encoder.norm = None
        if decoder_layers is not None:
            self.transformer.decoder.layers = nn.ModuleList(decoder_layers)
        self.input_proj = nn.Conv2d(body.num_features, WIDTH, 1)
        self.query_embed = nn.Embedding(5, WIDTH)
        self.class_embed = nn.Linear(WIDTH, rows)
        self.bbox_embed = mlp(WIDTH, WIDTH, WIDTH, 4)


def panoptic():
    model = nn.Module()
    model.detr = Original(rows=251)
    model.mask_head = nn.ModuleDict({"lay1": nn.Conv2d(40, 40, 3)})
    model.bbox_attention = nn.ModuleDict({"q_linear": nn.Linear(WIDTH, WIDTH)})
    return model


_NORMS = tuple(f"transformer.decoder.layers.1.norms.{i}.weight" for i in (0, 1))
# two tensors of one shape that a wrong mapper could take for each other
MODELS = {
    "detr": (Original, *_NORMS),
    "detr_transformers": (transformers_detr, *_NORMS),
}

# the same models otherwise, which are compared alone
VARIANTS = {
    "detr_learned_positions": lambda: Original(grid=50),
    "detr_panoptic": panoptic,
    "detr_no_timm": lambda: transformers_detr(**own_resnet18()),
    "detr_dc5": lambda: Original(depth=50),
}

TOLD = {"detr_dc5": {"facts": {"dilation": True}}}
