"""Computed tensors are shown as computed, verified by computing again, and not exported."""

from __future__ import annotations

import hashlib
import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from detrex_hub.architectures import architecture
from detrex_hub.cli.plan_lines import plan_lines
from detrex_hub.conversion import convert, prepare
from detrex_hub.errors import DetrexHubError, UsageError, VerificationError
from detrex_hub.exporting import export
from detrex_hub.mapping import source_specs
from detrex_hub.originals.conversion_options import ConversionOptions
from detrex_hub.verification import verify
from tests.checkpoint_files import save, tensors

FACTS = {"patch_size": 16}
TINY = {
    "embed_dim": 64,
    "depth": 2,
    "num_heads": 1,
    "patch_size": 14,
    "pretrain_img_size": 42,
    "window_block_indexes": [],
}


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A DINOv2 with two narrow blocks, as its authors would save it."""
    made = architecture("dinov2").from_hyper_parameters(TINY)
    specs, _ = made.original()
    scales = {key for key in source_specs(made.rules("original"), made.target()) if ".ls" in key}
    assert len(scales) == 4
    return save(tmp_path_factory.mktemp("original") / "tiny_dinov2.pth", tensors(specs))


@pytest.fixture
def folder(original, tmp_path):
    return convert(original, tmp_path / "tiny", facts=FACTS).folder


def test_a_dry_run_shows_the_computed_tensors(original):
    with prepare(original, ConversionOptions(facts=FACTS)) as planned:
        lines = "\n".join(plan_lines(planned))
        document = planned.to_json()
    assert "[computed: scale_rows]" in lines
    assert "[computed: pinv_last2 size=16,16 source_size=14,14]" in lines
    (piece,) = document["plan"]["moves"]["patch_embed.proj.weight"]
    assert piece["op"] == "pinv_last2"


def test_record_and_card_show_the_computed_tensors(folder):
    record = json.loads((folder / "conversion.json").read_text())
    assert record["plan"]["moves"]["blocks.1.mlp.fc2.bias"] == [
        {"op": "scale_rows", "of": ["blocks.1.mlp.fc2.bias", "blocks.1.ls2.gamma"], "args": {}}
    ]
    card = (folder / "README.md").read_text()
    assert "9 were computed" in card
    assert r"computed: scale\_rows" in card
    assert "| Original | detrex | Tensors | Rows or operation |" in card


def test_verify_repeats_the_computation(folder, original):
    found = verify(folder, source=str(original))
    assert found.repeated
    details = {check.name: check.detail for check in found.checks}
    assert "computed are 1 by pinv_last2, 8 by scale_rows" in details["plan"]
    assert "9 tensors computed again" in details["original"]


def test_a_changed_number_is_found(folder, original):
    weights = load_file(folder / "model.safetensors")
    weights["blocks.0.attn.proj.weight"] = torch.nextafter(
        weights["blocks.0.attn.proj.weight"], torch.tensor(1e9)
    )
    metadata = {"format": "pt"}
    save_file(weights, folder / "model.safetensors", metadata=metadata)
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    size = (folder / "model.safetensors").stat().st_size
    for name, where in (("config.json", "checkpoint"), ("conversion.json", "result")):
        document = json.loads((folder / name).read_text())
        document[where]["sha256"] = digest
        if where == "result":
            document[where]["size"] = size
        (folder / name).write_text(json.dumps(document))
    with pytest.raises(VerificationError, match="gave other weights"):
        verify(folder, source=str(original))


@pytest.mark.parametrize(
    "change", [{"op": "subtract"}, {"of": ["blocks.1.mlp.fc2.bias"]}, {"args": {"x": 1}}]
)
def test_another_operation_in_the_record_is_found(folder, change):
    path = folder / "conversion.json"
    record = json.loads(path.read_text())
    record["plan"]["moves"]["blocks.1.mlp.fc2.bias"][0] |= change
    path.write_text(json.dumps(record))
    with pytest.raises(VerificationError, match="the moves in"):
        verify(folder, repeat=False)


def test_export_names_operations_without_an_inverse(folder, tmp_path):
    with pytest.raises(DetrexHubError) as caught:
        export(folder, tmp_path / "back.pth")
    assert "by scale_rows" in str(caught.value)
    assert "patch_embed.proj.weight by pinv_last2" in str(caught.value)
    assert not (tmp_path / "back.pth").exists()


def test_numerics_do_not_compare_resampled_weights(folder, original):
    with pytest.raises(UsageError, match="pinv_last2"):
        verify(folder, source=str(original), with_numerics=True)


def test_every_format_of_the_original_gives_the_same_bytes(original, folder, tmp_path):
    state = torch.load(original, weights_only=True)
    save_file({k: t.contiguous() for k, t in state.items()}, tmp_path / "tiny_dinov2.safetensors")
    again = convert(tmp_path / "tiny_dinov2.safetensors", tmp_path / "again", facts=FACTS)
    assert again.path.read_bytes() == (folder / "model.safetensors").read_bytes()
