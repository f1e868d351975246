"""Whole folders as originals: repositories of transformers and timm, and training outputs."""

import hashlib
import json
import warnings

import pytest
import torch
from safetensors.torch import save_file

from detrex_hub.architectures import architecture, coco
from detrex_hub.conversion import convert, prepare
from detrex_hub.errors import (
    ArchitectureError,
    CheckpointError,
    ConfigError,
    DetrexHubError,
    UsageError,
    VerificationError,
)
from detrex_hub.exporting import export
from detrex_hub.inspection import inspect
from detrex_hub.loading import load_state_dict
from detrex_hub.originals.conversion_options import ConversionOptions
from detrex_hub.verification import verify
from tests import reference, tiny
from tests.checkpoint_files import hollow, tensors

INDEX = "model.safetensors.index.json"
IMAGES = {"image_mean": [0.5, 0.25, 0.125], "image_std": [0.5, 0.5, 0.5]}
TIMM = {"architecture": "convnext_x", "pretrained_cfg": {"mean": [0.5] * 3, "std": [0.25] * 3}}


def state(layout):
    """A tiny ConvNeXt."""
    made = architecture("convnext").from_hyper_parameters(tiny.HYPER_PARAMETERS)
    specs, _ = made.original(layout)
    return tensors(specs)


def write_json(path, document):
    path.write_text(json.dumps(document))


def repository(folder, *, layout="transformers", write=save_file, name="model.safetensors"):
    """A repository with one file of weights."""
    folder.mkdir(parents=True, exist_ok=True)
    write(state(layout), folder / name)
    if layout == "timm":
        write_json(folder / "config.json", TIMM)
    else:
        write_json(folder / "config.json", {"model_type": "convnext", "architectures": ["X"]})
        write_json(folder / "preprocessor_config.json", IMAGES)
    return folder


def sharded(folder, *, write=save_file, suffix=".safetensors", index=INDEX):
    """A repository with two shards and their index."""
    whole = state("transformers")
    repository(folder).joinpath("model.safetensors").unlink()
    placed = {key: f"model-{i % 2}{suffix}" for i, key in enumerate(whole)}
    for name in set(placed.values()):
        part = {key: tensor for key, tensor in whole.items() if placed[key] == name}
        write(part, folder / name)
    write_json(folder / index, {"weight_map": placed})
    return folder


