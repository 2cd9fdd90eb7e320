"""Every YAML under conf/ is built and held to its contract.

A newcomer's file is found here without being named.
"""

import functools
import itertools

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from llpp.acquisition.base import NEEDS, Acquisition
from llpp.backbones.base import Backbone
from llpp.config import build
from llpp.config.compose import conf_dir
from llpp.datasets.base import SPLITS
from llpp.datasets.pose import PoseDataset
from llpp.errors import DataError
from llpp.heads.base import FeatureSpec, LossHead
from llpp.objectives.base import Objective
from llpp.training import trainer_setup
from llpp.training.module import RoundPart
from llpp.types import Candidates

JOINTS = 14
FEW = {
    "synthetic": ("dataset.initial=6", "dataset.pool=6", "dataset.val=2", "dataset.test=2"),
    "coco": ("dataset.root=${data_root}/coco_sample",),
}


def options(group):
    return sorted(path.stem for path in (conf_dir() / group).glob("*.yaml"))


def every(group):
    slow = {"mpii", "mpii_lsp", "lspet_shift", "lsp_lspet"}  # hundreds of thousands of joints
    names = [pytest.param(n, marks=pytest.mark.slow) if n in slow else n for n in options(group)]
    return pytest.mark.parametrize(group, names)


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def built_dataset(cfg, images=False):
    """The dataset, or a skipped test where its files are not on this machine; annotations alone suffice for some."""
    try:
        data = made_dataset(OmegaConf.to_yaml(cfg.dataset, resolve=True))
        if images:
            data.check()
    except DataError as error:
        pytest.skip(str(error))
    return data


@functools.cache
def made_dataset(yaml):
    return build.instantiate_dataset(OmegaConf.create(yaml))


