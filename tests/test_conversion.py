"""Real files are converted, and compared byte by byte."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from detrex_hub import checkpoints, from_hub, load_state_dict
from detrex_hub.architectures.resnet import ResNet
from detrex_hub.conversion import convert, description, prepare
from detrex_hub.errors import (
    ArchitectureError,
    CheckpointError,
    ConfigError,
    DetrexHubError,
    SourceError,
    UsageError,
    VerificationError,
)
from detrex_hub.originals.conversion_options import ConversionOptions
from detrex_hub.records import RepositoryConfig, load_json
from detrex_hub.specs import TensorSpec
from detrex_hub.verification import verify
from tests import reference
from tests.checkpoint_files import save, save_pickle, tensors

RESNETS = ["resnet18", "resnet50", "resnet101", "resnet152"]
# one of each family, with the most unusual rules
DETECTORS = [
    "anchor_detr_r50_dc5",
    "conditional_detr_r50",
    "dab_deformable_detr_r50",
    "dab_detr_r50_3pat",
    "deformable_detr_r50_two_stage",
    "detr_r50_learned_pos",
    "detr_r50_panoptic",
    "dino_swin_tiny_224_4scale",
    "dn_deformable_detr_r50",
    "dn_detr_r50",
    "h_deformable_detr_r50_two_stage",
    "hf_deformable_detr_r50_refine",
    "hf_detr_r50_no_timm",
]
SIDE_FILES = ["README.md", "config.json", "conversion.json"]


def expected(variant: reference.Variant, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The target state dict as measured on the real models."""

    def part(one: reference.Part) -> torch.Tensor:
        return state[one.key] if one.rows is None else state[one.key][list(one.rows)]

    return {
        target: torch.cat([part(one) for one in parts])
        if len(parts) > 1 or parts[0].rows is not None
        else part(parts[0])
        for target, parts in variant.moves.items()
    }


def restored(folder: Path) -> dict[str, torch.Tensor]:
    """The state dict in a converted folder, with ties restored."""
    config = RepositoryConfig.load(folder / "config.json")
    state = load_file(folder / config.checkpoint.file)
    return state | {alias: state[stored] for alias, stored in config.checkpoint.ties.items()}


def assert_equal(found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> None:
    assert found.keys() == wanted.keys()
    for key, tensor in wanted.items():
        assert found[key].dtype == tensor.dtype, key
        assert torch.equal(found[key], tensor), key


@pytest.mark.parametrize("name", RESNETS + DETECTORS)
def test_every_target_tensor_matches_the_measured_one(name: str, tmp_path: Path) -> None:
    variant = reference.load(name)
    state = tensors(variant.source, variant.tied_sources)
    original = name.startswith(("resnet", "hf_"))
    path = save(tmp_path / "source.pth", state, None if original else "model")
    facts = {"dilation": True} if "dc5" in name else {}
    made = convert(path, tmp_path / "out", facts=facts)
    assert made.path == tmp_path / "out" / "model.safetensors"
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        *SIDE_FILES,
        *(["filters.png"] if name.startswith("resnet") else []),
        made.path.name,
    ]
    assert_equal(restored(tmp_path / "out"), expected(variant, state))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "source.pth"]


@pytest.fixture
def resnet18() -> dict[str, torch.Tensor]:
    return tensors(reference.load("resnet18").source)