KINDS = {
    "safetensors": repository,
    "torch": lambda folder: repository(folder, write=torch.save, name="pytorch_model.bin"),
    "sharded safetensors": sharded,
    "sharded torch": lambda folder: sharded(
        folder, write=torch.save, suffix=".bin", index="pytorch_model.bin.index.json"
    ),
    "timm": lambda folder: repository(folder, layout="timm"),
    "timm in torch": lambda folder: repository(
        folder, layout="timm", write=torch.save, name="pytorch_model.bin"
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_folder_is_converted_and_described_by_its_config(tmp_path, kind):
    folder = KINDS[kind](tmp_path / "my.convnext")
    done = convert(folder, tmp_path / "out")
    conversion = done.conversion
    assert conversion.name == "my.convnext"
    assert not conversion.assumed
    images = {"timm": ([127.5] * 3, [63.75] * 3)}.get(
        kind.partition(" ")[0], ([127.5, 63.75, 31.875], [127.5] * 3)
    )
    assert (conversion.preprocessing["pixel_mean"], conversion.preprocessing["pixel_std"]) == images
    record = json.loads((tmp_path / "out" / "conversion.json").read_text())
    source = record["source"]
    recorded = {source["file"]: source["sha256"]}
    recorded |= {one["file"]: one["sha256"] for one in source["files"]}
    assert recorded == {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()
    }
    assert verify(tmp_path / "out", source=str(folder)).repeated


def test_the_result_does_not_depend_on_the_shards(tmp_path):
    sums = {
        convert(KINDS[kind](tmp_path / kind / "x"), tmp_path / kind / "out").sha256
        for kind in ("safetensors", "torch", "sharded safetensors", "sharded torch")
    }
    assert len(sums) == 1


@pytest.mark.parametrize(
    ("kind", "file"), [("sharded torch", "pytorch_model.bin.index.json"), ("timm", None)]
)
def test_the_file_of_a_repository_works_as_its_folder(tmp_path, kind, file):
    folder = KINDS[kind](tmp_path / "x")
    of_file = convert(folder / (file or "model.safetensors"), tmp_path / "of_file")
    of_folder = convert(folder, tmp_path / "of_folder")
    assert of_file.documents == of_folder.documents


def test_an_inspected_folder_shows_what_its_config_says(tmp_path):
    found = inspect(sharded(tmp_path / "x"))
    assert (found.architecture, found.format, found.assumed) == ("convnext", "shards", {})
    assert {"config.json", "preprocessor_config.json"} <= set(found.metadata)
    assert found.overrides["model.pixel_mean"] == [127.5, 63.75, 31.875]


@pytest.mark.parametrize("change", ["model-1.safetensors", "preprocessor_config.json"])
def test_a_folder_other_than_the_recorded_one_is_refused(tmp_path, change):
    folder = sharded(tmp_path / "x")
    convert(folder, tmp_path / "out")
    if change.endswith(".json"):
        write_json(folder / change, {**IMAGES, "do_pad": True})
    else:
        content = bytearray((folder / change).read_bytes())
        content[-1] ^= 1
        (folder / change).write_bytes(content)
    with pytest.raises(DetrexHubError, match=r"gave other weights|source in conversion.json"):
        verify(tmp_path / "out", source=str(folder))


# --- facts ---------------------------------------------------------------------------------------

DETECTOR = {
    "backbone": "torchvision_resnet",
    "backbone_depth": 50,
    "num_queries": 10,
    "num_classes": 5,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "embed_dim": 32,
    "feedforward_dim": 16,
}
DEFORMABLE = {
    "backbone": "resnet",
    "backbone_depth": 50,
    "neck_inputs": 3,
    "feature_levels": 4,
    "with_box_refine": True,
    "as_two_stage": True,
}


def facts(tmp_path, name, config, **hyper_parameters):
    """The facts in the config of a detector's repository, and the assumed ones."""
    made = architecture(name).from_hyper_parameters({**DETECTOR, **hyper_parameters})
    specs, _ = made.original("transformers")
    folder = tmp_path / "repository"
    folder.mkdir()
    hollow(folder / "model.safetensors", specs)
    write_json(folder / "config.json", config)
    write_json(folder / "preprocessor_config.json", IMAGES)
    with prepare(folder) as planned:
        assert not planned.assumed
        return dict(planned.facts), planned.overrides.lazy


DETR = {"model_type": "detr", "encoder_attention_heads": 4, "decoder_attention_heads": 4}


@pytest.mark.parametrize(
    ("config", "dilation"),
    [
        ({"dilation": True}, True),
        ({"dilation": False}, False),
        ({}, False),
        ({"backbone_kwargs": {"output_stride": 16}, "dilation": False}, True),
        ({"backbone_config": {"output_stride": 16}, "dilation": False}, True),
        # if the backbone has a config, nothing reads this one
        ({"backbone_config": {"output_stride": 32}, "dilation": True}, False),
    ],
)
def test_dilation_and_heads_are_read(tmp_path, config, dilation):
    body = {"backbone": "torchvision_resnet" if dilation else "resnet"}
    found, lazy = facts(tmp_path, "detr", DETR | config, **body)
    assert (found["dilation"], found["num_heads"]) == (dilation, 4)
    assert lazy["model.transformer.encoder.num_heads"] == 4


def test_proposals_of_a_two_stage_model_are_read(tmp_path):
    config = {"model_type": "deformable_detr", "two_stage": True, "two_stage_num_proposals": 77}
    found, lazy = facts(tmp_path, "deformable_detr", config, **DEFORMABLE)
    assert (found["num_queries"], found["position_offset"]) == (77, -0.5)
    assert lazy["model.num_queries"] == 77


def test_the_temperature_of_dab_detr_is_read(tmp_path):
    config = {"model_type": "dab-detr", "temperature_height": 10, "temperature_width": 10}
    found, lazy = facts(tmp_path, "dab_detr", config, backbone="resnet")
    assert found["position_temperature"] == 10
    assert lazy["model.position_embedding.temperature"] == 10


@pytest.mark.parametrize(
    ("name", "config", "says"),
    [
        ("detr", {"model_type": "detr", "auxiliary_loss": True}, "auxiliary_loss True"),
        ("detr", {"model_type": "detr", "activation_function": "gelu"}, "'gelu'"),
        (
            "dab_detr",
            {"model_type": "dab-detr", "temperature_height": 10, "temperature_width": 20},
            "temperature_height 10 and temperature_width 20",
        ),
        ("detr", {**DETR, "decoder_attention_heads": 8}, "one setting for both"),
    ],
)
def test_a_model_that_detrex_computes_differently_is_refused(tmp_path, name, config, says):
    with pytest.raises(ArchitectureError, match=says):
        facts(tmp_path, name, config, backbone="resnet")


@pytest.mark.parametrize(
    "config",
    [
        {"encoder_attention_heads": "8", "decoder_attention_heads": "8"},
        {"encoder_attention_heads": [8], "decoder_attention_heads": [8]},
        {"backbone_config": "x", "backbone_kwargs": 5, "dilation": "yes"},
    ],
)
def test_values_of_wrong_kinds_are_ignored(tmp_path, config):
    folder = tmp_path / "x"
    made = architecture("detr").from_hyper_parameters({**DETECTOR, "backbone": "resnet"})
    folder.mkdir()
    hollow(folder / "model.safetensors", made.original("transformers")[0])
    write_json(folder / "config.json", {"model_type": "detr", **config})
    with prepare(folder) as planned:
        assert planned.preprocessing["pixel_mean"] == [123.675, 116.28, 103.53]
        assert "pixel_mean" in planned.assumed


@pytest.mark.parametrize(
    ("processor", "mean", "std"),
    [
        ({"image_mean": [0.485, 0.456, 0.406]}, [123.675, 116.28, 103.53], None),
        ({"do_normalize": False}, [0.0] * 3, [255.0] * 3),
        ({**IMAGES, "do_rescale": False}, [0.5, 0.25, 0.125], [0.5] * 3),
        ({**IMAGES, "rescale_factor": 0.5}, [1.0, 0.5, 0.25], [1.0] * 3),
        ({**IMAGES, "rescale_factor": "x"}, None, None),
        ({**IMAGES, "image_mean": [0.5, "x", 1]}, None, [127.5] * 3),
        ({**IMAGES, "image_std": [0, 0, 0]}, [127.5, 63.75, 31.875], None),
    ],
)
def test_the_image_processor_gives_the_facts(tmp_path, processor, mean, std):
    folder = repository(tmp_path / "x")
    write_json(folder / "preprocessor_config.json", processor)
    with prepare(folder) as planned:
        assert planned.facts.get("pixel_mean") == mean
        assert planned.facts.get("pixel_std") == std


def test_a_dilated_backbone_of_timm_is_refused(tmp_path):
    folder = repository(tmp_path / "x", layout="timm")
    write_json(folder / "config.json", {**TIMM, "model_args": {"output_stride": 16}})
    with pytest.raises(ArchitectureError, match="output_stride 16"):
        prepare(folder)


@pytest.mark.parametrize("downsample", [True, False])
def test_the_backbone_alone_has_the_facts_of_its_detector(tmp_path, downsample):
    folder = tmp_path / "x"
    folder.mkdir()
    specs = reference.load("hf_resnet50").source
    inside = {f"model.backbone.{key}": spec for key, spec in specs.items()}
    hollow(folder / "model.safetensors", inside)
    body = {"model_type": "resnet", "downsample_in_bottleneck": downsample}
    write_json(folder / "config.json", {"model_type": "detr", "backbone_config": body})
    with prepare(folder, ConversionOptions(architecture="resnet")) as planned:
        assert planned.overrides.lazy["model.backbone.stages.stride_in_1x1"] is downsample
        assert "stride_in_1x1" not in planned.assumed


@pytest.mark.parametrize("downsample", [True, False])
def test_the_config_of_a_transformers_resnet_shows_its_stride(tmp_path, downsample):
    folder = tmp_path / "x"
    folder.mkdir()
    hollow(folder / "model.safetensors", reference.load("hf_resnet50").source)
    config = {"model_type": "resnet", "downsample_in_bottleneck": downsample}
    write_json(folder / "config.json", config)
    with prepare(folder) as planned:
        assert planned.overrides.lazy["model.backbone.stages.stride_in_1x1"] is downsample
        assert "stride_in_1x1" not in planned.assumed
    write_json(folder / "config.json", {**config, "downsample_in_first_stage": True})
    with pytest.raises(ArchitectureError, match="downsample_in_first_stage"):
        prepare(folder)


def test_the_users_choice_takes_precedence(tmp_path):
    options = ConversionOptions(facts={"pixel_mean": "1,2,3"})
    with prepare(repository(tmp_path / "x"), options) as planned:
        assert planned.preprocessing["pixel_mean"] == [1.0, 2.0, 3.0]
        assert planned.preprocessing["pixel_std"] == [127.5] * 3


# --- folders -------------------------------------------------------------------------------------


def test_a_distributed_checkpoint_is_converted_by_its_folder(tmp_path):
    from torch.distributed import checkpoint as dcp

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dcp.save({"model": state("original")}, checkpoint_id=tmp_path / "step_9", no_dist=True)
    done = convert(tmp_path / "step_9", tmp_path / "out")
    assert done.sha256 == convert(tiny.original(tmp_path / "x.pth"), tmp_path / "of_file").sha256
    assert (done.conversion.name, done.conversion.checkpoint.container) == ("step_9", "model")
    assert verify(tmp_path / "out", source=str(tmp_path / "step_9")).repeated


@pytest.mark.parametrize(
    "text", ["model_0001.pth", "/remote/run/model_0001.pth\n", "C:\\r\\model_0001.pth"]
)
def test_last_checkpoint_is_followed(tmp_path, text):
    for name in ("model_0001.pth", "model_0002.pth"):
        tiny.original(tmp_path / name)
    (tmp_path / "last_checkpoint").write_text(text)
    with prepare(tmp_path) as planned:
        assert planned.provenance.file == "model_0001.pth"


def test_deepspeeds_latest_is_followed(tmp_path):
    inner = tmp_path / "global_step10"
    inner.mkdir()
    torch.save(
        {"module": state("original"), "ds_version": "0.16", "mp_world_size": 1},
        inner / "mp_rank_00_model_states.pt",
    )
    (tmp_path / "latest").write_text("global_step10")
    with prepare(tmp_path) as planned:
        assert planned.checkpoint.container == "module"
    torch.save(
        {"module": {"a": torch.zeros(0)}, "ds_version": "0.16"},
        inner / "zero_pp_rank_0_mp_rank_00_model_states.pt",
    )
    (inner / "mp_rank_00_model_states.pt").unlink()
    with pytest.raises(CheckpointError, match="ZeRO stage 3"):
        prepare(tmp_path)


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({}, "holds no checkpoint"),
        (
            {"a.pth": b"", "b.pth": b""},
            "contains several checkpoints and no last_checkpoint: a.pth",
        ),
        ({"last_checkpoint": b"gone.pth"}, "names gone.pth, which does not exist"),
        ({"last_checkpoint": b".."}, "names no file"),
        ({"last_checkpoint": b"\xff\xfe"}, "cannot be read as text"),
        ({"last_checkpoint": b"x" * 5000}, "cannot be read as text"),
        ({"latest": b"../.."}, "names no file"),
        ({"latest": b"gone"}, "which is not a folder beside it"),
        ({"model.safetensors": b"x", "config.json": b"{"}, "config.json is not valid JSON"),
        ({"model.safetensors": b"x", "config.json": b" " * 2**21}, "is too large"),
        ({"config.json": b'{"library_name": "detrex"}'}, "is converted already"),
    ],
)
def test_an_ambiguous_folder_is_refused(tmp_path, files, says):
    folder = tmp_path / "x"
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    with pytest.raises(DetrexHubError, match=says) as refused:
        prepare(folder)
    assert "\n" not in str(refused.value)


