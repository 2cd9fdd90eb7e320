"""One thread, one seed, and configs composed as the command line composes them."""

import os
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"
os.environ["OMP_WAIT_POLICY"] = "PASSIVE"

import pytest

import llpp  # noqa: F401  # before OpenCV, which reads the limit of pixels that llpp sets when it is imported

SHARED = Path(__file__).parents[2] / "shared/data"  # real data beside a developer's checkout; users have none
if SHARED.is_dir():
    os.environ.setdefault("LLPP_DATA", str(SHARED))


@pytest.fixture(autouse=True)
def _seeded():
    import torch  # not above: pytest-xdist's first process would take seconds to import it, and runs no test

    torch.set_num_threads(1)
    torch.manual_seed(0)


@pytest.fixture
def compose():
    """`compose("head=gap_fc", …)` → the config that a run with these overrides would get."""
    from helpers.experiments import composed
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import OmegaConf

    def found(*overrides):
        cfg = composed(*overrides)
        HydraConfig.instance().set_config(cfg)
        return OmegaConf.masked_copy(cfg, [key for key in cfg if key != "hydra"])

    yield found
    HydraConfig.instance().cfg = None
