"""Exported folders in transformers give the same outputs as detrex's modules."""

from __future__ import annotations

import importlib
import importlib.util

import pytest
import torch

from detrex_hub.architectures import architecture
from detrex_hub.conversion import convert
from detrex_hub.exporting import export
from detrex_hub.loading import load_state_dict
from detrex_hub.records import RepositoryConfig
from tests import torchvision_operators
from tests.numerics import conditional_detr, dab_detr, deformable_detr, detr
from tests.numerics.originals import Original
from tests.numerics.test_numerics import randomised

torchvision_operators.declare()
torch.set_num_threads(1)
pytestmark = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("transformers", "timm")),
    reason="needs transformers and timm",
)

SMALL = {
    "detr": detr.HYPER_PARAMETERS,
    "conditional_detr": conditional_detr.HYPER_PARAMETERS,
    "deformable_detr": deformable_detr.HYPER_PARAMETERS,
    "deformable_detr_single_scale": {
        **deformable_detr.HYPER_PARAMETERS,
        "neck_inputs": 1,
        "feature_levels": 1,
    },
    "deformable_detr_two_stage": {
        **deformable_detr.HYPER_PARAMETERS,
        "embed_dim": 256,
        "num_queries": 20,
        "with_box_refine": True,
        "as_two_stage": True,
    },
    "dab_detr": {**dab_detr.HYPER_PARAMETERS, "num_patterns": 2},
    "dn_detr": dab_detr.HYPER_PARAMETERS,
    "detr_dc5": {**detr.HYPER_PARAMETERS, **detr.DC5},
}
FACTS = {
    "detr_dc5": {"dilation": True},
    "deformable_detr_two_stage": {"num_queries": 20},
}
# detrex limits the inverse sigmoid of its boxes more, and the config has no field for it
LOOSE = {"dab_detr": 2e-3, "dn_detr": 2e-3}


@pytest.fixture(params=[*SMALL, "detr_no_timm", "deformable_detr_no_timm"])
def opened(request, tmp_path):
    """An architecture, a converted folder, and the transformers model of its export."""
    from transformers import AutoModelForObjectDetection

    name = request.param.removesuffix("_no_timm")
    kind = name[: name.index("detr") + len("detr")]
    model = Original(kind, **SMALL[name])
    model.load_state_dict(randomised(model), strict=False)
    model.save_pretrained(tmp_path)
    facts = FACTS.get(name, {})
    folder = convert(tmp_path / "model.safetensors", tmp_path / "detrex", facts=facts).folder
    layout = "transformers_no_timm" if request.param != name else "transformers"
    done = export(folder, tmp_path / "out", layout=layout)
    model, told = AutoModelForObjectDetection.from_pretrained(
        done.path, output_loading_info=True, dtype=torch.float64
    )
    return kind, name, folder, model.eval(), told


def test_the_folder_opens_and_computes_what_detrex_does(opened):
    from detrex_hub.numerics import in_transformers

    kind, name, folder, model, told = opened
    assert not any(told[what] for what in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    config = RepositoryConfig.load(folder / "config.json")
    made = architecture(kind).from_hyper_parameters(config.hyper_parameters)
    module = importlib.import_module(f"detrex_hub.numerics.{kind}")
    size = module.image_size(made)
    image = torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(3)).double()
    weights = {k: v.double() for k, v in load_state_dict(folder).items()}
    with torch.inference_mode(), in_transformers.in_float64():
        ours = module.converted(made, config.overrides.lazy, weights, image)
        theirs = model(pixel_values=image)
    for found, name_of_ours in ((theirs.logits, "logits"), (theirs.pred_boxes, "boxes")):
        wanted = ours[name_of_ours]
        # detectors with deformable attention return the outputs of every layer
        wanted = wanted[-1] if wanted.dim() == 3 else wanted
        assert torch.allclose(found[0], wanted, rtol=1e-6, atol=LOOSE.get(name, 1e-8))