def network_and_side(cfg):
    network = build.make(cfg.backbone, outputs=JOINTS)
    assert isinstance(network, Backbone)
    side = -(-64 // network.size_multiple) * network.size_multiple
    network.check_size(side)
    return network, side


@every("backbone")
def test_backbones_give_what_they_publish(compose, backbone):
    network, side = network_and_side(compose(f"backbone={backbone}"))
    found = network.eval()(noise(2, 3, side, side))
    cells = side // network.heatmap_stride
    assert found.heatmaps.shape == (2, found.heatmaps.shape[1], JOINTS, cells, cells)
    assert found.heatmaps.shape[1] >= 1 and found.heatmaps.isfinite().all()
    assert found.features.penultimate.shape == (2, network.penultimate_channels, cells, cells)
    assert set(found.features.pyramid) == set(network.feature_channels)
    for stride, channels in network.feature_channels.items():
        assert found.features.pyramid[stride].shape == (2, channels, side // stride, side // stride)


@every("backbone")
@every("head")
def test_heads_give_one_finite_number_per_image(compose, head, backbone):
    cfg = compose(f"head={head}", f"backbone={backbone}")
    network, side = network_and_side(cfg)
    spec = FeatureSpec(network.feature_channels, network.penultimate_channels, side)
    loss_head = build.make(cfg.head)(spec=spec)
    assert isinstance(loss_head, LossHead)
    for batch in (1, 3):
        predicted = loss_head(network.eval()(noise(batch, 3, side, side)).features)
        assert predicted.shape == (batch,) and predicted.isfinite().all()
    predicted.sum().backward()
    assert any(p.grad is not None and p.grad.any() for p in loss_head.parameters())


@every("objective")
def test_objectives_are_finite_scalars(compose, objective):
    function = build.make(compose(f"objective={objective}").objective)
    assert isinstance(function, Objective)
    for batch, target in itertools.product((0, 1, 2, 5, 8), (torch.rand, torch.ones, torch.zeros)):
        predicted = noise(batch).requires_grad_()
        value = function(predicted, target(batch))
        value.backward()
        assert value.shape == () and value.isfinite() and predicted.grad.isfinite().all(), (batch, target)


@every("objective")
def test_objectives_order_predictions_as_their_targets(compose, objective):
    function = build.make(compose(f"objective={objective}").objective)
    target, predicted = torch.tensor([0.1, 0.5, 2.0, 3.5]), torch.zeros(4, requires_grad=True)
    optimizer = torch.optim.SGD([predicted], lr=0.3)
    for step in range(300):
        pairs = torch.randperm(4, generator=torch.Generator().manual_seed(step))  # as a shuffled batch
        optimizer.zero_grad()
        function(predicted[pairs], target[pairs]).backward()
        optimizer.step()
    assert predicted.detach().argsort().tolist() == [0, 1, 2, 3]


@every("pose_loss")
def test_pose_losses_are_one_finite_number_per_image(compose, pose_loss):
    function = build.make(compose(f"pose_loss={pose_loss}").pose_loss)
    target = torch.zeros(3, 2, 8, 8)
    target[:2, :, 2:4, 5] = torch.tensor([1.0, 0.5])
    drawn = target.amax(dim=(2, 3)) > 0
    drawn[1, 0], target[1, 0] = False, 0
    heatmaps = noise(3, 2, 2, 8, 8).requires_grad_()
    losses = function(heatmaps, target, drawn)
    losses.mean().backward()
    assert losses.shape == (3,) and losses.isfinite().all() and (losses >= 0).all() and (losses[:2] > 0).all()
    assert heatmaps.grad.isfinite().all() and heatmaps.grad[0].any()
    assert not losses.detach()[2].any(), "0 for an image that offers nothing to compare"
    assert function.to_heatmaps(heatmaps).shape == heatmaps.shape
    assert function.to_heatmaps(heatmaps).isfinite().all()


def candidates(needs, count):
    source = np.random.default_rng(1)
    columns = {
        "predicted_loss": source.normal(size=count).round(1),  # with ties
        "true_loss": source.gamma(2.0, size=count).round(1),
        "embedding": source.normal(size=(count, 4)),
        "labelled_embedding": source.normal(size=(5, 4)),
    }
    filled = {name: columns[name].astype(np.float32) for name in needs}
    for values in filled.values():
        values.flags.writeable = False
    return Candidates(tuple(f"person/{i}" for i in range(count)), **filled), filled


@every("acquisition")
def test_acquisitions_choose_distinct_known_ids_and_touch_nothing(compose, acquisition):
    function = build.make(compose(f"acquisition={acquisition}").acquisition)
    assert isinstance(function, Acquisition) and function.needs <= NEEDS
    for count, budget in ((0, 3), (1, 1), (30, 7), (6, 9)):
        pool, filled = candidates(function.needs, count)
        before = {name: values.copy() for name, values in filled.items()}
        chosen = function.select(pool, budget, np.random.default_rng(3))
        assert len(chosen) == len(set(chosen)) == min(budget, count) and set(chosen) <= set(pool.ids)
        assert chosen == function.select(pool, budget, np.random.default_rng(3))
        assert all(np.array_equal(values, before[name]) for name, values in filled.items())


@every("dataset")
def test_datasets_are_stable_tables_of_persons(compose, dataset):
    cfg = compose(f"dataset={dataset}", *FEW.get(dataset, ()))
    data = built_dataset(cfg)
    assert isinstance(data, PoseDataset)
    again = (
        data if len(data.records.ids) > 10_000 else build.instantiate_dataset(cfg.dataset)
    )  # seconds to read; smaller ones do
    table, joints = data.records, len(data.skeleton.joints)
    assert table.ids == again.records.ids and len(set(table.ids)) == len(table.ids) > 0
    assert all(isinstance(name, str) and name for name in table.ids)

    homes = {split: {table.images[row] for row in table.select_rows(split)} for split in SPLITS}
    assert all(homes.values()) and sum(map(len, homes.values())) == len(set(table.images))
    assert set(table.split[table.may_start]) == {"train"}, "only training records are labelled before round 0"

    assert table.labels.joints.shape == (len(table.ids), joints, 2) and table.labels.visible.shape == (
        len(table.ids),
        joints,
    )
    assert set(np.unique(table.labels.visible)) <= {0, 1, 2}
    assert np.array_equal(np.isnan(table.labels.joints).all(axis=2), table.labels.visible == 0)
    assert np.array_equal(np.isnan(table.labels.joints).any(axis=2), table.labels.visible == 0)
    known = table.boxes[~np.isnan(table.boxes).any(axis=1)]
    assert table.boxes.shape == (len(table.ids), 4) and (known[:, 2:] > 0).all()

    built_dataset(cfg, images=True)
    for split in SPLITS:
        row = int(table.select_rows(split)[0])
        image = data.load(row)
        assert image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3
        assert np.array_equal(image, data.load(row)) and np.array_equal(image, again.load(row))


@every("dataset")
def test_skeletons_name_left_and_right_consistently(compose, dataset):
    cfg = compose(f"dataset={dataset}", *FEW.get(dataset, ()))
    skeleton = built_dataset(cfg).skeleton
    count, flat = len(skeleton.joints), [j for pair in skeleton.flip_pairs for j in pair]
    assert len(set(skeleton.joints)) == count and len(set(flat)) == len(flat)
    assert all(0 <= j < count for pair in (*skeleton.flip_pairs, *skeleton.edges, *skeleton.torso) for j in pair)
    mirrored = [skeleton.joints[j] for j in skeleton.flip_order]
    swap = {"l": "r", "r": "l", "left": "right", "right": "left"}
    for name, other in zip(skeleton.joints, mirrored, strict=True):
        side, *rest = name.split("_")
        assert other == "_".join([swap.get(side, side), *rest])


@every("optimizer")
def test_optimisers_lower_a_loss(compose, optimizer):
    weights = torch.nn.Parameter(torch.ones(3))
    made = build.make(compose(f"optimizer={optimizer}").optimizer)([weights])
    for _ in range(5):
        made.zero_grad()
        weights.square().sum().backward()
        made.step()
    assert 0 <= float(weights.detach().square().sum()) < 3


@every("scheduler")
def test_schedules_run_over_all_steps(compose, scheduler):
    made = build.make(compose(f"scheduler={scheduler}").scheduler)
    if scheduler == "plateau":
        pytest.skip("advances with validations, not steps")
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.5)
    for steps in (1, 2, 40) if made else ():
        schedule, rates = made(optimizer, steps), []
        for _ in range(steps):
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            schedule.step()
        assert all(0 < rate <= 0.5 for rate in rates)


def test_a_plateau_lowers_the_backbones_rate_and_leaves_the_heads(compose):
    groups = [{"params": [torch.nn.Parameter(torch.ones(1))]} for _ in range(2)]
    optimizer = torch.optim.SGD(groups, lr=0.4)
    made = build.make(compose("scheduler=plateau", "scheduler.patience=1", "scheduler.min_lr=0.15").scheduler)
    schedule, rates = made(optimizer, 10), []
    for loss in [1.0, 0.5, 0.6, 0.6, 0.6, 0.6, 0.6, 0.6, 0.6, 0.6]:
        schedule.step(loss)
        rates.append(tuple(group["lr"] for group in optimizer.param_groups))
    # better once; the second bad one halves; two of cooldown, two bad ones, and the floor is reached
    assert rates == [(0.4, 0.4)] * 3 + [(0.2, 0.4)] * 4 + [(0.15, 0.4)] * 3


def test_step_decay_falls_at_its_shares_of_the_round(compose):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=1.0)
    schedule = build.make(compose("scheduler=step_decay", "scheduler.at=[0.5,0.8]").scheduler)(optimizer, 10)
    rates = []
    for _ in range(10):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates == pytest.approx([1.0] * 5 + [0.1] * 3 + [0.01] * 2)


