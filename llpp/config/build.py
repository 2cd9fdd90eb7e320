"""Configuration → objects: the only place that knows both."""

import copy
import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytorch_lightning as pl
import torch
from lightning_fabric.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.callbacks import ProgressBar

from llpp.acquisition.base import GRADIENT_LENGTH, LABELLED, NEEDS, TARGET, Acquisition
from llpp.auxiliaries.base import Auxiliary
from llpp.backbones.base import Backbone
from llpp.config import accelerator, build_crop_cache, fingerprint, read_settings, trainer_arguments
from llpp.config.instantiate import (
    check_kind,
    get_auxiliary_columns,
    hydra_errors_as_config_errors,
    instantiate_dataset,
    make,
    make_auxiliary,
    make_dataset,
    make_head,
    make_task,
)
from llpp.config.kept_settings import add_decided_settings, keep_decided_settings
from llpp.data.crop_cache.cache import CropCache
from llpp.data.crop_cache.device_cache import ResidentCrops
from llpp.data.crop_dataset import CropPipeline
from llpp.data.datamodule import PoolDataModule
from llpp.data.image_preparation import ImagePreparation
from llpp.data.person_crop import PersonCrop
from llpp.datasets.base import AnyDataset
from llpp.datasets.contract import check_first_image
from llpp.distributed import collectives
from llpp.errors import ConfigError, expect
from llpp.files import compute_sha256
from llpp.heads.base import LossHead
from llpp.inference.fuse_batchnorm import conv_outputs_per_image
from llpp.inference.performance import Performance, keep_memory
from llpp.loggers.wandb_logger import WandbRun
from llpp.objectives.base import Objective
from llpp.oracles.base import Oracle
from llpp.plug_in_errors import name_class
from llpp.redaction import redact
from llpp.reliability.rankers import HEAD
from llpp.rounds import plug_in_check
from llpp.rounds.ranking import AUTO
from llpp.rounds.run import Publisher, Run, RunData
from llpp.rounds.target import read_target
from llpp.run_dir.checkpoints import AtomicCheckpointIO
from llpp.setting_rules import check_setting
from llpp.tasks.base import Task
from llpp.training import compilation, trainer_setup
from llpp.training.base_models import BaseModels
from llpp.training.checkpoint_callbacks import BestBy, build_checkpoint_callbacks
from llpp.training.dropout_passes import DropoutPasses
from llpp.training.module import LearningLossModule, RoundPart
from llpp.training.round_trainer import RoundTrainer

log = logging.getLogger(__name__)


def build_run(cfg: DictConfig, gpu: int | None = None, dataset: AnyDataset | None = None) -> Run:
    """Build everything once, so that what cannot work is refused before any training.

    Args:
        cfg: composed by Hydra.
        gpu: number of the one to use, where the machine has several.
        dataset: the config's dataset, if it has been made already.
    """
    trainer_setup.silence_lightning()
    keep_decided_settings(cfg)
    settings = read_settings.read_settings(cfg)
    accelerator.check_accelerator(cfg)
    performance = _set_up_process(cfg)

    dataset = dataset or make_dataset(cfg)
    validation = len(dataset.records.select_rows("val"))
    trainer_arguments.check_validation_share(cfg, validation, collectives.get_world_size())
    task = make_task(cfg, dataset)
    check_kind(task, Task, "task")
    for remark in task.check_mirroring(cfg.augmentation.get("flip") or 0.0):
        log.info("%s: %s", cfg.paths.run_dir, remark)
    crops = build_crop_cache.build_crop_cache(cfg, dataset) if cfg.crop.cache else None
    make_loaders = _build_loader_factory(cfg, dataset, task, crops)
    data = RunData(dataset, task, crops, make_loaders)
    images = ImagePreparation(cfg.crop.size, ResidentCrops(crops) if crops and cfg.crop.resident else None)

    _check_ranker(settings.ranker, task)
    acquisition: Acquisition = make(cfg.acquisition)
    check_kind(acquisition, Acquisition, "acquisition")
    oracle: Oracle = make(cfg.oracle)(dataset=dataset)
    check_kind(oracle, Oracle, "oracle")
    _check_needs(acquisition, cfg.acquisition, task, oracle, get_auxiliary_columns(cfg))
    target = None if acquisition.target_file is None else read_target(acquisition.target_file, dataset)
    make_module = partial(build_module, cfg, dataset, task, images, dropout_passes=acquisition.dropout_passes)
    _choose_compilation(cfg, make_module, len(dataset.records.select_rows("train")))
    module, trainer = _check_training(cfg, make_module, task, gpu)
    acquisition.check_backbone(module.backbone)
    check_first_image(dataset)
    shapes = plug_in_check.check_network(module, trainer, PersonCrop(cfg.crop.size, cfg.crop.padding))
    plug_in_check.check_acquisition(make(cfg.acquisition), dataset, settings, shapes)
    plug_in_check.check_oracle(oracle, dataset)

    plain = to_plain(cfg)
    plain["dataset"] = add_decided_settings(plain["dataset"], dataset.decided)
    decided = _collect_decided_settings(cfg, acquisition.target_file)
    if cfg.trainer.precision == "auto":
        chosen = decided["trainer"]["precision"]
        log.info("%s: trainer.precision=%s, which is fastest here", cfg.paths.run_dir, chosen)
    config = redact(plain)
    code = fingerprint.hash_program(plain)
    result_settings = fingerprint.collect_result_settings(config | decided, dataset, task)

    loggers = [make(node) for node in (cfg.logger or {}).values()]
    base_models = Path(cfg.training.base_models) if cfg.training.base_models else None
    run_dir = Path(cfg.paths.run_dir)
    return Run(
        settings=settings,
        result_settings=result_settings,
        labels=_hash_labels(cfg, oracle),
        config=OmegaConf.to_yaml(OmegaConf.create(config)),
        code=code,
        directory=run_dir,
        data=data,
        trainer=RoundTrainer(
            settings=settings,
            result_settings=result_settings,
            run_dir=run_dir,
            base_models=BaseModels(base_models, code),
            make_module=make_module,
            make_trainer=partial(_build_trainer, cfg, task, loggers, gpu, code),
        ),
        performance=performance,
        acquisition=acquisition,
        target=target,
        oracle=oracle,
        publisher=Publisher(
            loggers=[logger for logger in loggers if not isinstance(logger, WandbRun)],
            observers=[logger for logger in loggers if isinstance(logger, WandbRun)],
        ),
    )