@pytest.fixture
def wanted(resnet18: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return expected(reference.load("resnet18"), resnet18)


def test_counters_may_be_absent(
    resnet18: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    old = {key: t for key, t in resnet18.items() if not key.endswith("num_batches_tracked")}
    convert(save(tmp_path / "old.pth", old), tmp_path / "out")
    assert_equal(restored(tmp_path / "out"), wanted)
    dropped = load_json(tmp_path / "out" / "conversion.json")["plan"]["dropped"]
    assert sorted(dropped) == ["fc.bias", "fc.weight"]


@pytest.mark.parametrize("container", [None, "model", "state_dict", "model_state"])
def test_usual_containers_are_opened(
    container: str | None,
    resnet18: dict[str, torch.Tensor],
    wanted: dict[str, torch.Tensor],
    tmp_path: Path,
) -> None:
    convert(save(tmp_path / "r18.pth", resnet18, container), tmp_path / "out")
    assert_equal(restored(tmp_path / "out"), wanted)
    source = load_json(tmp_path / "out" / "conversion.json")["source"]
    assert source["container"] == container
    assert source["file"] == "r18.pth"


def test_a_wrapped_model_gives_the_same_weights_and_is_recorded(
    resnet18: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    torch.save(resnet18, tmp_path / "plain.pth")
    torch.save({f"module.{key}": one for key, one in resnet18.items()}, tmp_path / "wrapped.pth")
    plain = convert(tmp_path / "plain.pth", tmp_path / "plain")
    wrapped = convert(tmp_path / "wrapped.pth", tmp_path / "wrapped")
    assert wrapped.sha256 == plain.sha256
    record = load_json(tmp_path / "wrapped" / "conversion.json")
    assert record["source"]["wrapper"] == "module."
    assert "without `module.`" in (tmp_path / "wrapped" / "README.md").read_text()
    assert verify(tmp_path / "wrapped", source=str(tmp_path / "wrapped.pth")).repeated


def test_every_format_of_a_source_gives_the_same_bytes(
    resnet18: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    sources = [save(tmp_path / "zip.pth", resnet18)]
    sources.append(tmp_path / "legacy.pth")
    torch.save(resnet18, sources[-1], _use_new_zipfile_serialization=False)
    sources.append(save_pickle(tmp_path / "arrays.pkl", resnet18, "torchvision"))
    sources.append(tmp_path / "r18.safetensors")
    save_file(resnet18, sources[-1])
    made = [convert(path, tmp_path / f"out-{path.stem}") for path in sources]
    assert len({one.sha256 for one in made}) == 1
    formats = {one.conversion.checkpoint.format for one in made}
    assert formats == {"torch", "torch-legacy", "pickle", "safetensors"}


def test_a_pickle_equals_the_tutorials_without_unused_keys(
    resnet18: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    path = save(tmp_path / "r18.pth", resnet18)
    convert(path, tmp_path / "r18.pkl")
    with (tmp_path / "r18.pkl").open("rb") as file:
        found = pickle.load(file, encoding="latin1")
    assert found.keys() == {"model", "__author__", "matching_heuristics"}
    assert found["__author__"] == "torchvision"
    assert found["matching_heuristics"] is True
    assert_equal({key: torch.from_numpy(a.copy()) for key, a in found["model"].items()}, wanted)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["r18.pkl", "r18.pth"]


def test_a_pth_is_read_by_torch_without_running_code(
    resnet18: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    made = convert(save(tmp_path / "r18.pth", resnet18), tmp_path / "out", format="pth")
    assert made.path.name == "model.pth"
    found = torch.load(made.path, weights_only=True)
    assert found["matching_heuristics"] is True
    assert_equal(found["model"], wanted)


def test_the_header_has_what_a_load_needs(
    resnet18: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    made = convert(save(tmp_path / "r18.pth", resnet18), tmp_path / "out")
    with safe_open(made.path, "pt") as file:
        assert file.metadata() == {
            "format": "pt",
            "author": "torchvision",
            "matching_heuristics": "true",
        }


def test_the_classifier_is_kept_on_request(tmp_path: Path) -> None:
    variant = reference.load("resnet50_cls")
    state = tensors(variant.source)
    convert(save(tmp_path / "r50.pth", state), tmp_path / "out", facts={"keep_classifier": True})
    found = restored(tmp_path / "out")
    counters = {key for key in found if key.endswith("num_batches_tracked")}
    assert len(counters) == 53
    assert found.keys() == variant.target.keys()
    held = {key: tensor for key, tensor in found.items() if key not in counters}
    assert_equal(held, expected(variant, state))


def test_the_same_input_gives_the_same_bytes(
    resnet18: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    path = save(tmp_path / "r18.pth", resnet18)
    for out in ("one", "two"):
        convert(path, tmp_path / out)
    for file in (tmp_path / "one").iterdir():
        assert file.read_bytes() == (tmp_path / "two" / file.name).read_bytes(), file.name


def test_a_second_run_replaces_the_first(resnet18: dict[str, torch.Tensor], tmp_path: Path) -> None:
    path = save(tmp_path / "r18.pth", resnet18)
    convert(path, tmp_path / "out", format="pth")
    convert(path, tmp_path / "out")
    assert "model.pth" not in {p.name for p in (tmp_path / "out").iterdir()}


def test_a_folder_with_other_content_is_not_touched(
    resnet18: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    path = save(tmp_path / "r18.pth", resnet18)
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.tex").write_text("...")
    with pytest.raises(UsageError, match="not a converted folder"):
        convert(path, tmp_path / "thesis")
    assert [p.name for p in (tmp_path / "thesis").iterdir()] == ["chapter1.tex"]


@pytest.mark.parametrize("more", [False, True], ids=["same names", "more files"])
def test_an_original_is_not_replaced_by_its_conversion(
    resnet18: dict[str, torch.Tensor],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    more: bool,
) -> None:
    # file names that a conversion writes too
    folder = tmp_path / "own"
    folder.mkdir()
    save_file(resnet18, folder / "model.safetensors")
    (folder / "config.json").write_text("{}")
    if more:
        (folder / "optimizer.pt").write_text("...")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="not a converted folder"):
        convert("own", "own")
    made = convert("own")
    assert made.folder == Path("own_detrex")
    # a second time, over the first result
    assert convert("own").sha256 == made.sha256
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_wrong_write_is_found_and_removed(
    resnet18: dict[str, torch.Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(tmp_path / "r18.pth", resnet18)
    real = checkpoints.write

    def flips_a_bit(target: Path, *args: object, **options: object) -> str:
        digest = real(target, *args, **options)
        data = bytearray(target.read_bytes())
        data[-5] ^= 1
        target.write_bytes(data)
        return digest

    monkeypatch.setattr(checkpoints, "write", flips_a_bit)
    with pytest.raises(VerificationError, match="differs from the source"):
        convert(path, tmp_path / "out")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["r18.pth"]


def test_tied_tensors_that_differ_are_refused(tmp_path: Path) -> None:
    variant = reference.load("deformable_detr_r50")
    state = tensors(variant.source)
    path = save(tmp_path / "untied.pth", state, "model")
    with pytest.raises(VerificationError, match="differ in"):
        convert(path, tmp_path / "out")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["untied.pth"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("layer1.1.conv2.weight"), "missing: res2.1.conv2.weight"),
        (lambda s: s.update({"layer1.0.extra": torch.ones(1)}), "no rule for layer1.0.extra"),
        (lambda s: s.update({"conv1.weight": torch.ones(64, 3, 3, 3)}), "stem.conv1.weight is F32"),
        (lambda s: s.pop("layer4.1.conv1.weight"), r"no ResNet has basic blocks \[2, 2, 2, 1\]"),
    ],
)
def test_a_wrong_state_dict_is_refused_before_anything_is_written(
    change: object, message: str, resnet18: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    change(resnet18)  # type: ignore[operator]
    path = save(tmp_path / "r18.pth", resnet18)
    with pytest.raises(DetrexHubError, match=message) as caught:
        prepare(path)
    assert "\n" not in str(caught.value)


def test_a_truncated_file_is_one_clear_line(
    resnet18: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    path = save(tmp_path / "r18.pth", resnet18)
    path.write_bytes(path.read_bytes()[:-100_000])
    with pytest.raises(CheckpointError, match=r"r18\.pth") as caught:
        convert(path, tmp_path / "out")
    assert "\n" not in str(caught.value)


def test_a_file_of_another_depth_than_the_catalogues_is_refused(
    resnet18: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    path = save(tmp_path / "resnet18-any.pth", resnet18)
    with pytest.raises(ArchitectureError, match="depth 18 instead of 101"):
        prepare("r101_v2", ConversionOptions(source=str(path)))


def test_an_unknown_name_suggests_others() -> None:
    with pytest.raises(UsageError, match="r101_v2"):
        prepare("r101_v3")


def test_a_missing_file_is_named() -> None:
    with pytest.raises(UsageError, match=r"no file nowhere\.pth"):
        prepare("nowhere.pth")


def test_options_of_another_architecture_are_refused(
    resnet18: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    path = save(tmp_path / "r18.pth", resnet18)
    with pytest.raises(UsageError, match="does not take dilation"):
        prepare(path, ConversionOptions(facts={"dilation": True}))


def test_synthetic_weights_have_the_originals_tensors_and_a_warning(tmp_path: Path) -> None:
    convert("r18_v1", tmp_path / "one", synthetic=True)
    convert("r18_v1", tmp_path / "two", synthetic=True)
    config = RepositoryConfig.load(tmp_path / "one" / "config.json")
    assert config.synthetic
    assert "synthetic" in (tmp_path / "one" / "README.md").read_text().lower()
    found = restored(tmp_path / "one")
    target = reference.load("resnet18").target
    assert {k: TensorSpec("F32", tuple(t.shape)) for k, t in found.items()} == target
    assert all(torch.isfinite(tensor).all() for tensor in found.values())
    assert (found["stem.conv1.norm.running_var"] > 0).all()
    one, two = ((tmp_path / n / "model.safetensors").read_bytes() for n in ("one", "two"))
    assert one == two


def test_an_unavailable_source_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SourceError) as caught:
        prepare("r18_v1", ConversionOptions(source="http://127.0.0.1:9/resnet18.pth"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("facts", "author"),
    [({}, "torchvision"), ({"image_format": "BGR"}, "third_party")],
)
def test_the_author_of_a_single_file_implies_no_other_images(
    resnet18: dict[str, torch.Tensor], tmp_path: Path, facts: dict[str, str], author: str
) -> None:
    path = save(tmp_path / "r18.pth", resnet18)
    made = convert(path, tmp_path / "r18.pkl", facts=facts).path
    assert pickle.loads(made.read_bytes())["__author__"] == author


def test_assumed_facts_are_in_record_config_and_card(
    resnet18: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    done = convert(save(tmp_path / "mine.pth", resnet18), tmp_path / "mine")
    assumed = load_json(tmp_path / "mine/conversion.json")["assumed"]
    assert assumed.keys() == {"image_format", "pixel_mean", "pixel_std"}
    paths = load_json(tmp_path / "mine/config.json")["overrides"]["assumed"]
    assert {"model.pixel_mean", "MODEL.PIXEL_STD", "INPUT.FORMAT"} <= set(paths)
    assert "model.backbone.stages.depth" not in paths
    card = (tmp_path / "mine/README.md").read_text()
    assert "Assumed, because the original file does not show it" in card
    assert done.conversion.assumption is not None
    assert "--fact image_format=RGB" in done.conversion.assumption
    assert verify(tmp_path / "mine").checks


def test_given_facts_are_not_assumed(resnet18: dict[str, torch.Tensor], tmp_path: Path) -> None:
    facts = {"image_format": "bgr", "pixel_mean": "1,2,3", "pixel_std": [1, 1, 1]}
    done = convert(save(tmp_path / "mine.pth", resnet18), tmp_path / "mine", facts=facts)
    assert done.conversion.assumption is None
    record = load_json(tmp_path / "mine/conversion.json")
    assert record["assumed"] == {}
    assert record["facts"] == facts | {"image_format": "BGR", "pixel_mean": [1, 2, 3]}
    assert "assumed" not in (tmp_path / "mine/README.md").read_text().lower()
    verify(tmp_path / "mine")


def test_catalogue_facts_apply_only_to_the_catalogues_files(
    resnet18: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    with prepare("r18_v1", ConversionOptions(synthetic=True)) as planned:
        assert planned.assumed == {}
    other = convert("r18_v1", tmp_path / "o", source=str(save(tmp_path / "o.pth", resnet18)))
    assert other.conversion.assumed.keys() == {"image_format", "pixel_mean", "pixel_std"}


@pytest.mark.parametrize(
    ("assumed", "paths"),
    [
        ({}, []),
        ({}, None),
        (None, []),
        ({"image_format": "BGR"}, None),
        ({"keep_classifier": False}, None),
    ],
    ids=["both", "record", "config", "value", "more"],
)
def test_records_that_hide_or_change_an_assumption_are_refused(
    resnet18: dict[str, torch.Tensor],
    tmp_path: Path,
    assumed: dict[str, object] | None,
    paths: list[str] | None,
) -> None:
    folder = tmp_path / "mine"
    convert(save(tmp_path / "mine.pth", resnet18), folder)
    config, record = (load_json(folder / name) for name in ("config.json", "conversion.json"))
    if assumed is not None:
        record["assumed"] = record["assumed"] | assumed if assumed else {}
    if paths is not None:
        config["overrides"]["assumed"] = paths
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "conversion.json").write_text(json.dumps(record))
    with pytest.raises(VerificationError):
        verify(folder)


@pytest.mark.parametrize("variance", [1.0, 1 - 1e-5])
@pytest.mark.parametrize("layout", ["torchvision", "detrex"])
def test_weights_from_caffe_are_refused_until_every_fact_is_given(
    variance: float, layout: str, tmp_path: Path
) -> None:
    variant = reference.load("resnet50")
    state = tensors(variant.source if layout == "torchvision" else variant.target)
    for key, tensor in state.items():
        if key.endswith("running_mean"):
            tensor.zero_()
        if key.endswith("running_var"):
            tensor.fill_(variance)
    path = save(tmp_path / "caffe.pth", state)
    with pytest.raises(ArchitectureError, match=r"comes from Caffe.*--fact image_format=BGR") as no:
        convert(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    said = dict(one.split("=") for one in str(no.value).split() if "=" in one)
    assert said.keys() == {"image_format", "pixel_mean", "pixel_std", "stride_in_1x1"}
    for name in said:
        with pytest.raises(ArchitectureError, match=name):
            convert(path, tmp_path / "out", facts={k: v for k, v in said.items() if k != name})
    done = convert(path, tmp_path / "out", facts=said)
    assert done.conversion.overrides.lazy["model.backbone.stages.stride_in_1x1"] is True


def test_a_network_that_was_never_trained_does_not_come_from_caffe(tmp_path: Path) -> None:
    state = tensors(reference.load("resnet18").source)
    for key, tensor in state.items():
        if "running_mean" in key:
            tensor.zero_()
        if "running_var" in key or key.endswith(("bn1.weight", "bn2.weight", "sample.1.weight")):
            tensor.fill_(0 if key == "layer1.0.bn2.weight" else 1)
    convert(save(tmp_path / "new.pth", state), tmp_path / "new")


@pytest.mark.parametrize("format", ["safetensors", "pth", "pkl"])
def test_load_accepts_a_folder_of_any_format(format: str, tmp_path: Path) -> None:
    variant = reference.load("dino_swin_tiny_224_4scale")
    path = save(tmp_path / "dino.pth", tensors(variant.source, variant.tied_sources), "model")
    folder = convert(path, tmp_path / "dino", format=format).folder
    assert folder is not None
    assert load_state_dict(folder).keys() == torch.load(from_hub(folder))["model"].keys()


def test_an_architecture_that_sets_an_undeclared_path_is_refused(
    resnet18: dict[str, torch.Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ResNet, "lazy_paths", {})
    with pytest.raises(ConfigError, match=r"architecture resnet .*backbone"):
        convert(save(tmp_path / "r18.pth", resnet18), tmp_path / "r18")
    assert not (tmp_path / "r18").exists()


def test_a_folder_that_load_refuses_gets_no_final_name(
    resnet18: dict[str, torch.Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(tmp_path / "r18.pth", resnet18)
    # a value that another version of this package may refuse
    monkeypatch.setattr(description, "author_of", lambda layout: "x" * 5000)
    with pytest.raises(ConfigError, match=r"checkpoint\.author"):
        convert(path, tmp_path / "r18")
    assert not (tmp_path / "r18").exists()