def test_a_link_out_of_a_folder_is_refused(tmp_path):
    repository(tmp_path / "elsewhere")
    folder = tmp_path / "x"
    folder.mkdir()
    for name in ("model.safetensors", "config.json"):
        (folder / name).symlink_to(tmp_path / "elsewhere" / name)
        with pytest.raises(CheckpointError, match="symbolic link to a place outside"):
            prepare(folder)


def test_whole_weights_take_precedence_over_deepspeeds(tmp_path):
    repository(tmp_path / "x")
    (tmp_path / "x" / "latest").write_text("global_step10")
    with prepare(tmp_path / "x") as planned:
        assert planned.provenance.file == "model.safetensors"


def test_trainer_files_beside_the_weights_are_ignored(tmp_path):
    for name in ("optimizer.pt", "scheduler.pt", "rng_state_0.pth", "training_args.bin"):
        (tmp_path / name).write_bytes(b"x")
    tiny.original(tmp_path / "model_0.pt")
    with prepare(tmp_path) as planned:
        assert planned.provenance.file == "model_0.pt"


def test_a_snapshot_in_the_cache_has_the_name_of_its_repository(hub, tmp_path):
    put(hub, sharded(tmp_path / "x"))
    with prepare("alice/my.convnext") as planned:
        folder = planned.checkpoint.path.parent
    for what in (folder, folder / INDEX):
        with prepare(what) as planned:
            assert planned.name == "my.convnext"


