"""The examples in CONTRIBUTING.md work as shown."""

import re
from pathlib import Path

from detrex_hub import catalogue
from detrex_hub.architectures.base import Architecture, Overrides
from detrex_hub.specs import TensorSpec
from tests import reference

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^ *```(\w+)\n(.*?)^ *```$", PAGE, re.MULTILINE | re.DOTALL)


def blocks(language):
    return [block for name, block in BLOCKS if name == language]


def example():
    names = {"__name__": "tiny_net"}
    exec(compile(blocks("python")[0], "CONTRIBUTING.md", "exec"), names)
    return names["TinyNet"]


def test_the_example_catalogue_and_its_lock_are_read(tmp_path):
    tables, lock = blocks("toml")
    path = tmp_path / "my.toml"
    path.write_text(tables)
    assert catalogue.load_entries([path]).keys() - catalogue.load_entries().keys() == {"my_r50"}
    (tmp_path / "my.lock.toml").write_text(lock)
    assert catalogue.find_entry("my_r50", [path]).pinned == ("source",)


def test_the_example_architecture_converts_its_original():
    kind = example()
    assert issubclass(kind, Architecture)
    source = {
        "tiny_conv.weight": TensorSpec("F32", (16, 3, 7, 7)),
        "tiny_conv.bias": TensorSpec("F32", (16,)),
        "tiny_norm.weight": TensorSpec("F32", (16,)),
        "tiny_norm.bias": TensorSpec("F32", (16,)),
        "head.weight": TensorSpec("F32", (10, 16)),
    }
    made = kind.read(source, "original", {"stride": 8})
    plan = made.plan(source, "original")
    assert made == kind(width=16, stride=8)
    assert plan.specs == made.target()
    assert set(plan.dropped) == {"head.weight"}
    assert made.plan(plan.specs, "detrex").specs == made.target()
    assert kind.from_hyper_parameters(made.hyper_parameters()) == made


def test_the_example_architecture_declares_each_path_that_it_sets():
    made = example()(width=16)
    wanted: Overrides = made.overrides(made.preprocessing({}))
    assert made.paths().lazy.keys() >= wanted.lazy.keys() | wanted.lazy_if_present.keys()
    assert made.assuming(wanted, ["stride"]).assumed == ("model.backbone.stride",)


def test_each_field_of_a_reference_table_is_described():
    section = PAGE.partition("## Record a reference table")[2].partition("\n## ")[0]
    described = set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\| .*$", section, re.MULTILINE))))
    for name in reference.names():
        table = reference._read(reference._HERE / "variants" / f"{name}.json.gz")
        assert table.keys() - described <= reference.load(name).about.keys()


def test_each_named_make_target_and_file_exists():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"make ([a-z]+)", PAGE)) <= targets
    paths = re.findall(r"(?:tests|detrex_hub|docs|\.github)/[\w./-]+\w", PAGE)
    assert [path for path in paths if not (ROOT / path).exists()] == []
