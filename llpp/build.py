"""Configuration → objects: the only place that knows both."""

import copy
import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytorch_lightning as pl
import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from lightning_fabric.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException
from pytorch_lightning.callbacks import ProgressBar

from llpp import compiling, fingerprint, lightning, ranks
from llpp.backbones.base import Backbone
from llpp.checkpoints import AtomicCheckpointIO, checkpoint_callbacks
from llpp.codec import HeatmapCodec
from llpp.datamodule import Cropping, Loading, PoolDataModule
from llpp.datasets.base import PoseDataset
from llpp.errors import ConfigError, LlppError, expect
from llpp.experiment import Experiment
from llpp.heads.base import FeatureSpec
from llpp.metrics import PCK, PCKDefinition
from llpp.module import LearningLossModule, Phase, Policy
from llpp.redaction import redact
from llpp.start import Settings
from llpp.transforms import PersonCrop
from llpp.trust import check_targets, read_config
from llpp.wandb_run import WandbRun


def experiment(cfg: DictConfig, gpu: int | None = None) -> Experiment:
    """Build everything once, so that what cannot work is refused before any training.

    `gpu` is the number of the one that is to be used, where the machine has several.
    """
    lightning.quiet()
    settings = _settings(cfg)
    if cfg.threads:
        torch.set_num_threads(cfg.threads)
    data = dataset(cfg)
    make_module = partial(module, cfg, data)
    make_data = _data_factory(cfg, data)
    first = make_module(0, "joint")
    first.compilation.begin_job()
    with _plainly():
        first.optimizer_factory(first.parameters())
        _trainer(cfg, [], gpu, "", Path(cfg.run_dir), "", True)
    acquisition = make(cfg.acquisition)
    loggers = [make(node) for node in (cfg.logger or {}).values()]
    config, code = redact(_plain(cfg)), fingerprint.code(_plain(cfg))
    return Experiment(
        settings=settings,
        science=fingerprint.science(
            {**config, "crop": {**config["crop"], "resample": _resample(cfg)}}, data, _pck(cfg)
        ),
        config=OmegaConf.to_yaml(OmegaConf.create(config)),
        run_dir=Path(cfg.run_dir),
        dataset=data,
        sizes=data.body_size(cfg.pck.unit).values,
        grow=cfg.dataset.grow,
        acquisition=acquisition,
        make_data=make_data,
        make_module=make_module,
        make_trainer=partial(_trainer, cfg, loggers, gpu, code),
        code=code,
        base_models=Path(cfg.base_models) if cfg.base_models else None,
        loggers=[logger for logger in loggers if not isinstance(logger, WandbRun)],
        observers=[logger for logger in loggers if isinstance(logger, WandbRun)],
    )


def _settings(cfg: DictConfig) -> Settings:
    every, epochs = cfg.trainer.check_val_every_n_epoch, cfg.trainer.max_epochs
    expect(epochs is not None and epochs >= 1, "trainer.max_epochs", epochs, "1 or more")
    expect(cfg.trainer.accelerator != "auto", "trainer.accelerator", "auto", "cpu, gpu or mps")
    if cfg.trainer.accelerator == "cpu" and str(cfg.trainer.precision).startswith("16"):
        raise ConfigError(
            f"trainer.precision={cfg.trainer.precision} is very slow on CPUs; use bf16-mixed or 32-true"
        )
    expect(cfg.rank_timeout > 0, "rank_timeout", cfg.rank_timeout, "seconds, above 0")
    expect(isinstance(cfg.dataset.grow, bool), "dataset.grow", cfg.dataset.grow, "true or false")
    expect(cfg.threads is None or cfg.threads >= 1, "threads", cfg.threads, "null, or 1 or more")
    if cfg.best_by not in ("pck", "pose_loss"):
        raise ConfigError(f"best_by={cfg.best_by!r} is not known; use pck or pose_loss")
    if cfg.weights == "best" and every > epochs:
        raise ConfigError(
            f"weights=best needs a validation, but trainer.check_val_every_n_epoch={every} exceeds "
            f"trainer.max_epochs={epochs}; lower it"
        )
    return Settings(**{field.name: cfg[field.name] for field in dataclasses.fields(Settings)})


def make(node: Any, **extra: Any) -> Any:
    """Instantiate a node; only plain containers reach the objects."""
    with _plainly():
        return instantiate(node, **extra, _convert_="all")


@contextmanager
def _plainly() -> Iterator[None]:
    """Hydra wraps what a constructor raises: pass our own errors on, and put others into one line."""
    try:
        yield
    except InstantiationException as error:
        cause = error.__cause__
        raise cause if isinstance(cause, LlppError) else ConfigError(" ".join(str(error).split())) from error
    except (TypeError, ValueError, MisconfigurationException) as error:  # from a late call, which Hydra does not wrap
        raise ConfigError(" ".join(str(error).split())) from error


def dataset(cfg: DictConfig) -> PoseDataset:
    """The dataset of a config, whose splits must not be empty."""
    data = records(cfg.dataset)
    for split in ("train", "val", "test"):
        if not len(data.records.rows(split)):
            raise ConfigError(f"dataset {data.name} has no {split} records; give it some in dataset.*")
    data.check()
    return data


def records(node: DictConfig) -> PoseDataset:
    """The dataset of a config's node, in which `grow` is about the run."""
    own = copy.copy(node)
    with open_dict(own):
        own.pop("grow", None)
    made: PoseDataset = make(own)
    return made


