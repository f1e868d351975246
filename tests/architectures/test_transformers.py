"""transformers' real models with random weights, saved by `save_pretrained`, as sources."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file

from detrex_hub.conversion import convert
from tests import reference
from tests.torchvision_operators import declare

# six layers, as in the measured tables; the names do not depend on the width
SMALL = {"encoder_ffn_dim": 24, "decoder_ffn_dim": 24, "num_queries": 10, "num_labels": 91}
WIDTH = {"d_model": 32}
# each model: transformers' name, the measured table, and the arguments
MODELS = {
    "detr": ("Detr", "hf_detr_r50", WIDTH),
    "detr_no_timm": ("Detr", "hf_detr_r50_no_timm", WIDTH),
    "detr_of_ones_own_classes": ("Detr", "hf_detr_r50", {**WIDTH, "num_labels": 5}),
    "conditional_detr": ("ConditionalDetr", "hf_conditional_detr_r50", WIDTH),
    "dab_detr": ("DabDetr", "hf_dab_detr_r50", {"hidden_size": 32}),
    "dab_detr_no_timm": ("DabDetr", "hf_dab_detr_r50", {"hidden_size": 32, "num_patterns": 2}),
    "deformable_detr": ("DeformableDetr", "hf_deformable_detr_r50", WIDTH),
    "deformable_detr_no_timm": ("DeformableDetr", "hf_deformable_detr_r50", WIDTH),
    "deformable_detr_single_scale": (
        "DeformableDetr",
        "hf_deformable_detr_r50",
        {**WIDTH, "num_feature_levels": 1},
    ),
    "deformable_detr_refine": (
        "DeformableDetr",
        "hf_deformable_detr_r50_refine",
        {**WIDTH, "with_box_refine": True},
    ),
    "deformable_detr_two_stage": (
        "DeformableDetr",
        "hf_deformable_detr_r50_two_stage",
        {**WIDTH, "with_box_refine": True, "two_stage": True},
    ),
}


@pytest.fixture(scope="module")
def build():
    """`build(name)` makes a model of transformers with random tensors."""
    declare()
    import transformers

    def _build(name):
        kind, _, arguments = MODELS[name]
        several = kind == "DeformableDetr" and "num_feature_levels" not in arguments
        levels = (2, 3, 4) if several else (4,)
        if name.endswith("no_timm"):
            backbone = transformers.ResNetConfig(
                layer_type="basic",
                depths=[2, 2, 2, 2],
                hidden_sizes=[64, 128, 256, 512],
                embedding_size=64,
                out_features=[f"stage{level}" for level in levels],
            )
        else:
            backbone = transformers.TimmBackboneConfig(
                backbone="resnet18", use_pretrained_backbone=False, out_indices=levels
            )
        config = getattr(transformers, f"{kind}Config")(
            backbone_config=backbone, **{**SMALL, **arguments}
        )
        model = getattr(transformers, f"{kind}ForObjectDetection")(config).eval()
        torch.manual_seed(0)
        with torch.no_grad():
            for tensor in model.state_dict().values():
                if tensor.is_floating_point():
                    tensor.normal_()
        return model

    return _build


def convert_saved(model, folder, **options):
    model.save_pretrained(folder / "saved")
    done = convert(folder / "saved" / "model.safetensors", folder / "out", **options)
    written = load_file(done.path)
    ties = done.conversion.plan.ties
    written |= {alias: written[stored] for alias, stored in ties.items()}
    return load_file(folder / "saved" / "model.safetensors"), written, done.conversion


def ties_of(name):
    """The ties of transformers 5 that the measured tables of older files lack."""
    if name == "deformable_detr_refine":
        for parameter in ("weight", "bias"):
            yield [f"class_embed.{i}.{parameter}" for i in range(6)]


def measured_moves(name):
    """The source of each target tensor, by the tables."""
    moves = dict(reference.load(MODELS[name][1]).moves)
    if name.endswith("no_timm"):
        others = reference.load("hf_detr_r50_no_timm").moves
        moves |= {key: parts for key, parts in others.items() if key.startswith("backbone.")}
    patterns = "transformer.patterns.weight"
    return moves | {patterns: (reference.Part("model.patterns.weight"),)}


@pytest.mark.parametrize("name", MODELS)
def test_a_real_model_of_transformers_is_converted(build, tmp_path, name):
    _, table, arguments = MODELS[name]
    variant = reference.load(table)
    state, written, conversion = convert_saved(build(name), tmp_path)
    for group in (*variant.tied_sources, *ties_of(name)):
        stored = next(key for key in group if key in state)
        state |= {key: state[stored] for key in group if key not in state}

    made = conversion.architecture
    assert made.name == table.removeprefix("hf_").partition("_r50")[0]
    assert conversion.layout == (
        "transformers_no_timm" if name.endswith("no_timm") else "transformers"
    )
    assert made.hyper_parameters()["backbone_depth"] == 18
    assert (made.embed_dim, made.feedforward_dim) == (32, 24)
    assert made.num_classes == (5 if "num_labels" in arguments else 80)
    assert written.keys() | made.set_by_model() == made.target().keys()
    moves = measured_moves(name)
    for target, tensor in written.items():
        parts = []
        for part in moves[target]:
            whole = state[part.key]
            own = "class" in part.key and "num_labels" in arguments
            parts.append(whole if part.rows is None or own else whole[list(part.rows)])
        assert torch.equal(tensor, torch.cat(parts) if len(parts) > 1 else parts[0]), target


def load_into(module, written, prefix, names):
    """Load the tensors of a detrex layer into a torch layer, by the names of its parts."""
    module.load_state_dict(
        {
            f"{own}{key.removeprefix(f'{prefix}.{detrex}')}": tensor
            for detrex, own in names.items()
            for key, tensor in written.items()
            if key.startswith(f"{prefix}.{detrex}")
        },
        strict=True,
    )
    return module.eval().double()


def test_converted_layers_of_detr_compute_the_same_in_torch(build, tmp_path):
    """detrex's layers are torch's with other names. So converted tensors in torch's layers give
    the same outputs as the source in transformers' layers."""
    model = build("detr")
    _, written, _ = convert_saved(model, tmp_path)
    model.double()
    names = {
        "attentions.0.attn.": "self_attn.",
        "attentions.1.attn.": "multihead_attn.",
        "ffns.0.layers.0.0.": "linear1.",
        "ffns.0.layers.1.": "linear2.",
        "norms.": "norm",
    }
    torch.manual_seed(1)
    image, queries = torch.randn(2, 7, 32).double(), torch.randn(2, 5, 32).double()

    encoder = load_into(
        torch.nn.TransformerEncoderLayer(32, 8, 24, batch_first=True),
        numbered(written, "transformer.encoder.layers.3"),
        "transformer.encoder.layers.3",
        names,
    )
    decoder = load_into(
        torch.nn.TransformerDecoderLayer(32, 8, 24, batch_first=True),
        numbered(written, "transformer.decoder.layers.3"),
        "transformer.decoder.layers.3",
        names,
    )
    with torch.no_grad():
        theirs = model.model.encoder.layers[3](image, attention_mask=None)
        close(encoder(image), theirs)
        theirs = model.model.decoder.layers[3](queries, encoder_hidden_states=image)
        close(decoder(queries, image), theirs)


def numbered(written, layer):
    """torch numbers norms from 1, detrex from 0."""
    norm = f"{layer}.norms."
    return {
        f"{norm}{int(key[len(norm)]) + 1}{key[len(norm) + 1 :]}" if key.startswith(norm) else key: t
        for key, t in written.items()
    }


def close(found, expected):
    expected = expected[0] if isinstance(expected, tuple) else expected
    assert (found - expected).abs().max() < 1e-12