def _hash_labels(cfg: DictConfig, oracle: Oracle) -> dict[str, str]:
    """Digest of the labels that a round trains on, by its name among the settings; empty where none are given."""
    if not oracle.asks_people:
        return {}
    return {"dataset.labels": compute_sha256(Path(cfg.dataset.snapshot))}


def build_inspected(cfg: DictConfig) -> tuple[Task, PersonCrop]:
    """What `llpp data` looks at; unlike a run's, the dataset may lack images and splits."""
    check_setting("crop.size", cfg.crop.size)
    with hydra_errors_as_config_errors():
        task = make_task(cfg, instantiate_dataset(cfg.dataset))
        return task, PersonCrop(cfg.crop.size, cfg.crop.padding)


def build_module(
    cfg: DictConfig,
    dataset: AnyDataset,
    task: Task,
    images: ImagePreparation,
    part: RoundPart,
    dropout_passes: int = 0,
) -> LearningLossModule:
    """A fresh module; the backbone is made first, so one seed gives it the same weights under any head."""
    outputs = dataset.records.labels.outputs
    backbone: Backbone = make(cfg.backbone, outputs=outputs)
    check_kind(backbone, Backbone, "backbone")
    for name in ("feature_channels", "penultimate_channels", "size_multiple"):
        if not hasattr(backbone, name):
            raise ConfigError(f"backbone {name_class(backbone)} publishes no {name}; set self.{name} in __init__")
    task.check_backbone(backbone)
    backbone.check_size(cfg.crop.size)
    head = None
    auxiliary = None
    if part.phase != "backbone":
        with hydra_errors_as_config_errors():
            head = make_head(cfg, backbone, outputs)
            auxiliary = make_auxiliary(cfg, backbone, dataset.records.labels)
        check_kind(head, LossHead, "head")
        if auxiliary is not None:
            check_kind(auxiliary, Auxiliary, "auxiliary")
    objective = make(cfg.objective)
    check_kind(objective, Objective, "objective")
    compiled = _build_compilation(cfg)
    compiled.prepare(backbone)
    return LearningLossModule(
        backbone=backbone,
        head=head,
        objective=objective,
        task=task,
        images=images,
        optimizer=make(cfg.optimizer),
        scheduler=make(cfg.scheduler) if cfg.scheduler else None,
        head_training=read_settings.read_head_training(cfg),
        part=part,
        compilation=compiled,
        dropout=DropoutPasses(dropout_passes, cfg.seed),
        auxiliary=auxiliary,
    )


def to_plain(node: Any) -> dict[str, Any]:
    """A config as nested dictionaries and lists, resolved."""
    return cast(dict[str, Any], OmegaConf.to_container(node, resolve=True))