def test_one_cycle_rises_linearly_and_falls_as_half_a_cosine(compose):
    """Ten steps with a fifth of them to rise: 1/2, 1, then from the top down to nothing after the last step."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=1.0)
    schedule = build.make(compose("scheduler=one_cycle", "scheduler.warm_up=0.2").scheduler)(optimizer, 10)
    rates = []
    for _ in range(11):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert [rates[i] for i in (0, 1, 2, 4, 6, 8, 10)] == pytest.approx(
        [0.5, 1, 1, 0.853553, 0.5, 0.146447, 0], abs=1e-6
    )


@every("trainer")
def test_trainers_are_built(compose, trainer, tmp_path):
    cfg = compose(f"trainer={trainer}")
    if cfg.trainer.accelerator == "gpu" and not torch.cuda.is_available():
        pytest.skip("no GPU here")
    settings = OmegaConf.to_container(cfg.trainer)
    settings["precision"] = trainer_setup.resolve_precision(settings["precision"], settings["accelerator"])
    made = pl.Trainer(**settings, logger=False, default_root_dir=tmp_path)
    assert made.max_epochs == cfg.trainer.max_epochs


@every("logger")
def test_loggers_are_built(compose, logger, tmp_path):
    if logger in ("tensorboard", "wandb"):
        pytest.importorskip(logger)
    cfg = compose(f"logger={logger}", f"paths.runs={tmp_path}")
    assert all(isinstance(build.make(node), pl.loggers.Logger) for node in (cfg.logger or {}).values())


@every("callbacks")
def test_callbacks_are_built(compose, callbacks):
    cfg = compose(f"callbacks={callbacks}")
    assert all(isinstance(build.make(node), pl.Callback) for node in (cfg.callbacks or {}).values())


@pytest.mark.slow
@pytest.mark.parametrize(
    "preset", [f"{group}={name}" for group in ("experiment", "debug") for name in options(group)]
)
def test_presets_compose_and_build_and_judge_images(compose, preset, tmp_path):
    compose(preset)
    few = FEW.get(HydraConfig.get().runtime.choices.dataset, ())
    cfg = compose(preset, f"paths.runs={tmp_path}", *few)
    built_dataset(cfg, images=True)
    experiment = build.build_run(cfg)
    assert experiment.directory.is_relative_to(tmp_path)
    assert experiment.trainer.make_trainer(tmp_path / "round_00", "key", True).max_epochs == cfg.trainer.max_epochs
    batch = next(
        iter(
            experiment.data.make_loaders(
                experiment.data.dataset.records.select_rows("train")[:2].tolist(), [], 0
            ).train_dataloader()
        )
    )
    with torch.no_grad():
        judged = experiment.trainer.make_module(RoundPart(0)).eval().predict_step(batch, 0)
    assert judged["predicted_loss"].shape == (2,) and judged["predicted_loss"].isfinite().all()
    assert judged["true_loss"].shape == (2,) and judged["joints"].shape == batch["joints"].shape
