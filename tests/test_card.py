"""Model cards show the data of records and catalogue, and no injected markup."""

import ast
import json
import os
import re
import subprocess
import sys

import pytest
import yaml
from huggingface_hub import ModelCard
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import UndefinedError
from markdown_it import MarkdownIt
from msgspec import structs
from msgspec.structs import replace

from detrex_hub import card, catalogue
from detrex_hub.architectures import architecture
from detrex_hub.card import markdown
from detrex_hub.catalogue import CatalogueEntry
from detrex_hub.catalogue.entry import Metric, Source
from detrex_hub.errors import ConfigError, UsageError
from detrex_hub.mapping import Drop, Rename, fold, plan
from detrex_hub.records import (
    CONFIG,
    CONVERSION,
    ConversionRecord,
    RepositoryConfig,
    StoredCheckpoint,
    plan_to_json,
    to_json,
)
from detrex_hub.specs import TensorSpec
from detrex_hub.strict_json import dump_json
from tests import reference
from tests.hub_server.cards import problems

MARKDOWN = MarkdownIt("commonmark", {"html": True}).enable("table").enable("strikethrough")
SHA256 = "0123456789abcdef" * 4


def entry(**changes):
    values = {
        "name": "r18",
        "family": "resnet",
        "architecture": "resnet",
        "title": "ResNet-18",
        "sources": (
            Source(layout="torchvision", url="https://example.org/resnet18.pth", file="r18.pth"),
            Source(
                layout="timm", url="hf://timm/resnet18/model.safetensors", file="model.safetensors"
            ),
        ),
        "summary": "Eighteen layers.",
        "license": "bsd-3-clause",
        "authors": ("Kaiming He", "Xiangyu Zhang"),
        "homepage": "https://github.com/pytorch/vision",
        "paper": "https://arxiv.org/abs/1512.03385",
        "citation": "@article{he,\n  title = {Deep Residual Learning}\n}",
        "base_config": "projects/dino/configs/dino-resnet/dino_r50_4scale_12ep.py",
        "datasets": ("imagenet-1k",),
        "metrics": (
            metric("acc@1", 69.758),
            metric("acc@5", 89.1),
        ),
        "hyper_parameters": {"depth": 18},
    }
    return CatalogueEntry(**values | changes)


def metric(name, value, **changes):
    values = {
        "task": "image-classification",
        "dataset": "ImageNet-1k",
        "name": name,
        "value": value,
        "unit": "%",
        "source": "https://example.org/table",
    }
    return Metric(**values | changes)


@pytest.mark.parametrize(
    ("url", "sha256", "claimed"),
    [
        (None, SHA256, True),
        (None, "f" * 64, False),
        ("https://example.org/else.pth", "f" * 64, False),
        # the twin is another file with the same weights
        ("hf://timm/resnet18@0123456789/model.safetensors", "f" * 64, True),
        (None, None, True),
    ],
)
def test_another_file_claims_no_published_accuracy(url, sha256, claimed):
    known = entry()
    first = replace(known.sources[0], sha256_prefix=SHA256[:8])
    known = replace(known, sources=(first, *known.sources[1:]))
    assert known.denies(url, sha256) is not claimed
    config, record = records()
    record["source"] |= {"url": url, "sha256": sha256}
    rendered = render(config, record, known)
    assert ("69.758" in rendered) is claimed
    assert ("Not the published file" in rendered) is not claimed
    assert not entry().denies(url, sha256)


def render(config, record, entry=None, **options):
    """The card of a config and the document of its record."""
    record = ConversionRecord.from_json(record, where=CONVERSION)
    return card.render(config, record, entry, **options)


def records(made=None, specs=None, layout=None, facts=None, **changes):
    """`config.json` and `conversion.json` of a conversion."""
    made = made or architecture("resnet").from_hyper_parameters({"depth": 18})
    layout = layout or next(iter(made.layouts))
    specs = specs or made.original()[0]
    planned = made.plan(specs, layout)
    preprocessing = made.preprocessing(facts or {})
    config = RepositoryConfig(
        architecture=made.name,
        hyper_parameters=made.hyper_parameters(),
        preprocessing=preprocessing,
        overrides=made.overrides(preprocessing),
        base_config="projects/dino/configs/dino-resnet/dino_r50_4scale_12ep.py",
        checkpoint=StoredCheckpoint(
            file="model.safetensors",
            sha256=SHA256,
            author="torchvision",
            matching_heuristics=made.backbone,
            ties=planned.ties,
            set_by_model=changes.pop(
                "set_by_model", tuple(made.set_by_model() - planned.specs.keys())
            ),
        ),
    )
    record = {
        "format_version": 1,
        "architecture": made.name,
        "recognised_by": [],
        "synthetic": False,
        "name": "r18",
        "tool": {"name": "detrex-hub", "version": "1.2.3"},
        "source": {
            "url": "https://example.org/resnet18.pth",
            "file": "resnet18.pth",
            "size": 46830571,
            "sha256": SHA256[::-1],
            "pinned_by": "the sha256 in the catalogue",
            "container": "state_dict",
            "layout": layout,
        },
        "facts": facts or {},
        "plan": plan_to_json(planned, specs),
        "result": {
            "file": "model.safetensors",
            "sha256": SHA256,
            "size": 44671234,
            "tensors": len(planned.moves),
            "parameters": 11_186_112,
        },
        "proof": {
            "tensors_compared": len(planned.moves),
            "bytes_compared": 44668928,
            "tensors_that_differ": 0,
            "missing": 0,
            "unexpected": 0,
            "mismatched": 0,
        },
        "notes": list(made.notes()),
    }
    return structs.replace(config, **changes), record


