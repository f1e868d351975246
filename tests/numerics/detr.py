"""Small DETRs as other libraries make them."""


def transformers_detr():
    from transformers import DetrConfig, DetrForObjectDetection

    return DetrForObjectDetection(
        DetrConfig(
            backbone="resnet18",
            use_timm_backbone=True,
            use_pretrained_backbone=False,
            num_labels=91,
            num_queries=5,
            d_model=32,
            encoder_layers=2,
            decoder_layers=2,
            encoder_ffn_dim=16,
            decoder_ffn_dim=16,
        )
    )


# two tensors of one shape that a wrong mapper could take for each other
MODELS = {
    "detr": (
        transformers_detr,
        "transformer.decoder.layers.1.norms.0.weight",
        "transformer.decoder.layers.1.norms.1.weight",
    ),
}