def _set_up_process(cfg: DictConfig) -> Performance:
    """Apply the settings that are about this process."""
    performance = Performance(cfg.launch.allocator, cfg.scoring.compile_from)
    if cfg.launch.threads:
        torch.set_num_threads(cfg.launch.threads)
    if performance.should_keep_memory(cfg.trainer.accelerator):
        keep_memory()
    trainer_setup.bound_cudnn_search()
    return performance


def _check_ranker(ranker: str, task: Task) -> None:
    """Raise ConfigError if the task does not offer the column that is to rank."""
    known = [AUTO, HEAD, *task.free_rankers]
    if ranker not in known:
        raise ConfigError(
            f"ranker={ranker} is not offered by task={task.name}; use {', '.join(known[:-1])} or {known[-1]}"
        )


def _check_needs(
    acquisition: Acquisition, settings: DictConfig, task: Task, oracle: Oracle, others: frozenset[str]
) -> None:
    """Raise ConfigError if an acquisition with these settings needs what is not predicted, or not known.

    `others` are the columns that are neither of all runs nor of the task.
    """
    if not isinstance(acquisition.needs, frozenset | set):
        raise ConfigError(
            f"acquisition {type(acquisition).__name__} has needs={acquisition.needs!r}, expected a set of names, as "
            'in frozenset({"predicted_loss"})'
        )
    if "true_loss" in acquisition.needs and not oracle.knows_pool:
        raise ConfigError(
            f"acquisition {type(acquisition).__name__} needs the labels of all images, and oracle "
            f"{type(oracle).__name__} knows only those that it was asked for; use oracle=simulated, or another "
            "acquisition"
        )
    of_target = sorted(name for name in acquisition.needs if name.startswith(TARGET))
    if of_target and acquisition.target_file is None:
        raise ConfigError(
            f"acquisition {type(acquisition).__name__} needs {of_target[0]} and has no file that says of which "
            "images; set its target_file to one with their ids, or leave that column out of its needs"
        )
    predicted = task.columns | others
    predicted |= {prefix + name for name in predicted for prefix in (LABELLED, TARGET)}
    of_passes = {prefix + name for name in task.dropout_columns for prefix in ("", LABELLED, TARGET)}
    if acquisition.needs & of_passes and acquisition.dropout_passes < 2:
        raise ConfigError(
            f"acquisition {type(acquisition).__name__} needs {min(acquisition.needs & of_passes)}, and its "
            f"dropout_passes is {acquisition.dropout_passes}; set that to 2 or more"
        )
    missing = sorted(acquisition.needs - NEEDS - predicted - {GRADIENT_LENGTH})
    if missing:
        remedy = "choose another acquisition or task"
        if "pose" in missing and "space" in settings:
            remedy = f"set acquisition.space=embedding, or {remedy}"
        if "link_log_likelihood" in missing and task.name == "pose":
            remedy = f"set auxiliary=link_lengths, which learns it, or {remedy}"
        offered = ", ".join(sorted(NEEDS | task.columns | others | {GRADIENT_LENGTH}))
        raise ConfigError(
            f"acquisition {type(acquisition).__name__} needs {', '.join(missing)}, which task={task.name} does not "
            f"predict (it offers {offered}); {remedy}"
        )


def _check_training(
    cfg: DictConfig, make_module: Callable[[RoundPart], LearningLossModule], task: Task, gpu: int | None
) -> tuple[LearningLossModule, pl.Trainer]:
    """Make a module, optimiser, schedule and trainer once, so that their mistakes end the run before it begins."""
    module = make_module(RoundPart(0))
    module.compilation.begin_job()
    with hydra_errors_as_config_errors():
        optimizer = module.optimizer_factory([{"params": list(module.parameters())}])
        if module.scheduler_factory is not None:
            module.scheduler_factory(optimizer, 100)
        try:
            trainer = _build_trainer(cfg, task, [], gpu, "", Path(cfg.paths.run_dir), "", True)
        except (MisconfigurationException, ModuleNotFoundError) as error:
            raise ValueError(str(error)) from error
    return module, trainer


def _collect_decided_settings(cfg: DictConfig, target_file: str | None = None) -> dict[str, Any]:
    """The sections of the config in which the machine has a say, with what was decided; results depend on it."""
    trainer = to_plain(cfg.trainer)
    trainer["precision"] = trainer_setup.resolve_precision(cfg.trainer.precision, cfg.trainer.accelerator)
    decided = {"trainer": trainer, "crop": build_crop_cache.collect_crop_result_settings(cfg)}
    if target_file is not None:
        # What the file says decides results, and not where it is; it has been read by now.
        decided["acquisition"] = {**to_plain(cfg.acquisition), "target": compute_sha256(Path(target_file))}
    return decided