def detector(name, **facts):
    """The records of a detector with a reference table."""
    kind = architecture(name.split("_r")[0])
    specs = reference.load(name).source
    layout = next(iter(kind.layouts))
    return records(kind.read(specs, layout, facts), specs, layout, facts)


def parts(text):
    """Metadata and body of a card."""
    _, head, body = re.split(r"^---\n", text, maxsplit=2, flags=re.MULTILINE)
    return yaml.safe_load(head), body


def rows(text):
    """All table rows of a card as lists of cells."""
    return [
        [cell.strip() for cell in line[1:-1].split("|")]
        for line in text.splitlines()
        if line.startswith("|")
    ]


# -- metadata ------------------------------------------------------------------------------------


def test_metadata_is_complete_and_what_the_hub_accepts():
    text = render(*records(), entry())
    assert problems(text) == ([], [])
    metadata, _ = parts(text)
    assert metadata["library_name"] == "detrex"
    assert metadata["pipeline_tag"] == "image-feature-extraction"
    assert metadata["license"] == "bsd-3-clause"
    assert metadata["tags"] == ["detrex", "detectron2", "resnet"]
    assert metadata["datasets"] == ["imagenet-1k"]
    results = ModelCard(text).data.eval_results
    assert [(one.metric_type, one.metric_name, one.metric_value) for one in results] == [
        ("accuracy", "acc@1", 69.758),
        ("top_5_accuracy", "acc@5", 89.1),
    ]
    assert {one.dataset_type for one in results} == {"imagenet-1k"}
    assert {one.task_type for one in results} == {"image-classification"}
    assert {one.source_url for one in results} == {"https://example.org/table"}


def test_an_unlisted_licence_has_a_name_and_a_link():
    own = entry(
        license="other",
        license_name="The Lab's Licence 1.0",
        license_link="https://example.org/licence",
    )
    text = render(*records(), own)
    assert problems(text) == ([], [])
    metadata, body = parts(text)
    assert metadata["license"] == "other"
    assert metadata["license_name"] == "the-lab-s-licence-1.0"
    assert metadata["license_link"] == "https://example.org/licence"
    assert "[The Lab's Licence 1.0](https://example.org/licence)" in body


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://example.org/resnet18.pth", "timm/resnet18"),
        ("hf://SenseTime/deformable-detr@main/model.safetensors", "SenseTime/deformable-detr"),
        ("https://example.org/another.pth", None),
        ("file:///resnet18.pth", None),
        (None, None),
    ],
)
def test_a_base_model_is_named_only_where_the_original_is_on_the_hub(url, expected):
    config, record = records()
    record["source"]["url"] = url
    metadata, _ = parts(render(config, record, entry()))
    assert metadata.get("base_model") == expected
    assert metadata.get("base_model_relation") == (expected and "quantized")


def test_the_card_of_a_users_checkpoint_claims_nothing():
    text = render(*records(base_config=None))
    assert problems(text) == ([], [])
    metadata, body = parts(text)
    assert not {"license", "datasets", "model-index", "base_model"} & metadata.keys()
    assert "No licence is stated" in body
    assert "Accuracy" not in body


def test_figures_of_several_pages_and_datasets_are_separate():
    metrics = (
        metric("box AP", 42.0, task="object-detection", dataset="COCO val2017"),
        metric("box AP", 43.25, task="object-detection", dataset="Objects365"),
    )
    text = render(*records(), entry(metrics=metrics, datasets=("detection-datasets/coco",)))
    index = parts(text)[0]["model-index"][0]
    assert [result["dataset"]["type"] for result in index["results"]] == [
        "detection-datasets/coco",
        "objects365",
    ]
    assert ["COCO val2017", "box AP", "42.00 %"] in rows(text)


# -- the body ------------------------------------------------------------------------------------