def test_a_damaged_file_of_the_cache_is_refused(hub, tmp_path):
    put(hub, sharded(tmp_path / "x"))
    with prepare("alice/my.convnext") as planned:
        folder = planned.checkpoint.path.parent
    blob = (folder / "model-1.safetensors").resolve()
    content = bytearray(blob.read_bytes())
    content[-1] ^= 1
    blob.write_bytes(content)
    with pytest.raises(VerificationError, match=r"model-1.safetensors is damaged"):
        convert(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_loading_an_unconverted_repository_is_refused(hub, tmp_path):
    folder = repository(tmp_path / "x")
    put(hub, folder)
    for what in ("alice/my.convnext", str(folder)):
        with pytest.raises(ConfigError, match=f"Convert it: detrex-hub convert {what}"):
            load_state_dict(what)


def test_a_folder_below_that_holds_a_checkpoint_is_named(tmp_path):
    repository(tmp_path / "run" / "checkpoint-500")
    with pytest.raises(CheckpointError, match=r"detrex-hub convert .*run/checkpoint-500"):
        prepare(tmp_path / "run")


# --- the Hub -------------------------------------------------------------------------------------


def put(hub, folder, repo="alice/my.convnext"):
    return hub.put(repo, {path.name: path.read_bytes() for path in folder.iterdir()})


@pytest.mark.parametrize("kind", KINDS)
def test_a_repository_on_the_hub_is_converted_and_verified(hub, tmp_path, kind):
    folder = KINDS[kind](tmp_path / "x")
    commit = put(hub, folder).id
    done = convert("alice/my.convnext", tmp_path / "out")
    assert done.sha256 == convert(folder, tmp_path / "of_folder").sha256
    source = json.loads(done.documents["conversion.json"])["source"]
    assert source["url"] == f"hf://alice/my.convnext@{commit}/{source['file']}"
    assert len(source["files"]) == len(list(folder.iterdir())) - 1
    assert all(one["sha256"] for one in [source, *source["files"]])
    assert "base_model: alice/my.convnext" in done.documents["README.md"]
    verified = verify(tmp_path / "out")
    assert verified.repeated
    assert f"its original is {source['url']}, which only the publisher names" in verified.summary


def test_a_revision_is_taken_and_recorded(hub, tmp_path):
    first = put(hub, repository(tmp_path / "x")).id
    changed = repository(tmp_path / "x")
    write_json(changed / "preprocessor_config.json", {"image_mean": [0, 0, 0]})
    put(hub, changed)
    with prepare("alice/my.convnext", ConversionOptions(revision=first)) as planned:
        assert planned.preprocessing["pixel_mean"] == [127.5, 63.75, 31.875]
        assert f"@{first}/" in planned.provenance.url
    with prepare("hf://alice/my.convnext") as planned:
        assert planned.preprocessing["pixel_mean"] == [0.0, 0.0, 0.0]
    assert inspect("alice/my.convnext", revision=first).assumed == {}


def test_a_repository_that_changed_fails_verification(hub, tmp_path):
    put(hub, repository(tmp_path / "x"))
    convert("alice/my.convnext", tmp_path / "out")
    path = tmp_path / "out" / "conversion.json"
    record = json.loads(path.read_text())
    record["source"]["files"][0]["sha256"] = "0" * 64
    write_json(path, record)
    with pytest.raises(DetrexHubError, match=r"source in conversion.json differs"):
        verify(tmp_path / "out")


def test_one_file_of_a_repository_is_not_the_whole_repository(hub, tmp_path):
    put(hub, repository(tmp_path / "x"))
    convert("alice/my.convnext", tmp_path / "out")
    path = tmp_path / "out" / "conversion.json"
    record = json.loads(path.read_text())
    record["source"]["files"] = []
    write_json(path, record)
    found = verify(tmp_path / "out")
    assert not found.repeated
    assert "in no catalogue here" in found.not_repeated


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"config.json": b"{}"}, "has no model.safetensors and no"),
        ({"README.md": b"x"}, "config.json"),
        ({"config.json": b'{"library_name": "detrex"}'}, "is converted already"),
        (
            {"config.json": b"{}", INDEX: b'{"weight_map": {"a": "../x.safetensors"}}'},
            "not in the same folder",
        ),
        ({"config.json": b" " * (2**20 + 1)}, "is larger than 1 MiB"),
        ({"config.json": b"{}", INDEX: b" " * (16 * 2**20 + 1)}, "is larger than 16 MiB"),
    ],
)
def test_a_repository_without_usable_weights_is_refused(hub, files, says):
    hub.put("alice/x", files)
    with pytest.raises(DetrexHubError, match=says) as refused:
        prepare("alice/x")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("kind", ["one file", "shards"])
