"""The output of a training run is pushed with a card from its config and its metrics."""

import json
import shlex
import sys
import types
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard
from omegaconf import OmegaConf

from detrex_hub.architectures import architecture
from detrex_hub.configs.lazy import load_config
from detrex_hub.conversion import prepare
from detrex_hub.errors import ArchitectureError, ConfigError, DetrexHubError
from detrex_hub.publishing import training_run
from detrex_hub.repositories import fetch
from detrex_hub.repositories.names import is_repo_id
from tests import training_outputs
from tests.checkpoint_files import tensors
from tests.cli.test_commands import one_line
from tests.hub_server import contents
from tests.training_outputs import HYPER_PARAMETERS, LAST, checkpoint, config, metrics

H_DEFORMABLE = {
    "backbone": "resnet",
    "backbone_depth": 18,
    "num_queries": 18,
    "num_queries_one2one": 3,
    "num_classes": 3,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "embed_dim": 32,
    "feedforward_dim": 8,
    "neck_inputs": 3,
    "feature_levels": 4,
    "with_box_refine": False,
    "as_two_stage": False,
}


def prepared(checkpoint, config):
    """The prepared weights of a run with only a checkpoint and a config."""
    return training_run.prepared(checkpoint, training_run.TrainingRun(config=Path(config)))


@pytest.fixture
def run(tmp_path, monkeypatch):
    """The output folder of a training."""
    monkeypatch.chdir(tmp_path)
    state = checkpoint(Path("model_final.pth"))
    OmegaConf.save(config(), "my_detr.yaml")
    (tmp_path / "metrics.json").write_text(metrics((9_999, 11.0), (LAST + 1, 41.25)))
    return state


ARGUMENTS = ("push", "model_final.pth", "--config", "my_detr.yaml", "--metrics", "metrics.json")


@pytest.fixture
def here(cli, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return cli


def test_a_training_run_becomes_a_repository(here, hub, login, run, tmp_path):
    login("alice")
    done = here(*ARGUMENTS, "--license", "apache-2.0", "--json")
    assert done.code == 0, done.err
    assert done.document["repo_id"] == "alice/my_detr"
    fetched = fetch("alice/my_detr", ["README.md", "config.json"]).files
    card = fetched["README.md"].read_text()
    data = ModelCard(card).data
    assert data.license == "apache-2.0"
    assert {(one.metric_name, one.metric_value) for one in data.eval_results} == {
        ("box AP", 41.25),
        ("box AP50", 42.25),
    }
    assert "COCO val2017" in card and "for 90000 iterations" in card
    assert "Published for the original" not in card and "original weights" not in card

    overrides = json.loads(fetched["config.json"].read_text())["overrides"]["lazy"]
    assert overrides["model.pixel_mean"] == [1.0, 2.0, 3.0]
    assert overrides["dataloader.test.mapper.img_format"] == "BGR"
    assert overrides["model.position_embedding.temperature"] == 20
    assert overrides["model.num_classes"] == 3

    again = here(*ARGUMENTS, "--license", "apache-2.0")
    assert "unchanged" in again.out
    assert len(hub.commits("alice/my_detr")) == 1
    assert here("verify", "alice/my_detr").code == 0


def test_a_run_without_a_licence_goes_only_into_a_folder(here, login, tmp_path):
    done = here(*ARGUMENTS[:4], "ours/detr", "--to", "hub")
    assert done.code == 0, done.err
    folder = tmp_path / "hub/ours/detr"
    assert "model-index" not in contents(folder)["README.md"].decode()
    login("alice")
    assert "--license" in one_line(here(*ARGUMENTS))


def test_averaged_weights_get_their_own_figures(here, tmp_path):
    # detrex overwrites the figures of the plain weights with those of the averaged ones
    OmegaConf.save(config(train__model_ema__enabled=True), "my_detr.yaml")
    assert "--ema" in one_line(here(*ARGUMENTS, "--to", "hub"), 2)
    done = here(*ARGUMENTS, "--to", "hub", "--ema")
    assert done.code == 0, done.err
    assert "averaged weights" in contents(tmp_path / "hub/detrex/my_detr")["README.md"].decode()
    OmegaConf.save(config(), "my_detr.yaml")
    assert "Leave --ema out" in one_line(here(*ARGUMENTS, "--to", "hub", "--ema"), 2)


def test_figures_of_other_weights_are_refused(here, tmp_path):
    (tmp_path / "metrics.json").write_text(metrics((9_999, 11.0), (19_999, 12.0)))
    line = one_line(here(*ARGUMENTS, "--to", "hub"))
    assert "saved at iteration 89999" in line and "9999, 19999" in line
    assert not (tmp_path / "hub").exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (metrics(), "no evaluation"),
        ("{}\n[]\n", "line 2 of metrics.json"),
        ("nonsense", "line 1 of metrics.json"),
        ("[" * 100_000, "line 1 of metrics.json"),
    ],
)
def test_malformed_metrics_are_refused(here, tmp_path, text, said):
    (tmp_path / "metrics.json").write_text(text)
    assert said in one_line(here(*ARGUMENTS, "--to", "hub"))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("model__num_queries", 300),
        ("model__backbone__stages__depth", 50),
        ("model__num_classes", 80),
        ("model__transformer__decoder__num_layers", 6),
    ],
)
def test_the_config_of_other_weights_is_refused(run, path, value):
    OmegaConf.save(config(**{path: value}), "other.yaml")
    with (
        pytest.raises(ConfigError, match=str(value)),
        prepared("model_final.pth", "other.yaml"),
    ):
        pass