def test_the_first_screen_has_a_snippet_that_python_accepts():
    _, body = parts(render(*records(), entry()))
    first_screen = body.split("\n## ")[0]
    snippet = re.search(r"```python\n(.*?)```", first_screen, re.DOTALL)[1]
    imported = {
        (node.level, node.module): [name.name for name in node.names]
        for node in ast.walk(ast.parse(snippet))
        if isinstance(node, ast.ImportFrom)
    }
    assert imported[0, "detrex_hub"] == ["from_hub"]
    assert "model" in imported[1, "dino_r50_4scale_12ep"]
    assert 'from_hub("detrex/r18", model=model, dataloader=dataloader)' in snippet
    assert (
        "https://github.com/IDEA-Research/detrex/blob/main/"
        "projects/dino/configs/dino-resnet/dino_r50_4scale_12ep.py" in first_screen
    )


def test_overrides_are_listed_in_both_config_languages():
    config, record = records()
    table = rows(render(config, record, entry()))
    for path, value in config.overrides.lazy.items():
        assert [f"`{path}`", f"`{value!r}`", ""] in table
    for path, value in config.overrides.lazy_if_present.items():
        assert [f"`{path}`", f"`{value!r}`", "if the config has it"] in table
    assert ["`model.backbone.stages.stride_in_1x1`", "", "must not be there"] in table
    for key, value in config.overrides.yacs.items():
        assert [f"`{key}`", f"`{value!r}`"] in table


def test_provenance_and_proof_match_the_record():
    config, record = records()
    record["proof"] |= {"missing": 3, "unexpected": 4, "mismatched": 5, "tensors_that_differ": 6}
    text = render(config, record, entry())
    flat = " ".join(text.split())
    for said in (
        "[`resnet18.pth`](https://example.org/resnet18.pth), 46,830,571 bytes",
        "compared with the sha256 in the catalogue",
        SHA256,
        SHA256[::-1],
        "detrex-hub 1.2.3, mapper resnet (torchvision)",
        "`torchvision`, under `state_dict`",
        "`model.safetensors`, 44,671,234 bytes",
        "11.2 M in 100 tensors of float32",
        "100 tensors, 44,668,928 bytes, 6 tensors differ",
        "3 missing, 4 unexpected, 5 mismatched",
        "huggingface.co/timm/resnet18/blob/main/model.safetensors",
        "`detrex-hub verify detrex/r18`",
    ):
        assert said in flat


def test_moves_and_drops_are_folded_and_counted():
    table = rows(render(*records(), entry()))
    assert [
        "`layer{1..4}.{0..1}.bn{1..2}.*`",
        "`res{2..5}.{0..1}.conv{1..2}.norm.*`",
        "64",
        "",
    ] in table
    assert ["`fc.*`", "2", "ImageNet classifier"] in table
    moved = sum(int(row[2]) for row in table if len(row) == 4 and row[2].isdigit())
    assert moved == 100


def test_constants_of_a_detector_are_not_listed_as_layers_to_train():
    text = card.render_for(catalogue.find_entry("detr_r50"))
    assert "not in the checkpoint: `criterion.empty_weight`\n" in text
    assert "Initialised by the model" not in text


def test_a_card_lists_shared_tensors_and_keys_that_no_checkpoint_holds():
    config, record = records(set_by_model=("criterion.empty_weight", "norm0.bias", "norm0.weight"))
    record["plan"]["ties"] = {"decoder.class_embed.1.bias": "class_embed.1.bias"}
    text = render(config, record, entry())
    initialised = text.partition("### Initialised by the model")[2]
    assert "nothing else: `criterion.empty_weight`, `norm0.*`\n" in initialised
    assert text.count("`norm0.*`") == 1
    assert ["`decoder.class_embed.1.bias`", "`class_embed.1.bias`", "1"] in rows(text)


def test_a_card_lists_rows_and_parts_of_tensors():
    config, record = records()
    record["plan"] |= {
        "source_tensors": {"head": ["F32", [91, 4]], "q": ["F16", [4]], "k": ["F16", [4]]},
        "moves": {
            "class_embed": [{"key": "head", "rows": [[1, 12], [13, 14]]}],
            "in_proj": ["q", "k"],
            "fresh": [{"fresh": 3, "mean": 0.0, "std": 0.01, "seed": 7, "distribution": "normal"}],
        },
    }
    text = render(config, record, entry())
    table = rows(text)
    assert ["`head`", "`class_embed`", "1", "rows 1..11, 13 of 91"] in table
    assert ["`q` + `k`", "`in_proj`", "1", ""] in table
    assert ["new", "`fresh`", "1", "3 fresh rows, seed 7"] in table
    assert "of float16 and float32" in text


def test_a_card_lists_the_facts_that_shapes_do_not_show():
    config, record = records()
    record["facts"] = {"dilation": True, "image_format": "RGB"}
    text = render(config, record, entry())
    assert ["Not shown by shapes", "`dilation = True`"] in rows(text)