def test_a_model_of_another_kind_is_refused_before_its_download(hub, tmp_path, kind):
    folder = tmp_path / "x"
    folder.mkdir()
    # the header is larger than the first request
    layers = {f"model.layers.{i}.self_attn.q_proj.weight": torch.zeros(8, 8) for i in range(2000)}
    weights = {"model.embed_tokens.weight": torch.zeros(2**20), **layers}
    names = ["model.safetensors"] if kind == "one file" else ["a.safetensors", "b.safetensors"]
    placed = {key: names[i % len(names)] for i, key in enumerate(weights)}
    for name in names:
        save_file({k: t for k, t in weights.items() if placed[k] == name}, folder / name)
    if kind == "shards":
        write_json(folder / INDEX, {"weight_map": placed})
    write_json(folder / "config.json", {"model_type": "llama"})
    put(hub, folder, "alice/llama")
    with pytest.raises(ArchitectureError, match="alice/llama matches no known architecture"):
        prepare("alice/llama")
    assert all("Range" in request.headers for request in hub.storage.seen("GET"))
    assert not list(tmp_path.glob("hf-home/hub/*/snapshots/*/*.safetensors"))


def test_a_cached_repository_is_converted_offline(hub, tmp_path, monkeypatch):
    from huggingface_hub import constants

    put(hub, sharded(tmp_path / "x"))
    with prepare("alice/my.convnext") as planned:
        expected = planned.provenance
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with hub.quiet(), prepare("alice/my.convnext") as planned:
        assert planned.provenance == expected


