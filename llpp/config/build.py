"""Configuration → objects: the only place that knows both."""

import copy
import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytorch_lightning as pl
import torch
from lightning_fabric.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.callbacks import ProgressBar

from llpp.backbones.base import Backbone
from llpp.config import build_crop_cache, fingerprint, read_settings
from llpp.config.instantiate import hydra_errors_as_config_errors, instantiate_dataset, make, make_dataset
from llpp.data.crop_cache.cache import CropCache
from llpp.data.crop_cache.device_cache import ResidentCrops
from llpp.data.crop_dataset import CropPipeline
from llpp.data.datamodule import PoolDataModule
from llpp.data.person_crop import PersonCrop
from llpp.datasets.base import PoseDataset
from llpp.distributed import collectives
from llpp.heads.base import FeatureSpec
from llpp.inference.performance import Performance, keep_memory
from llpp.loggers.wandb_logger import WandbRun
from llpp.redaction import redact
from llpp.rounds.experiment import Experiment
from llpp.run_dir.checkpoints import AtomicCheckpointIO
from llpp.setting_rules import check_setting
from llpp.tasks.pose.heatmaps import HeatmapCodec
from llpp.tasks.pose.pck import PCK, PCKDefinition
from llpp.training import compilation, trainer_setup
from llpp.training.checkpoint_callbacks import build_checkpoint_callbacks
from llpp.training.module import LearningLossModule, Phase

log = logging.getLogger(__name__)


def experiment(cfg: DictConfig, gpu: int | None = None, data: PoseDataset | None = None) -> Experiment:
    """Build everything once, so that what cannot work is refused before any training.

    `gpu` is the number of the one that is to be used, where the machine has several; `data` the config's dataset,
    if it has been made already.
    """
    trainer_setup.silence_lightning()
    chosen = read_settings.read_settings(cfg)
    performance = Performance(**_plain(cfg.performance))
    if cfg.threads:
        torch.set_num_threads(cfg.threads)
    if performance.should_keep_memory(cfg.trainer.accelerator):
        keep_memory()
    data = data or make_dataset(cfg)
    crops = build_crop_cache.build_crop_cache(cfg, data) if cfg.dataset.cache else None
    resident = ResidentCrops(crops) if crops and cfg.dataset.resident else None
    make_module = partial(module, cfg, data, resident=resident)
    make_data = _data_factory(cfg, data, crops)
    first = make_module(0, "joint")
    first.compilation.begin_job()
    with hydra_errors_as_config_errors():
        first.optimizer_factory(first.parameters())
        try:
            _trainer(cfg, [], gpu, "", Path(cfg.run_dir), "", True)
        except MisconfigurationException as error:
            raise ValueError(str(error)) from error
    acquisition = make(cfg.acquisition)
    loggers = [make(node) for node in (cfg.logger or {}).values()]
    config, code, decided = redact(_plain(cfg)), fingerprint.hash_program(_plain(cfg)), _decided(cfg)
    if cfg.trainer.precision == "auto":
        log.info("%s: trainer.precision=%s, which is fastest here", cfg.run_dir, decided["trainer"]["precision"])
    return Experiment(
        settings=chosen,
        science=fingerprint.collect_result_settings(config | decided, data, _pck(cfg)),
        config=OmegaConf.to_yaml(OmegaConf.create(config)),
        run_dir=Path(cfg.run_dir),
        dataset=data,
        sizes=data.get_normaliser(cfg.pck.unit).values,
        grow=cfg.dataset.grow,
        crops=crops,
        acquisition=acquisition,
        make_data=make_data,
        make_module=make_module,
        make_trainer=partial(_trainer, cfg, loggers, gpu, code),
        code=code,
        performance=performance,
        base_models=Path(cfg.base_models) if cfg.base_models else None,
        loggers=[logger for logger in loggers if not isinstance(logger, WandbRun)],
        observers=[logger for logger in loggers if isinstance(logger, WandbRun)],
    )


def inspected(cfg: DictConfig) -> tuple[PoseDataset, PersonCrop, PCKDefinition]:
    """What `llpp data` looks at; unlike a run's, the dataset may lack images and splits."""
    size, padding = cfg.crop.size, cfg.crop.padding
    check_setting("crop.size", size)
    with hydra_errors_as_config_errors():
        return instantiate_dataset(cfg.dataset), PersonCrop(size, padding), _pck(cfg)