@pytest.mark.parametrize(
    ("name", "task"),
    [
        ("dino_r50_4scale_12ep", "object-detection"),
        ("maskdino_r50_coco_instance_seg_50ep", "image-segmentation"),
    ],
)
def test_a_card_has_the_hubs_task(name, task):
    metadata, _ = parts(card.render_for(catalogue.find_entry(name)))
    assert metadata["pipeline_tag"] == task


def test_a_tracker_has_a_tag():
    # the Hub has no tracking task
    metadata, _ = parts(card.render_for(catalogue.find_entry("co_mot_dancetrack")))
    assert metadata["pipeline_tag"] == "object-detection"
    assert "object-tracking" in metadata["tags"]


def test_a_detector_shows_how_to_evaluate_it():
    config, record = detector("deformable_detr_r50_two_stage")
    text = render(
        structs.replace(config, base_config="projects/deformable_detr/configs/two_stage.py"),
        record,
    )
    metadata, body = parts(text)
    assert metadata["pipeline_tag"] == "object-detection"
    command = re.search(r"```bash\n(.*?)```", body, re.DOTALL)[1].replace("\\\n", "").split()
    assert command[:2] == ["python", "tools/train_net.py"]
    assert "--eval-only" in command
    own = "projects/deformable_detr/configs/my_r18.py"
    assert command[command.index("--config-file") + 1] == own
    assert f"# {own}\n" in body
    assert "from .two_stage import" in body
    assert "padding masks" in body


@pytest.mark.parametrize(
    ("variant", "small_eps", "top_k"),
    [
        ("detr_r50", False, False),
        ("conditional_detr_r50", True, False),
        ("deformable_detr_r50", True, False),
        ("deformable_detr_r50_two_stage", True, True),
        ("h_deformable_detr_r50_two_stage", True, True),
        ("dino_r50_4scale", False, True),
    ],
)
def test_differences_beyond_the_mapping_come_from_the_architecture(variant, small_eps, top_k):
    text = render(*detector(variant))
    assert ("1.2e-3" in text) == small_eps
    assert ("top-k" in text) == top_k
    assert "by 0.08 measured in DETR, by 0.48 in" in text


def test_a_swap_of_norms_is_not_folded_away():
    table = rows(render(*detector("deformable_detr_r50")))
    layers = "transformer.decoder.layers.{0..5}"
    for source, target in (("norm1", "norms.1"), ("norm2", "norms.0"), ("norm3", "norms.2")):
        assert [f"`{layers}.{source}.*`", f"`{layers}.{target}.*`", "12", ""] in table


def test_a_backbone_shows_no_evaluation():
    text = render(*records(), entry())
    assert "--eval-only" not in text
    assert "padding masks" not in text


def test_synthetic_weights_have_a_warning_and_claim_nothing():
    text = render(*records(synthetic=True), entry())
    assert problems(text) == ([], [])
    metadata, body = parts(text)
    assert body.lstrip().startswith("> ⚠️ **SYNTHETIC")
    assert "# ResNet-18 (SYNTHETIC)\n" in body
    assert "synthetic" in metadata["tags"]
    assert not {"model-index", "datasets", "base_model"} & metadata.keys()
    assert "none: seeded random numbers" in body
    assert "says nothing about the numbers in this repository" in body


def test_real_weights_are_not_called_synthetic():
    assert "synthetic" not in render(*records(), entry()).lower()


def test_a_non_commercial_licence_is_named_before_the_snippet():
    text = render(*records(), entry(license="cc-by-nc-4.0", non_commercial=True))
    before, _, _ = text.partition("```python")
    assert "**Not for commercial use**" in before
    assert "cc-by-nc-4.0" in before
    assert "commercial" not in render(*records(), entry())


def test_licence_authors_paper_and_citation_of_the_original_are_named():
    _, body = parts(render(*records(), entry()))
    assert "Licence of the original weights: bsd-3-clause" in body
    assert "Authors: Kaiming He, Xiangyu Zhang" in body
    assert "[arxiv.org/abs/1512.03385](https://arxiv.org/abs/1512.03385)" in body
    assert "```bibtex\n@article{he,\n  title = {Deep Residual Learning}\n}\n```" in body


# -- before a conversion -------------------------------------------------------------------------


def test_the_card_of_an_entry_shows_what_is_known_without_weights():
    text = card.render_for(entry())
    assert problems(text) == ([], [])
    assert "11.2 M in 100 tensors of float32" in text
    assert ["`model.backbone.stages.depth`", "`18`", ""] in rows(text)
    assert ["`fc.*`", "2", "ImageNet classifier"] in rows(text)
    assert "to `conversion.json`" in " ".join(text.split())
    assert "tensors differ" not in text
    assert "Converted by" not in text


def test_an_entry_without_hyper_parameters_has_a_card_too():
    text = card.render_for(entry(hyper_parameters={}))
    assert problems(text) == ([], [])
    assert "from_hub(" in text
    assert "follow from the shapes in the checkpoint" in text
    assert "What moved" not in text