def test_a_local_folder_needs_no_network(hub, tmp_path):
    convert(sharded(tmp_path / "x"), tmp_path / "out")
    assert not hub.seen("GET") + hub.seen("HEAD")


@pytest.mark.parametrize(
    ("what", "options", "says"),
    [
        ("r18_v1", {"revision": "main"}, "--revision needs a repository on the Hub"),
        ("x.pth", {"revision": "main"}, "--revision needs a repository on the Hub"),
        ("alice/x", {"source": "y.pth"}, "--source needs a catalogue name"),
        ("alice/x", {"synthetic": True}, "--synthetic needs a catalogue name"),
        ("alice/x.pth", {}, "there is no file alice/x.pth"),
        ("a/b/c", {}, "there is no file a/b/c"),
    ],
)
def test_options_without_meaning_for_a_folder_are_refused(
    tmp_path, monkeypatch, what, options, says
):
    monkeypatch.chdir(tmp_path)
    tiny.original(tmp_path / "x.pth")
    with pytest.raises(UsageError, match=says):
        prepare(what, ConversionOptions(**options))


# --- names of classes ----------------------------------------------------------------------------

LABELS = ["cat", "dog", "traffic light", "dining table", "zebra"]


def labelled(tmp_path, names, *, rows=None, **hyper_parameters):
    """The repository of a DETR with class names in its config."""
    folder = tmp_path / "labelled"
    folder.mkdir()
    made = architecture("detr").from_hyper_parameters(
        {**DETECTOR, "backbone": "resnet", "num_classes": rows or len(names), **hyper_parameters}
    )
    hollow(folder / "model.safetensors", made.original("transformers")[0])
    write_json(folder / "config.json", DETR | {"id2label": dict(enumerate(names))})
    return folder


