from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from detrex_hub.architectures.base import IMAGENET_RGB
from detrex_hub.architectures.eva02 import EVA02
from detrex_hub.architectures.plain_vit import usual_windows
from detrex_hub.errors import ArchitectureError, MappingError, UsageError
from detrex_hub.mapping import Rename
from detrex_hub.specs import TensorSpec
from tests import reference
from tests.architectures.backbones import comes_out_as_measured, parameters, read, reads_back

NAME = "eva02_L_pt_m38m_p14to16"
LARGE = EVA02(embed_dim=1024, depth=24, num_heads=16, window_block_indexes=usual_windows(24))
BASE = EVA02(embed_dim=768, depth=12, num_heads=12, window_block_indexes=usual_windows(12))


def test_comes_out_as_measured() -> None:
    made, layout, plan = comes_out_as_measured(NAME)
    assert (made, layout) == (LARGE, "original")
    stated = reference.load(NAME).about["config"]["constructor"]
    stated = {**EVA02.defaults, **stated}
    assert {name: stated[name] for name in made.arguments()} == made.arguments()
    assert list(made.window_block_indexes) == stated["window_block_indexes"]
    assert "computes for its own image" in plan.dropped["blocks.0.attn.rope.freqs_cos"]
    assert not [key for key in plan.moves if "rope" in key]


# millions of parameters: EVA-02's README, which does not count the parts for pretraining
@pytest.mark.parametrize(("made", "millions"), [(BASE, 86), (LARGE, 304)])
def test_all_published_sizes_have_the_published_parameter_count(made: EVA02, millions: int) -> None:
    specs = reads_back(made)
    kept = made.plan(specs, "original").specs
    assert round(parameters(kept) / 1e6) in (millions - 1, millions)


def test_rotary_positions_of_the_current_code_are_dropped_too() -> None:
    specs = {
        key: TensorSpec("F32", (256, 64)) if "rope" in key else spec
        for key, spec in reference.load(NAME).source.items()
    }
    made, layout = read(specs)
    assert made == LARGE
    assert len(made.plan(specs, layout).moves) == 459


def test_files_without_rotary_positions_have_heads_of_64_channels_by_default() -> None:
    specs = {k: spec for k, spec in reference.load(NAME).source.items() if "rope" not in k}
    assert read(specs)[0] == LARGE
    assert read(specs, {"num_heads": 8})[0] == replace(LARGE, num_heads=8)
    with pytest.raises(UsageError, match=r"num_heads was given as 8, but the shapes show 16"):
        read(reference.load(NAME).source, {"num_heads": 8})


def test_tensors_that_depend_on_the_config_are_dropped_from_detrex_files() -> None:
    wide = replace(LARGE, img_size=1536, window_size=32, window_block_indexes=(0, 1, 3, 4))
    specs = wide.target()
    made, layout = read(specs)
    assert (made, layout) == (wide, "detrex")
    plan = made.plan(specs, layout)
    assert not [key for key in plan.moves if "rope" in key]
    assert plan.specs.keys() | made.set_by_model() == specs.keys()


def test_small_models_without_an_inner_norm_are_refused() -> None:
    specs = {k: spec for k, spec in BASE.original()[0].items() if "ffn_ln" not in k}
    made, layout = read(specs)
    with pytest.raises(MappingError, match=r"no key for the rule blocks\.\{i\}\.mlp\.ffn_ln"):
        made.plan(specs, layout)


def test_keys_keep_their_names_and_attention_keys_have_no_bias() -> None:
    moved = [rule for rule in LARGE.rules("original") if isinstance(rule, Rename)]
    assert all(rule.source == rule.target for rule in moved)
    assert "blocks.0.attn.k_bias" not in LARGE.target()
    plain = replace(LARGE, qkv_bias=False)
    assert "blocks.0.attn.q_bias" not in plain.target()


def test_the_error_names_a_missing_block() -> None:
    specs = dict(reference.load(NAME).source)
    del specs["blocks.7.norm1.weight"]
    with pytest.raises(ArchitectureError, match="n is 0, 1, 2, 3, 4, 5, 6, 8"):
        read(specs)


def test_a_pyramid_is_built_with_the_backbone() -> None:
    call = BASE.build(IMAGENET_RGB, (3,))
    assert call is not None
    assert call.target == "detrex.modeling.backbone.eva_02.SimpleFeaturePyramid"
    assert call.kwargs["scale_factors"] == [0.5]
    assert call.channels == {"p5": 256}
    assert call.square_images == 1024
    assert any("square images" in note for note in BASE.notes())
    net = call.kwargs["net"]
    assert net.target == "detrex.modeling.backbone.eva_02.EVA02_ViT"
    assert (net.kwargs["window_size"], net.kwargs["drop_path_rate"]) == (16, 0.1)


@st.composite
def evas(draw: st.DrawFn) -> EVA02:
    heads = draw(st.integers(1, 6))
    depth = draw(st.integers(1, 6))
    return EVA02(
        embed_dim=heads * 8 * draw(st.integers(1, 9)),
        depth=depth,
        num_heads=heads,
        patch_size=draw(st.sampled_from([14, 16])),
        mlp_ratio=draw(st.sampled_from([4 * 2 / 3, 4.0])),
        qkv_bias=draw(st.booleans()),
        pretrain_img_size=14 * 16 * draw(st.integers(1, 2)),
        window_block_indexes=usual_windows(depth),
    )


@given(evas())
def test_any_legal_size_reads_back(made: EVA02) -> None:
    reads_back(made)