def test_sources_link_to_pages_that_a_reader_can_open():
    sources = (
        Source(layout="torchvision", url="gdrive://1nDWZWHuRwtwGden77NLM9JoWe", file="r50.pth"),
        Source(layout="torchvision", url="gdrive-folder://1pIllR0VfSIqX8TmQy", file="r50.pth"),
        Source(layout="timm", url="hf://timm/a@v1.0/b/c.bin", file="c.bin"),
    )
    text = card.render_for(entry(sources=sources))
    for link in (
        "[`r50.pth`](https://drive.google.com/file/d/1nDWZWHuRwtwGden77NLM9JoWe/view)",
        "[a folder of Google Drive](https://drive.google.com/drive/folders/1pIllR0VfSIqX8TmQy)",
        "[`timm/a/b/c.bin`](https://huggingface.co/timm/a/blob/v1.0/b/c.bin)",
    ):
        assert link in text


# -- the repository ------------------------------------------------------------------------------


def test_a_card_is_addressed_to_the_repository_that_it_is_pushed_to():
    config, record = records()
    text = render(config, record, entry())
    again = card.addressed(text, "r18", "alice/my.r18")
    assert again == render(config, record, entry(), repo_id="alice/my.r18")
    assert "detrex/r18" not in again
    assert 'from_hub("alice/my.r18"' in again
    assert "detrex-hub verify alice/my.r18" in again


def test_addressing_keeps_other_repository_names():
    written = "detrex/r18_v2 detrex/r18.v2 IDEA-Research/detrex/r18 detrex/r18/x, (detrex/r18)."
    assert card.addressed(written, "r18", "bob/r18") == written.replace("(detrex/r18)", "(bob/r18)")


def test_a_plain_name_becomes_a_repository_name():
    config, record = records()
    record["name"] = 'my "best" model (1)\n'
    text = render(config, record)
    assert 'from_hub("detrex/my-best-model-1", model' in text
    assert "alice/x" in card.addressed(text, record["name"], "alice/x")


@pytest.mark.parametrize("repo_id", ["x", "a/b/c", 'a/"b', "a/b\n", "../b", "a/", "a/<b>"])
def test_a_repository_must_be_owner_and_name(repo_id):
    config, record = records()
    with pytest.raises(UsageError, match="is not the name of a repository"):
        render(config, record, repo_id=repo_id)
    with pytest.raises(UsageError, match="is not the name of a repository"):
        card.addressed("", "r18", repo_id)


# -- untrusted text ------------------------------------------------------------------------------

HOSTILE = (
    "`x` ``y`` ```z```",
    "a|b\\|c",
    "a\n\n# b\r\n---\nlicense: mit\n---\n",
    "\u2028# c\x85# d\x0b# e",
    "<script>alert(1)</script>",
    "</code></details><img src=x onerror=alert(1)>",
    "[x](javascript:alert(1))",
    "![x](https://evil.example/x.png)",
    "<https://evil.example>",
    "[x]: https://evil.example",
    "{{ 7 * 7 }} {% for x in y %} {# z #}",
    "**b** __c__ ~~d~~ _e_ $$f$$ \\(g\\)",
    "---",
    "- - -",
    "===",
    "1. x",
    "    indented",
    "&lt;b&gt; &#60;",
    "\u202etxt.exe\u200b\x00\x1b[31m\ud800",
    "*/ --> <!-- ]]> '''",
    '"; import os  # ',
    "../../etc/passwd",
    "x" * 4000,
)


def structure(text):
    """The structure of a card: its blocks with their levels, and the kinds of inline elements."""
    blocks, inline = [], set()
    for token in MARKDOWN.parse(parts(text)[1]):
        if token.type == "inline":
            for child in token.children:
                inline.add((child.type, child.content if "html" in child.type else ""))
                if child.type == "link_open":
                    assert re.match(r"https://|#what-it-sets$", child.attrs["href"])
        else:
            html = token.content if "html" in token.type else ""
            blocks.append((token.type, token.tag, html))
    return blocks, inline