def test_the_refusal_of_another_model_class_names_both_classes(run):
    for target in (
        "projects.conditional_detr.modeling.ConditionalDETR",
        "projects.group_detr.modeling.GroupDETR",
    ):
        OmegaConf.save(config(model___target_=target), "other.yaml")
        with (
            pytest.raises(DetrexHubError) as caught,
            prepared("model_final.pth", "other.yaml"),
        ):
            pass
        assert "detr" in f"{caught.value} {caught.value.hint}"
        assert target.rpartition(".")[2].removesuffix("DETR").lower() in str(caught.value).lower()


def test_the_class_of_the_model_decides_if_keys_are_ambiguous(run, tmp_path):
    made = architecture("h_deformable_detr").from_hyper_parameters(H_DEFORMABLE)
    torch.save({"model": tensors(made.target(), made.ties())}, "h.pth")
    with pytest.raises(ArchitectureError, match="deformable_detr and of h_deformable_detr"):
        prepare("h.pth")
    cfg = OmegaConf.create()
    for path, value in made.overrides(made.preprocessing({})).lazy.items():
        if path.startswith("model."):
            OmegaConf.update(cfg, path, value)
    cfg.model._target_ = "projects.h_deformable_detr.modeling.HDeformableDETR"
    OmegaConf.save(cfg, "h.yaml")
    with prepared("h.pth", "h.yaml") as planned:
        assert planned.architecture.name == "h_deformable_detr"
        assert planned.architecture.num_queries_one2one == 3
    cfg.model._target_ = "projects.deformable_detr.modeling.DeformableDETR"
    OmegaConf.save(cfg, "plain.yaml")
    with prepared("h.pth", "plain.yaml") as planned:
        assert planned.architecture.name == "deformable_detr"


def test_the_config_states_what_shapes_cannot_show(run):
    with prepared("model_final.pth", "my_detr.yaml") as planned:
        assert planned.name == "my_detr"
        assert planned.architecture.num_heads == 4
        assert planned.preprocessing["image_format"] == "BGR"
    with prepare("model_final.pth") as unaware:
        assert unaware.preprocessing["image_format"] == "RGB"


def test_wrong_calls_are_refused(here, tmp_path, monkeypatch):
    line = one_line(here("push", "model_final.pth"), 2)
    assert "--config" in line and line.endswith(": detrex-hub convert model_final.pth")
    OmegaConf.save(config(), "config.yaml")
    line = one_line(here("push", "model_final.pth", "--config", "config.yaml"), 2)
    name = tmp_path.name if is_repo_id(f"alice/{tmp_path.name}") else "my_model"
    assert line.endswith(f"detrex-hub push model_final.pth {name} --config config.yaml")
    command = shlex.split(line.partition("detrex-hub ")[2])
    assert here(*command, "--to", "hub").code == 0
    (tmp_path / "folder").mkdir()
    assert "need a checkpoint" in one_line(here("push", "folder", "--ema"), 2)
    monkeypatch.setattr(training_run, "has_detectron2", lambda: False)
    (tmp_path / "my.py").write_text("raise SystemExit('run')")
    line = one_line(here("push", "model_final.pth", "--config", "my.py"), 2)
    assert "config.yaml" in line and "detectron2" in line


# objects as LazyConfig.save writes them, and as an attacker could write them
OBJECTS = """
optimizer:
  params:
    lr_factor_func: !!python/name:detectron2._cfg_loader044b.my_detr.py.%3Clambda%3E ''
    kind: !!python/name:json.JSONDecoder ''
    made: !!python/object/apply:os.system ["touch canary"]
    new: !!python/object/new:pathlib.Path ["x"]
    module: !!python/module:antigravity
shapes:
  res5: !!python/object:detectron2.layers.shape_spec.ShapeSpec {channels: 512, stride: null}
"""


def test_a_config_that_training_wrote_is_read_and_not_run(run, tmp_path):
    with (tmp_path / "my_detr.yaml").open("a") as file:
        file.write(OBJECTS)
    cfg = load_config("my_detr.yaml")
    assert cfg.optimizer.params.kind is json.JSONDecoder
    assert [cfg.optimizer.params[name] for name in ("lr_factor_func", "made", "new")] == [None] * 3
    assert cfg.shapes.res5 == {
        "_target_": "detectron2.layers.ShapeSpec",
        "channels": 512,
        "stride": None,
    }
    assert not (tmp_path / "canary").exists()
    assert "antigravity" not in sys.modules
    with prepared("model_final.pth", "my_detr.yaml") as planned:
        assert planned.architecture.num_heads == 4