def _choose_compilation(cfg: DictConfig, make_module: Callable[[RoundPart], LearningLossModule], pool: int) -> None:
    """Replace training.compile=auto in the config by what it means for this run, whose pool has so many images."""
    if cfg.training.compile != compilation.AUTO:
        return
    # The work is counted with a network that is not compiled.
    cfg.training.compile = None
    backbone = make_module(RoundPart(0)).backbone
    images = 0
    for number in range(cfg.rounds or 1):
        images += cfg.trainer.max_epochs * min(cfg.initial + number * cfg.budget, pool)
    devices = cfg.trainer.devices * cfg.trainer.get("num_nodes", 1)
    work = images * conv_outputs_per_image(backbone, cfg.crop.size) / devices
    accumulated = cfg.trainer.get("accumulate_grad_batches", 1)
    cfg.training.compile = compilation.choose_setting(work, cfg.trainer.accelerator, accumulated)
    log.info(
        "%s: training.compile=%s, because convolutions give %.1e numbers in its training",
        cfg.paths.run_dir, cfg.training.compile or "null", work,
    )  # fmt: skip


def _build_compilation(cfg: DictConfig) -> compilation.Compilation:
    # Batches of one size are compiled once, and cuDNN times its algorithms once for them.
    filled = cfg.training.compile is not None or cfg.trainer.accelerator in ("gpu", "cuda")
    return compilation.parse_compile_setting(
        to_plain(cfg.training)["compile"],
        batch=cfg.data.eval_batch_size if filled else 0,
        accumulated=cfg.trainer.get("accumulate_grad_batches", 1),
    )


def _build_loader_factory(
    cfg: DictConfig, dataset: AnyDataset, task: Task, crops: CropCache | None
) -> Callable[[Sequence[int], Sequence[int], int], PoolDataModule]:
    margin = cfg.crop.margin if read_settings.resolve_resampling(cfg) == "device" else None
    crop = PersonCrop(cfg.crop.size, cfg.crop.padding, margin)
    pixel = None
    if cfg.pixel:
        is_node = isinstance(cfg.pixel, DictConfig) and "_target_" in cfg.pixel
        expect(is_node, "pixel", cfg.pixel, "null, or a mapping with _target_ as in conf/run.yaml")
        pixel = make(cfg.pixel)
    pipeline = CropPipeline(crop, make(cfg.augmentation), pixel, crops, bool(cfg.crop.resident))
    loading = read_settings.read_loader_settings(cfg)
    if cfg.data.workers is None and loading.workers:
        log.info("%s: data.workers=%d, by cores and shared memory", cfg.paths.run_dir, loading.workers)

    def make_loaders(labelled: Sequence[int], validation: Sequence[int], round_number: int) -> PoolDataModule:
        return PoolDataModule(dataset, task, labelled, validation, pipeline, loading, cfg.seed, round_number)

    return make_loaders


def _build_trainer(
    cfg: DictConfig, task: Task, loggers: list[Any], gpu: int | None, code: str, directory: Path, key: str, best: bool
) -> pl.Trainer:
    """A trainer whose checkpoints go to `directory` and carry `key`; with `best` the best epoch is kept, too."""
    callbacks = [make(copy.deepcopy(node)) for node in (cfg.callbacks or {}).values()]
    best_by = None
    if best and cfg.training.weights == "best":
        best_by = BestBy(f"val/{task.metric_name}", task.higher_is_better)
        if cfg.training.best_by == "loss":
            best_by = BestBy(f"val/{task.loss_name}", higher_is_better=False)
    settings = _collect_decided_settings(cfg)["trainer"]
    if gpu is not None:
        settings["devices"] = [gpu]
    several = collectives.get_world_size() > 1
    trainer = pl.Trainer(
        **settings,
        strategy=trainer_setup.build_ddp_strategy(cfg.launch.rank_timeout) if several else "auto",
        callbacks=[*callbacks, *build_checkpoint_callbacks(directory, key, code, best_by)],
        plugins=[AtomicCheckpointIO(), *trainer_setup.build_environment(several)],
        logger=loggers or False,
        enable_progress_bar=any(isinstance(callback, ProgressBar) for callback in callbacks),
        default_root_dir=cfg.paths.run_dir,
        use_distributed_sampler=False,  # the datamodule's own samplers know their rows
        num_sanity_val_steps=0,
    )
    trainer_setup.disable_signal_handlers(trainer)
    trainer_setup.resume_at_epochs(trainer)
    return trainer