def poisoned(text):
    """Records and entry with an untrusted string in every field that takes one."""
    drop, rename = Drop("dropped", "because " + text), Rename("{i}.x", "{i}.y")
    specs = {"dropped": TensorSpec("F32", (1,)), "0.x": TensorSpec("F32", (1,))}
    planned = plan((drop, rename), specs, mapper="mapper")
    config, record = records(set_by_model=(text,), base_config=f"projects/{text}.py")
    config = structs.replace(
        config,
        preprocessing={"image_format": text, "pixel_mean": [text], "pixel_std": text},
        overrides=structs.replace(
            config.overrides,
            lazy={text: text},
            lazy_if_present={"p" + text: text},
            lazy_remove=("r" + text,),
            yacs={text: text},
        ),
    )
    record["name"] = text
    record["tool"] = {"name": text, "version": text}
    record["source"] |= {"url": None, "file": text, "pinned_by": text}
    record["source"] |= {"container": text, "layout": text}
    record["facts"] = {text: text}
    record["plan"] = plan_to_json(planned, specs) | {
        "mapper": text,
        "moves": {f"t{text}": [f"s{text}"]},
        "dropped": {text: text},
        "ties": {text: text},
    }
    record["notes"] = [text]
    own = entry(
        title=text,
        summary=text,
        license="other",
        license_name=text,
        license_link=f"https://example.org/{text}",
        non_commercial=True,
        authors=(text,),
        homepage=f"javascript:{text}",
        paper=text,
        datasets=(text,),
        metrics=(metric(text, 1.0, dataset=text, task=text, unit=text, source=text),),
        sources=(Source(layout=text, url=f"https://example.org/{text}", file=text),),
    )
    return config, record, own


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: repr(text)[:24])
@pytest.mark.parametrize("synthetic", [False, True])
def test_untrusted_text_never_becomes_markup(text, synthetic):
    config, record, own = poisoned(text)
    rendered = render(structs.replace(config, synthetic=synthetic), record, own)
    assert problems(rendered) == ([], [])
    config, record, own = poisoned("harmless")
    harmless = render(structs.replace(config, synthetic=synthetic), record, own)
    blocks, inline = structure(rendered)
    expected_blocks, expected_inline = structure(harmless)
    assert blocks == expected_blocks
    own_code = {("html_inline", "<code>"), ("html_inline", "</code>"), ("code_inline", "")}
    assert inline <= expected_inline | own_code | {("text_special", "")}
    assert parts(rendered)[0].keys() <= parts(harmless)[0].keys()
    rendered.encode()
    assert len(rendered) < 60_000


@pytest.mark.parametrize("text", ["a ``` b", "```\n# out\n~~~", "\x1b[2J\ud800", "x" * 100_000])
def test_a_citation_stays_in_its_block(text):
    rendered = render(*records(), entry(citation=text))
    harmless = render(*records(), entry(citation="x"))
    assert structure(rendered) == structure(harmless)
    rendered.encode()


TEXTS = st.text(st.one_of(st.sampled_from("`|\\<>[]()*_~#&$!:;-+=1.w/ \n"), st.characters()))


@given(TEXTS)
def test_prose_reads_as_it_was_written(text):
    (paragraph,) = MARKDOWN.parseInline(f"x{markdown.prose(text)}")
    assert {child.type for child in paragraph.children} <= {"text", "text_special"}
    assert "".join(child.content for child in paragraph.children) == "x" + markdown.clean(text)


@given(TEXTS)
def test_prose_is_a_paragraph_at_every_place(text):
    shown = markdown.prose(text)
    kinds = [token.type for token in MARKDOWN.parse(shown)]
    assert kinds in ([], ["paragraph_open", "inline", "paragraph_close"])


@given(TEXTS)
def test_code_reads_as_it_was_written(text):
    cell = f"| a |\n|---|\n| {markdown.code(text)} |"
    tokens = [token for token in MARKDOWN.parse(cell) if token.type == "inline"]
    assert len(tokens) == 2
    shown = "".join(child.content for child in tokens[1].children if "html" not in child.type)
    assert shown == (markdown.clean(text) or "''")


@given(TEXTS)
def test_a_link_has_its_written_target_or_none(url):
    (paragraph,) = MARKDOWN.parseInline(str(markdown.link(f"https://e.example/{url}", "x")))
    links = [child.attrs["href"] for child in paragraph.children if child.type == "link_open"]
    assert all(link.startswith("https://e.example/") for link in links)
    assert {child.type for child in paragraph.children} <= {"text", "link_open", "link_close"}


@pytest.mark.parametrize(
    "url", ["javascript:alert(1)", "https://user:secret@example.org/x", "data:text/html,x", "//x"]
)
def test_only_web_pages_are_linked(url):
    assert "](" not in markdown.link(url, "label")


PRINTING = markdown.escaping_template("a {{ x }} b {% for y in [x] %}{{ y }}{% endfor %}")


@given(TEXTS)
def test_every_card_value_is_escaped_once(text):
    escaped = markdown.prose(text)
    for value in (text, escaped):
        assert markdown.md("a {x} b {x}", x=value) == f"a {escaped} b {escaped}"
        assert markdown.joined(" + ", [value, value]) == f"{escaped} + {escaped}"
        assert PRINTING.render(x=value) == f"a {escaped} b {escaped}"


def test_a_template_prints_nothing_unescaped():
    shown = markdown.escaping_template("{{ a }} {{ a ~ a }} {{ a | upper }}").render(a="<b>")
    assert shown == r"\<b\> \<b\>\<b\> \<B\>"


