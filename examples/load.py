"""Load converted weights in a training config, as a detrex config would.

Like detrex's own configs, this config consists of OmegaConf nodes. With detrex installed, write
`from .detr_r101_300ep import dataloader, model, train` instead.
"""

import logging
import sys

import torch
from omegaconf import OmegaConf

from detrex_hub import from_hub

logging.basicConfig(format="%(message)s")
logging.getLogger("detrex_hub").setLevel(logging.INFO)

cfg = OmegaConf.create("""
train:
  init_checkpoint: detectron2://ImageNetPretrained/torchvision/R-50.pkl
model:
  _target_: projects.detr.modeling.DETR
  backbone:
    _target_: detectron2.modeling.backbone.ResNet
    stem: {_target_: detectron2.modeling.backbone.BasicStem}
    stages:
      _target_: detectron2.modeling.backbone.ResNet.make_default_stages
      depth: 50
      stride_in_1x1: false
      norm: FrozenBN
    out_features: [res5]
  pixel_mean: [123.675, 116.280, 103.530]
  pixel_std: [58.395, 57.120, 57.375]
dataloader:
  train: {mapper: {img_format: BGR}}
  test: {mapper: {img_format: BGR}}
""")

cfg.train.init_checkpoint = from_hub(sys.argv[1], model=cfg.model, dataloader=cfg.dataloader)

checkpoint = torch.load(cfg.train.init_checkpoint, weights_only=True)
print("train.init_checkpoint =", cfg.train.init_checkpoint)
print(len(checkpoint["model"]), "tensors, such as", *list(checkpoint["model"])[:3])