def inspected(cfg: DictConfig) -> tuple[PoseDataset, PersonCrop, PCKDefinition]:
    """What `llpp data` looks at; unlike a run's, the dataset may lack images and splits."""
    size, padding = cfg.crop.size, cfg.crop.padding
    expect(type(size) is int and 8 <= size <= 1024, "crop.size", size, "8 to 1024 pixels")
    expect(type(padding) in (int, float), "crop.padding", padding, "a factor above 0")
    with _plainly():
        return records(cfg.dataset), PersonCrop(size, padding), _pck(cfg)


def dataset_of_run(run_dir: Path, trusted: Sequence[str] = ()) -> PoseDataset:
    """The dataset of a run, built again from its config.yaml; LlppError where that is impossible by now.

    It may be somebody else's run: only llpp's datasets and what `trusted` packages define are built.
    """
    node = read_config(run_dir)[0].get("dataset")
    check_targets(node, run_dir, trusted)
    if not isinstance(node, dict) or "_target_" not in node:
        raise ConfigError(f"{run_dir / 'config.yaml'} has no dataset; start its `llpp run` command again")
    try:
        return dataset(OmegaConf.create({"dataset": node}))
    except OmegaConfBaseException as error:
        told = " ".join(str(error).split())
        raise ConfigError(f"{run_dir / 'config.yaml'} does not describe a dataset any more: {told}") from error


def _pck(cfg: DictConfig) -> PCKDefinition:
    with _plainly():
        return PCKDefinition(**_plain(cfg.pck))


def module(cfg: DictConfig, data: PoseDataset, round_number: int, phase: Phase) -> LearningLossModule:
    """A fresh module; the backbone is made first, so one seed gives it the same weights under any head."""
    joints = data.skeleton.joints
    backbone: Backbone = make(cfg.backbone, joints=len(joints))
    backbone.check_size(cfg.crop.size)
    spec = FeatureSpec(backbone.feature_channels, backbone.penultimate_channels, cfg.crop.size)
    with _plainly():
        head = make(cfg.head)(spec=spec) if phase != "pose" else None
    filled = cfg.compile is not None or cfg.trainer.accelerator == "gpu"
    compilation = compiling.of_setting(
        **_plain(OmegaConf.masked_copy(cfg, "compile")),
        batch=cfg.data.eval_batch_size if filled else 0,
        accumulated=cfg.trainer.get("accumulate_grad_batches", 1),
    )
    compilation.prepare(backbone)
    return LearningLossModule(
        backbone=backbone,
        head=head,
        objective=make(cfg.objective),
        pose_loss=make(cfg.pose_loss),
        codec=HeatmapCodec(**_plain(cfg.codec), stride=backbone.heatmap_stride),
        pck=PCK(joints, _pck(cfg)),
        optimizer=make(cfg.optimizer),
        scheduler=make(cfg.scheduler) if cfg.scheduler else None,
        policy=Policy(cfg.head_weight, cfg.detach_from_epoch, cfg.pairs),
        crop_size=cfg.crop.size,
        round_number=round_number,
        phase=phase,
        flip_order=data.skeleton.flip_order if cfg.flip_test else None,
        compilation=compilation,
    )


def _plain(node: Any) -> dict[str, Any]:
    return cast(dict[str, Any], OmegaConf.to_container(node, resolve=True))


def _resample(cfg: DictConfig) -> str:
    """Where crops are resampled; the pixels differ a little, so it is science."""
    if cfg.crop.resample not in ("auto", "worker", "device"):
        raise ConfigError(f"crop.resample={cfg.crop.resample!r} is not known; use auto, worker or device")
    automatic = "worker" if cfg.trainer.accelerator == "cpu" else "device"
    return automatic if cfg.crop.resample == "auto" else str(cfg.crop.resample)


def _data_factory(cfg: DictConfig, data: PoseDataset) -> Any:
    margin = cfg.crop.margin if _resample(cfg) == "device" else None
    crop = PersonCrop(cfg.crop.size, cfg.crop.padding, margin)
    cropping = Cropping(crop, make(cfg.augmentation), make(cfg.pixel) if cfg.pixel else None)
    settings = _plain(cfg.data)
    if settings["pin_memory"] is None:
        settings["pin_memory"] = cfg.trainer.accelerator == "gpu"
    loading = Loading(**settings)
    sizes = (data.body_size(cfg.pck.unit).values * cfg.pck.factor).astype(np.float32)

    def make_data(labelled: Sequence[int], validation: Sequence[int], round_number: int) -> PoolDataModule:
        return PoolDataModule(data, sizes, labelled, validation, cropping, loading, cfg.seed, round_number)

    return make_data


def _trainer(
    cfg: DictConfig, loggers: list[Any], gpu: int | None, code: str, directory: Path, key: str, best: bool
) -> pl.Trainer:
    shown = [make(copy.deepcopy(node)) for node in (cfg.callbacks or {}).values()]
    trainer = pl.Trainer(
        **_plain(cfg.trainer) | ({} if gpu is None else {"devices": [gpu]}),
        strategy=lightning.strategy(cfg.rank_timeout) if ranks.count() > 1 else "auto",
        callbacks=[
            *shown,
            *checkpoint_callbacks(directory, key, code, cfg.best_by if best and cfg.weights == "best" else None),
        ],
        plugins=[AtomicCheckpointIO()],
        logger=loggers or False,
        enable_progress_bar=any(isinstance(callback, ProgressBar) for callback in shown),
        default_root_dir=cfg.run_dir,
        use_distributed_sampler=False,  # the datamodule's own samplers know their rows
        num_sanity_val_steps=0,
    )
    lightning.leave_signals(trainer)
    return trainer