def test_a_template_refuses_a_name_that_it_is_not_given():
    with pytest.raises(UndefinedError, match="title"):
        markdown.escaping_template("# {{ title }}").render(name="x")


def test_only_markdown_values_are_printed_as_markup():
    value = "<b> **x** | ``y``"
    made = markdown.md("**{a}** {b}", a=value, b=markdown.code("c"))
    assert made == r"**\<b\> \*\*x\*\* \| \`\`y\`\`** `c`"
    # a value that is no longer known to be Markdown is a plain string
    assert markdown.md("{a}", a=str(made)) != made


@pytest.mark.parametrize("text", ["{y}", "{0}", "{x}", "{{y}}", "{x.y}", "{x!r}", "%s", "$y"])
def test_braces_in_a_value_are_text(text):
    escaped = markdown.prose(text)
    assert markdown.md("{x}-{y}", x=text, y="z") == f"{escaped}-z"
    assert markdown.md("{x}", x=markdown.md("{y}", y=text), y="z") == escaped


@pytest.mark.parametrize("literal", ["{x.y}", "{x!r}", "{x:>9}", "{x[0]}", "{}", "{{}}", "{ x }"])
def test_a_literal_takes_names_and_no_format_specs(literal):
    assert markdown.md(literal, x="<b>") == literal


def test_a_missing_value_is_an_error():
    with pytest.raises(KeyError, match="title"):
        markdown.md("# {title}", name="x")


def test_a_card_shows_some_of_thousands_of_patterns():
    config, record = records()
    letters = [f"{a}{b}{c}" for a in "abcdefghij" for b in "abcdefghij" for c in "abcdefghij"]
    record["plan"]["moves"] = {f"{word}.t": [f"{word}.s"] for word in letters}
    record["plan"]["dropped"] = {f"{word}.d": "reason" for word in letters}
    text = render(config, record, entry())
    assert len(text) < 30_000
    assert "and 920 more" in text


def test_a_card_shows_some_of_thousands_of_reasons_and_pieces():
    config, record = records()
    record["plan"]["dropped"] = {f"k{i}": f"reason {i}" for i in range(10_000)}
    record["plan"]["moves"] = {"t": [f"s{i}" for i in range(10_000)]}
    text = render(config, record, entry())
    assert len(text) < 30_000
    assert "10,000 of the original were dropped" in text
    assert "9984 more" in text


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("name",), 7),
        (("source",), []),
        (("source", "file"), None),
        (("plan", "moves"), []),
        (("plan", "moves"), {"a": "b"}),
        (("plan", "moves"), {"a": [7]}),
        (("plan", "moves"), {"a": [{"key": "b", "rows": [1]}]}),
        (("plan", "source_tensors"), {"a": 1}),
        (("proof", "missing"), "none"),
        (("notes",), "a"),
        (("facts",), None),
    ],
    ids=str,
)
def test_a_malformed_record_is_refused(path, value):
    config, record = records()
    *parents, leaf = path
    inner = record
    for name in parents:
        inner = inner[name]
    inner[leaf] = value
    with pytest.raises(ConfigError, match=r"conversion\.json"):
        render(config, record, entry())


# -- the same bytes ------------------------------------------------------------------------------


def test_records_read_back_give_the_same_card(tmp_path):
    own = entry(facts={"note": (1, 2)})
    config, record = records(facts={"num_heads": 8})
    text = render(config, record, own)
    (tmp_path / CONFIG).write_text(dump_json(to_json(config)))
    (tmp_path / CONVERSION).write_text(dump_json(record))
    assert card.render_folder(tmp_path, {"r18": own}) == text


def test_the_order_of_a_record_does_not_change_the_card():
    config, record = records()
    backwards = json.loads(
        json.dumps(record), object_pairs_hook=lambda pairs: dict(reversed(pairs))
    )
    assert render(config, backwards, entry()) == render(config, record, entry())


def test_a_folder_with_an_entrys_name_is_not_the_entry(tmp_path):
    config, record = records()
    (tmp_path / CONFIG).write_text(dump_json(to_json(config)))
    (tmp_path / CONVERSION).write_text(dump_json(record))
    other = entry(hyper_parameters={"depth": 34})
    assert "model-index" not in parts(card.render_folder(tmp_path, {"r18": other}))[0]


@pytest.mark.parametrize(("seed", "locale"), [("1", "C"), ("2", "tr_TR.UTF-8")])
def test_the_bytes_do_not_depend_on_hash_seed_or_locale(seed, locale):
    script = (
        "import sys; from detrex_hub import card, catalogue; "
        "sys.stdout.buffer.write(card.render_for(catalogue.find_entry('r50_v1')).encode())"
    )
    env = os.environ | {"PYTHONHASHSEED": seed, "LC_ALL": locale, "TZ": "Asia/Tokyo"}
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, env=env)
    assert done.stdout == card.render_for(catalogue.find_entry("r50_v1")).encode()


