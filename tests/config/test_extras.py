"""What an extra of llpp brings and is not installed is named with the command that installs it."""

import lightning_fabric.loggers.tensorboard as lightning_tensorboard
import pytest
from hydra.core.config_store import ConfigStore
from lightning_utilities.core.imports import RequirementCache

from llpp.config import extras
from llpp.config.build import make
from llpp.config.compose import compose_config
from llpp.errors import ConfigError


@pytest.mark.parametrize("launcher", ["joblib", "submitit_slurm"])
def test_a_launcher_that_is_not_installed(launcher, monkeypatch):
    compose_config([])  # Hydra looks for its plug-ins
    known = ConfigStore.instance().repo["hydra"]["launcher"]
    # a package that is not installed has not registered its launcher
    monkeypatch.delitem(known, f"{launcher}.yaml", raising=False)
    with pytest.raises(ConfigError) as refused:
        compose_config([f"hydra/launcher={launcher}"])
    assert str(refused.value) == f"hydra/launcher={launcher} is not installed; pip install 'llpp[sweep]'"


def test_a_logger_that_is_not_installed(compose, tmp_path, monkeypatch):
    for name in ("_TENSORBOARD_AVAILABLE", "_TENSORBOARDX_AVAILABLE"):
        monkeypatch.setattr(lightning_tensorboard, name, RequirementCache("no_such_package"))
    cfg = compose("logger=tensorboard", f"paths.runs={tmp_path}")
    with pytest.raises(ConfigError, match=r"cannot be built: .*; pip install 'llpp\[tensorboard\]'$"):
        make(cfg.logger.tensorboard)


def test_advice_is_about_packages_of_extras_alone():
    assert extras.find_advice(ModuleNotFoundError("…", name="wandb.errors")) == (
        "wandb is not installed; pip install 'llpp[wandb]'"
    )
    assert extras.find_advice(ModuleNotFoundError("…", name="no_such_library")) is None
    assert extras.find_advice(ImportError("cannot import name 'wandb'")) is None
