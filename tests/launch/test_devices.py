"""A machine without a GPU refuses a run on GPUs with the setting that works there."""

import pytest
import torch
from helpers.experiments import config

from llpp.config.accelerator import check_accelerator
from llpp.errors import ConfigError
from llpp.launch import launcher

pytestmark = pytest.mark.skipif(
    torch.cuda.is_available() or torch.backends.mps.is_available(), reason="this machine has a GPU"
)
SENTENCE = r"^trainer.accelerator='gpu', but .*; use trainer=cpu, or "


def test_a_run_on_one_gpu_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=SENTENCE):
        check_accelerator(config(tmp_path, "trainer=gpu"))


@pytest.mark.slow
def test_a_run_on_several_gpus_is_not_told_to_use_fewer(tmp_path):
    with pytest.raises(ConfigError, match=SENTENCE):
        launcher.launch_workers(config(tmp_path, "trainer=ddp", "trainer.devices=2"))