# -- folding -------------------------------------------------------------------------------------


def test_consecutive_numbers_are_folded():
    pairs = [
        fold.Pair((f"layer{i}.{j}.conv.weight",), f"res{i + 1}.{j}.conv.weight")
        for i in (1, 2, 4)
        for j in (0, 1)
    ]
    assert fold.fold(pairs) == [
        fold.Pattern(("layer{1..2,4}.{0..1}.conv.weight",), "res{2..3,5}.{0..1}.conv.weight", "", 6)
    ]


def test_exchanged_numbers_are_not_folded_together():
    pairs = [
        fold.Pair((f"{layer}.norm{i}.{end}",), f"{layer}.norms.{j}.{end}")
        for layer in range(3)
        for i, j in ((1, 1), (2, 0))
        for end in ("weight", "bias")
    ]
    assert fold.fold(pairs) == [
        fold.Pattern(("{0..2}.norm2.*",), "{0..2}.norms.0.*", "", 6),
        fold.Pattern(("{0..2}.norm1.*",), "{0..2}.norms.1.*", "", 6),
    ]


def test_a_star_stands_only_for_the_parameters_of_a_module():
    keys = [
        f"blocks.{i}.attn.{name}"
        for i in range(3)
        for name in ("rel_pos_h", "rel_pos_w", "proj.weight", "proj.bias")
    ]
    assert [one.target for one in fold.fold_keys(keys)] == [
        "blocks.{0..2}.attn.proj.*",
        "blocks.{0..2}.attn.{rel_pos_h,rel_pos_w}",
    ]


def test_one_tensor_under_several_names_is_one_pattern():
    pairs = [fold.Pair(("head.bias",), f"heads.{i}.bias") for i in range(6)]
    assert fold.fold(pairs) == [fold.Pattern(("head.bias",), "heads.{0..5}.bias", "", 6)]


SEGMENTS = st.sampled_from(["a", "b1", "c2d", "0", "1", "02", "13", "weight", "bias", "٣", ""])
KEYS = st.lists(SEGMENTS, min_size=1, max_size=4).map(".".join)


@given(st.dictionaries(KEYS, st.tuples(st.lists(KEYS, max_size=2).map(tuple), st.just(""))))
def test_folding_loses_no_pair(moves):
    pairs = [fold.Pair(sources, target, note) for target, (sources, note) in moves.items()]
    patterns = fold.fold(pairs)
    assert sum(pattern.tensors for pattern in patterns) == len(pairs)
    for pair in pairs:
        assert any(
            len(pair.sources) == len(pattern.sources)
            and all(
                expression(shown).fullmatch(key)
                for shown, key in zip(
                    (*pattern.sources, pattern.target), (*pair.sources, pair.target), strict=True
                )
            )
            for pattern in patterns
        )


def expression(shown):
    """A folded key as a regular expression."""
    found = re.escape(shown).replace(r"\*", "[^.]*")
    return re.compile(
        re.sub(r"\\\{(.*?)\\\}", lambda match: f"(?:{numbers(match[1])})", found, flags=re.DOTALL)
    )


def numbers(runs):
    """The content of braces: runs of numbers, or last segments that have no star."""
    found = []
    for run in runs.replace("\\", "").split(","):
        first, dots, last = run.partition("..")
        found += map(str, range(int(first), int(last) + 1)) if dots else [first]
    return "|".join(found)


# -- files ---------------------------------------------------------------------------------------


def test_model_cards_are_written_once_and_stale_ones_removed(tmp_path, monkeypatch):
    entries = {name: entry(name=name) for name in ("one", "two")}
    monkeypatch.setattr(catalogue, "load_entries", lambda: entries)
    (tmp_path / "NOTES.md").write_text("# Notes of mine\n")
    one, two, notes = (tmp_path / name for name in ("one.md", "two.md", "NOTES.md"))
    assert card.write_model_cards(tmp_path) == [one, two]
    assert one.read_text() == card.render_for(entries["one"])
    assert card.write_model_cards(tmp_path) == []
    del entries["two"]
    one.write_text("changed")
    assert card.write_model_cards(tmp_path) == [two, one]
    assert sorted(tmp_path.iterdir()) == [notes, one]


def test_importing_cards_imports_little():
    script = "import sys, detrex_hub.card; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    )
    assert not set(done.stdout.split()) & {"torch", "numpy", "huggingface_hub", "yaml"}


@pytest.mark.parametrize(
    ("name", "built"), [("x50_32x4d_v1", True), ("r50d_timm", True), ("r50_v1", False)]
)
def test_the_snippet_builds_a_backbone_that_no_config_has(name, built):
    # make_default_stages cannot build a ResNeXt, and a config of a plain ResNet is refused
    assert ("build=True)" in card.render_for(catalogue.find_entry(name))) == built