def test_a_malformed_config_is_refused(here, tmp_path):
    for text, said in (
        ("model: [", "cannot be loaded"),
        ("[1, 2]", "is not a config"),
        ("", "is not a config"),
    ):
        (tmp_path / "my_detr.yaml").write_text(text)
        assert said in one_line(here(*ARGUMENTS, "--to", "hub"))


@pytest.mark.parametrize(
    ("name", "target", "more"),
    [
        ("dino", "projects.dino.modeling.dino.DINO", {}),
        ("align_detr", "projects.align_detr.modeling.aligndetr.AlignDETR", {}),
        ("dab_detr", "projects.dab_detr.modeling.dab_detr.DABDETR", {}),
        (
            "sqr_detr",
            "projects.dab_detr.modeling.dab_detr.DABDETR",
            {"model.transformer.decoder._target_": "a.DabDetrTransformerDecoder_qr"},
        ),
    ],
)
def test_the_card_names_both_architectures_unless_the_class_decides(run, name, target, more):
    levels = {"neck_inputs": 3, "feature_levels": 4} if name in ("dino", "align_detr") else {}
    queries = {"num_queries": 900 if levels else 300, "embed_dim": 32}
    made = architecture(name).from_hyper_parameters({**HYPER_PARAMETERS, **queries, **levels})
    torch.save({"model": tensors(made.target(), made.ties())}, "model.pth")
    cfg = OmegaConf.create()
    lazy = made.overrides(made.preprocessing({})).lazy
    for path, value in {**lazy, **more, "model._target_": target}.items():
        if path.startswith("model."):
            OmegaConf.update(cfg, path, value)
    OmegaConf.save(cfg, "trained.yaml")
    with prepared("model.pth", "trained.yaml") as planned:
        assert planned.architecture.name == name
        assert not [note for note in planned.notes if "may be " in note]
    with prepare("model.pth") as planned:
        assert planned.architecture.name in ("dino", "dab_detr")
        (note,) = [note for note in planned.notes if "may be " in note]
        assert "--arch" in note
    del cfg.model._target_
    OmegaConf.save(cfg, "built_by_a_function.yaml")
    with prepared("model.pth", "built_by_a_function.yaml") as planned:
        assert [note for note in planned.notes if "may be " in note]


@pytest.fixture
def output(here, tmp_path):
    """The output folder of a training, as detrex writes it."""
    training_outputs.output(tmp_path / "output")
    return tmp_path / "output"


def test_the_output_folder_of_a_training_is_pushed(here, output, tmp_path):
    done = here("push", "output", "ours/detr", "--to", "hub", "--json")
    assert done.code == 0, done.err
    card = contents(tmp_path / "hub/ours/detr")["README.md"].decode()
    assert "41.25" in card and "for 90000 iterations" in card
    assert not any("accuracy" in note for note in done.document["notes"])


@pytest.mark.parametrize("change", ["other figures", "averaged figures", "no file"])
def test_figures_of_other_weights_beside_a_checkpoint_are_left_out(here, output, tmp_path, change):
    if change == "other figures":
        (output / "metrics.json").write_text(metrics((9_999, 11.0)))
    elif change == "averaged figures":
        OmegaConf.save(config(train__model_ema__enabled=True), output / "config.yaml")
    else:
        (output / "metrics.json").unlink()
    done = here("push", "output", "ours/detr", "--to", "hub", "--json")
    assert done.code == 0, done.err
    assert "model-index" not in contents(tmp_path / "hub/ours/detr")["README.md"].decode()
    said = any("states no accuracy" in note for note in done.document["notes"])
    assert said == (change != "no file")


def test_an_incomplete_output_folder_is_refused(here, output, tmp_path):
    line = one_line(here("push", "output"), 2)
    named = "detrex-hub push output/model_final.pth output --config output/config.yaml"
    assert line.endswith(named)
    line = one_line(here("push", "output", "ours/detr", "--metrics", "gone.json", "--to", "hub"))
    assert "gone.json" in line
    (output / "config.yaml").unlink()
    assert "not known how" in one_line(here("push", "output", "ours/detr"), 2)
    (output / "last_checkpoint").unlink()
    OmegaConf.save(config(), output / "config.yaml")
    assert "several checkpoints" in one_line(here("push", "output", "ours/detr"))


def test_class_names_come_from_the_registered_dataset(run, tmp_path, monkeypatch):
    catalogue = {
        "my_train": types.SimpleNamespace(thing_classes=["cat", "dog", "owl"]),
        "coco_2017_val": types.SimpleNamespace(thing_classes=["person"] * 80),
    }
    monkeypatch.setattr(training_run, "has_detectron2", lambda: True)
    data = types.SimpleNamespace(MetadataCatalog=catalogue)
    monkeypatch.setitem(sys.modules, "detectron2.data", data)

    def names_of(**changes):
        OmegaConf.save(config(**changes), "my_detr.yaml")
        with prepared("model_final.pth", "my_detr.yaml") as planned:
            return planned.facts.get("source_classes")

    assert names_of(dataloader__train__dataset__names="my_train") == ["cat", "dog", "owl"]
    # names that do not match the number of classes belong to another dataset
    assert names_of() is None
