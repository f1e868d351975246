"""The check that the Hub runs on a card's metadata, as far as it is documented.

https://huggingface.co/docs/hub/model-cards, and modelcard.md in the huggingface_hub repository.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

# https://huggingface.co/docs/hub/repositories-licenses
_LICENSES = """
apache-2.0 mit openrail bigscience-openrail-m creativeml-openrail-m bigscience-bloom-rail-1.0
bigcode-openrail-m afl-3.0 artistic-2.0 bsl-1.0 bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear
c-uda cc cc0-1.0 cc-by-2.0 cc-by-2.5 cc-by-3.0 cc-by-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc-by-nc-2.0
cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nd-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0
cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cdla-sharing-1.0 cdla-permissive-1.0 cdla-permissive-2.0 wtfpl
ecl-2.0 epl-1.0 epl-2.0 etalab-2.0 eupl-1.1 eupl-1.2 agpl-3.0 gfdl gpl gpl-2.0 gpl-3.0 lgpl
lgpl-2.1 lgpl-3.0 isc lppl-1.3c ms-pl apple-ascl mpl-2.0 odc-by odbl openrail++ osl-3.0
postgresql ofl-1.1 ncsa unlicense zlib pddl lgpl-lr deepfloyd-if-license llama2 llama3 llama3.1
llama3.2 llama3.3 gemma unknown other
"""
LICENSES = frozenset(_LICENSES.split())

_FRONT_MATTER = re.compile(r"^(\s*---(?:\r\n|\r|\n))([\S\s]*?)((?:\r\n|\r|\n)---[ \t]*(\r\n|\n|$))")
_RELATIONS = ("finetune", "quantized", "adapter", "merge")
_STRINGS = ("pipeline_tag", "library_name", "license_name", "license_link", "inference")
_LISTS = ("tags", "datasets", "metrics", "language", "base_model", "license")


def problems(content: str) -> tuple[list[str], list[str]]:
    """Errors and warnings about the card of a model."""
    matter = _FRONT_MATTER.match(content)
    if matter is None:
        return [], ["empty or missing yaml metadata in repo card"]
    try:
        data = yaml.safe_load(matter[2])
    except yaml.YAMLError as error:
        return [f"Invalid YAML: {error}"], []
    if not isinstance(data, dict):
        return ["Metadata must be a mapping"], []
    return [*_errors(data)], []


def _errors(data: dict[str, Any]) -> Any:
    for name in _STRINGS:
        if name in data and not isinstance(data[name], str | bool):
            yield f'"{name}" must be a string'
    for name in _LISTS:
        values = data.get(name, [])
        values = values if isinstance(values, list) else [values]
        if not all(isinstance(value, str) and value for value in values):
            yield f'"{name}" must be a string or an array of strings'
    if "tags" in data and not isinstance(data["tags"], list):
        yield '"tags" must be an array'
    licenses = data.get("license", [])
    for license in [licenses] if isinstance(licenses, str) else licenses:
        if license not in LICENSES:
            yield f'"license" must be one of [{", ".join(sorted(LICENSES))}]'
    if "license_name" in data and data.get("license") != "other":
        yield '"license_name" is only allowed with license: other'
    if "license_name" in data and not re.fullmatch(r"[a-z0-9-.]+", str(data["license_name"])):
        yield '"license_name" fails to match the required pattern: /^[a-z0-9-.]+$/'
    if data.get("base_model_relation", "finetune") not in _RELATIONS:
        yield f'"base_model_relation" must be one of [{", ".join(_RELATIONS)}]'
    if "model-index" in data:
        yield from _index_errors(data["model-index"])


def _index_errors(index: Any) -> Any:
    if not isinstance(index, list):
        yield '"model-index" must be an array'
        return
    for i, model in enumerate(index):
        at = f"model-index[{i}]"
        if not isinstance(model, dict) or not isinstance(model.get("name"), str):
            yield f'"{at}.name" is required'
            continue
        if not isinstance(model.get("results"), list):
            yield f'"{at}.results" must be an array'
            continue
        for j, result in enumerate(model["results"]):
            yield from _result_errors(f"{at}.results[{j}]", result)


def _result_errors(at: str, result: Any) -> Any:
    if not isinstance(result, dict):
        yield f'"{at}" must be of type object'
        return
    if not isinstance(result.get("task"), dict) or not isinstance(result["task"].get("type"), str):
        yield f'"{at}.task.type" is required'
    dataset = result.get("dataset")
    for name in ("type", "name"):
        if not isinstance(dataset, dict) or not isinstance(dataset.get(name), str):
            yield f'"{at}.dataset.{name}" is required'
    metrics = result.get("metrics")
    if not isinstance(metrics, list) or not metrics:
        yield f'"{at}.metrics" is required'
        return
    for k, metric in enumerate(metrics):
        if not isinstance(metric, dict) or not isinstance(metric.get("type"), str):
            yield f'"{at}.metrics[{k}].type" is required'
        elif metric.get("value") is None:
            yield f'"{at}.metrics[{k}].value" is required'
    source = result.get("source")
    if source is not None and not (
        isinstance(source, dict)
        and isinstance(source.get("url"), str)
        and source["url"].startswith(("https://", "http://"))
    ):
        yield f'"{at}.source.url" must be a valid uri'