def test_names_of_classes_are_facts_and_are_noted(tmp_path):
    with prepare(labelled(tmp_path, LABELS)) as planned:
        assert planned.facts["source_classes"] == LABELS
        assert f"the classes are, row by row: {', '.join(LABELS)}" in planned.notes
        assert planned.overrides.lazy["model.num_classes"] == 5


def test_rows_are_found_by_the_names_of_the_source(tmp_path):
    names = ["Dining_Table", "zebra", "horse"]
    options = ConversionOptions(facts={"class_names": names})
    with prepare(labelled(tmp_path, LABELS), options) as planned:
        assert planned.architecture.class_rows.rows == (3, 4, None)
        assert planned.architecture.class_rows.renamed == (("Dining_Table", "dining table"),)


def coco_labels(**changes):
    names = ["N/A"] * 91
    for row, name in zip(coco.CATEGORIES, coco.NAMES, strict=True):
        names[row] = name
    for row, name in changes.items():
        names[int(row[1:])] = name
    return names


@pytest.mark.parametrize(
    ("names", "cut"),
    [
        (coco_labels(), True),
        ([f"LABEL_{row}" for row in range(91)], True),
        # custom classes, as many as COCO has ids
        (coco_labels(_1="crack"), False),
        ([f"part {row}" for row in range(91)], False),
    ],
    ids=["COCO", "no names", "one other", "others"],
)
def test_only_heads_with_cocos_classes_are_cut(tmp_path, names, cut):
    with prepare(labelled(tmp_path, names, num_classes=91)) as planned:
        assert planned.architecture.num_classes == (80 if cut else 91)


def test_names_of_another_head_are_refused(tmp_path):
    with pytest.raises(ArchitectureError, match=r"5 class rows, but its source names 4"):
        prepare(labelled(tmp_path, LABELS[:4], rows=5))


@pytest.mark.parametrize(
    "labels",
    [["x"], {"0": "a", "2": "b"}, {"0": "a", "1": 5}, {"0": "a", "1": ""}, {}, "cat", None],
)
def test_labels_of_a_wrong_kind_are_ignored(tmp_path, labels):
    folder = labelled(tmp_path, LABELS)
    write_json(folder / "config.json", DETR | {"id2label": labels})
    with prepare(folder) as planned:
        assert "source_classes" not in planned.facts


def test_class_names_return_in_an_export(tmp_path):
    made = architecture("detr").from_hyper_parameters(
        {**DETECTOR, "backbone": "resnet", "backbone_depth": 18}
    )
    folder = tmp_path / "labelled"
    folder.mkdir()
    save_file(tensors(made.original("transformers")[0]), folder / "model.safetensors")
    write_json(folder / "config.json", {"model_type": "detr", "id2label": dict(enumerate(LABELS))})
    convert(folder, tmp_path / "out")
    export(tmp_path / "out", tmp_path / "again", layout="transformers")
    document = json.loads((tmp_path / "again" / "config.json").read_text())
    assert list(document["id2label"].values()) == LABELS