def _pck(cfg: DictConfig) -> PCKDefinition:
    with hydra_errors_as_config_errors():
        return PCKDefinition(**_plain(cfg.pck))


def module(
    cfg: DictConfig, data: PoseDataset, round_number: int, phase: Phase, resident: ResidentCrops | None = None
) -> LearningLossModule:
    """A fresh module; the backbone is made first, so one seed gives it the same weights under any head."""
    joints = data.skeleton.joints
    backbone: Backbone = make(cfg.backbone, joints=len(joints))
    backbone.check_size(cfg.crop.size)
    spec = FeatureSpec(backbone.feature_channels, backbone.penultimate_channels, cfg.crop.size)
    with hydra_errors_as_config_errors():
        head = make(cfg.head)(spec=spec) if phase != "pose" else None
    filled = cfg.compile is not None or cfg.trainer.accelerator in ("gpu", "cuda")
    compiled = compilation.parse_compile_setting(
        **_plain(OmegaConf.masked_copy(cfg, "compile")),
        batch=cfg.data.eval_batch_size if filled else 0,
        accumulated=cfg.trainer.get("accumulate_grad_batches", 1),
    )
    compiled.prepare(backbone)
    return LearningLossModule(
        backbone=backbone,
        head=head,
        objective=make(cfg.objective),
        pose_loss=make(cfg.pose_loss),
        codec=HeatmapCodec(**_plain(cfg.codec), stride=backbone.heatmap_stride),
        pck=PCK(joints, _pck(cfg)),
        optimizer=make(cfg.optimizer),
        scheduler=make(cfg.scheduler) if cfg.scheduler else None,
        policy=read_settings.read_head_training(cfg),
        crop_size=cfg.crop.size,
        round_number=round_number,
        phase=phase,
        flip_order=data.skeleton.flip_order if cfg.flip_test else None,
        compilation=compiled,
        resident=resident,
    )


def _plain(node: Any) -> dict[str, Any]:
    return cast(dict[str, Any], OmegaConf.to_container(node, resolve=True))


def _decided(cfg: DictConfig) -> dict[str, Any]:
    """The sections of the config in which the machine has a say, with what was decided; results depend on it."""
    trainer, crop = _plain(cfg.trainer), _plain(cfg.crop)
    trainer["precision"] = trainer_setup.resolve_precision(cfg.trainer.precision, cfg.trainer.accelerator)
    return {"trainer": trainer, "crop": crop | build_crop_cache.collect_crop_result_settings(cfg)}


def _data_factory(cfg: DictConfig, data: PoseDataset, crops: CropCache | None = None) -> Any:
    margin = cfg.crop.margin if read_settings.resolve_resampling(cfg) == "device" else None
    crop = PersonCrop(cfg.crop.size, cfg.crop.padding, margin)
    pixel = make(cfg.pixel) if cfg.pixel else None
    cropping = CropPipeline(crop, make(cfg.augmentation), pixel, crops, bool(cfg.dataset.resident))
    loading = read_settings.read_loader_settings(cfg)
    sizes = (data.get_normaliser(cfg.pck.unit).values * cfg.pck.factor).astype(np.float32)

    def make_data(labelled: Sequence[int], validation: Sequence[int], round_number: int) -> PoolDataModule:
        return PoolDataModule(data, sizes, labelled, validation, cropping, loading, cfg.seed, round_number)

    return make_data


def _trainer(
    cfg: DictConfig, loggers: list[Any], gpu: int | None, code: str, directory: Path, key: str, best: bool
) -> pl.Trainer:
    shown = [make(copy.deepcopy(node)) for node in (cfg.callbacks or {}).values()]
    trainer = pl.Trainer(
        **_decided(cfg)["trainer"] | ({} if gpu is None else {"devices": [gpu]}),
        strategy=trainer_setup.build_ddp_strategy(cfg.rank_timeout) if collectives.get_world_size() > 1 else "auto",
        callbacks=[
            *shown,
            *build_checkpoint_callbacks(
                directory, key, code, cfg.best_by if best and cfg.weights == "best" else None
            ),
        ],
        plugins=[AtomicCheckpointIO()],
        logger=loggers or False,
        enable_progress_bar=any(isinstance(callback, ProgressBar) for callback in shown),
        default_root_dir=cfg.run_dir,
        use_distributed_sampler=False,  # the datamodule's own samplers know their rows
        num_sanity_val_steps=0,
    )
    trainer_setup.disable_signal_handlers(trainer)
    return trainer
