"""One thread, one seed, and configs composed as the command line composes them."""

import os
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"
os.environ["OMP_WAIT_POLICY"] = "PASSIVE"

import hydra
import pytest
import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from llpp.compose import conf_dir

torch.set_num_threads(1)
SHARED = Path(__file__).parents[2] / "shared/data"  # real data beside a developer's checkout; users have none
if SHARED.is_dir():
    os.environ.setdefault("LLPP_DATA", str(SHARED))


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.fixture
def compose():
    """`compose("head=gap_fc", …)` → the config that a run with these overrides would get."""

    def composed(*overrides):
        cfg = hydra.compose("run", overrides=list(overrides), return_hydra_config=True)
        HydraConfig.instance().set_config(cfg)
        return OmegaConf.masked_copy(cfg, [key for key in cfg if key != "hydra"])

    with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
        yield composed
    HydraConfig.instance().cfg = None
