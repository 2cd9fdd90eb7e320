"""Every YAML under conf/ is built and held to its contract.

A newcomer's file is found here without being named.
"""

import dataclasses
import functools
import itertools

import cv2
import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from helpers.experiments import composed
from helpers.host_waits import Waits
from helpers.project_folders import labelling_folder, make_images, open_folder, save_snapshot, split_of
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf
from torchmetrics import Metric

from llpp.acquisition.base import GRADIENT_LENGTH, NEEDS, Acquisition
from llpp.auxiliaries.base import Auxiliary
from llpp.backbones.base import Backbone
from llpp.config import build, instantiate
from llpp.config.compose import conf_dir
from llpp.config.instantiate import get_auxiliary_columns
from llpp.data.augmentation import Augmentation
from llpp.data.crop_dataset import CropDataset, CropKey, CropPipeline, Mode, to_tensors
from llpp.data.image_preparation import ImagePreparation
from llpp.data.person_crop import PersonCrop
from llpp.datasets.base import SPLITS, ImageDataset, Labels
from llpp.datasets.classes import ClassLabels
from llpp.datasets.image_folder import ImageFolder
from llpp.datasets.pose import PoseDataset, PoseLabels
from llpp.datasets.project.dataset import ProjectDataset
from llpp.datasets.synthetic.dataset import SyntheticFigures
from llpp.errors import ConfigError, DataError
from llpp.heads.base import FeatureSpec, LossHead
from llpp.objectives.base import Objective
from llpp.oracles.base import Oracle
from llpp.tasks.base import Task
from llpp.tasks.views import CHOICES
from llpp.training import trainer_setup
from llpp.training.module import RoundPart
from llpp.types import Batch, Candidates, Output, PlacedCrops, Progress

JOINTS = 14
FEW = {
    "synthetic": ("dataset.initial=6", "dataset.pool=6", "dataset.val=2", "dataset.test=2"),
    "coco": ("dataset.root=${paths.data_root}/coco_sample",),
    "project": ("dataset.root=${paths.data_root}/project",),
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
    assert isinstance(found, Output) and found.raw.isfinite().all()
    penultimate = found.features.penultimate
    assert penultimate.ndim == 4 and penultimate.shape[:2] == (2, network.penultimate_channels)
    if network.heatmap_stride is None:
        assert found.raw.shape == (2, JOINTS) and found.stride is None, "one number per class"
        assert found.features.heatmaps is None
    else:
        cells = side // network.heatmap_stride
        stacks = found.raw.shape[1]
        assert found.raw.shape == (2, stacks, JOINTS, cells, cells) and stacks >= 1
        assert found.stride == network.heatmap_stride and penultimate.shape[2:] == (cells, cells)
        assert torch.equal(found.features.heatmaps, found.raw[:, -1]), "heads see the last stack's"
    assert set(found.features.pyramid) == set(network.feature_channels)
    for stride, channels in network.feature_channels.items():
        assert found.features.pyramid[stride].shape == (2, channels, side // stride, side // stride)


@pytest.mark.slow
@every("backbone")
@every("head")
def test_heads_give_one_finite_number_per_image(compose, head, backbone):
    cfg = compose(f"head={head}", f"backbone={backbone}")
    network, side = network_and_side(cfg)
    heatmaps = 0 if network.heatmap_stride is None else JOINTS
    spec = FeatureSpec(network.feature_channels, network.penultimate_channels, side, heatmaps)
    try:
        loss_head = build.make(cfg.head)(spec=spec)
    except ConfigError as error:
        assert heatmaps == 0 and "backbone=hourglass" in str(error), "only a head that reads heatmaps may refuse"
        return
    assert isinstance(loss_head, LossHead)
    for batch in (1, 3):
        predicted = loss_head(network.eval()(noise(batch, 3, side, side)).features)
        assert predicted.shape == (batch,) and predicted.isfinite().all()
    predicted.sum().backward()
    assert any(p.grad is not None and p.grad.any() for p in loss_head.parameters())


@every("auxiliary")
def test_auxiliaries_learn_from_a_batch_and_give_their_columns_for_each_image(compose, auxiliary, samples):
    sample = samples("pose")
    cfg = compose(f"auxiliary={auxiliary}", f"crop.size={sample.batch['image'].shape[1]}")
    part = instantiate.make_auxiliary(cfg, sample.backbone, sample.task.dataset.records.labels)
    assert isinstance(part, Auxiliary) and part.columns and not part.columns & (NEEDS | sample.task.columns)
    part.compute_loss(sample.output.features, sample.batch).backward()
    assert all(p.grad.isfinite().all() for p in part.parameters()) and any(p.grad.any() for p in part.parameters())
    predictions = sample.predict()
    with torch.no_grad():
        columns = part.compute_columns(sample.output.features, predictions)
        alone = part.compute_columns(sample.output.take_first(1).features, take(predictions, slice(1)))
    assert set(columns) == part.columns == get_auxiliary_columns(cfg)
    for name, values in columns.items():
        assert len(values) == len(KEYS) and values.isfinite().all()
        torch.testing.assert_close(alone[name], values[:1], msg="images do not mix")


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


def offered_shapes(samples):
    """What the tasks of conf/task predict: name → shape of one image's prediction."""
    shapes = {}
    for name in options("task"):
        for column, values in {
            **samples(name).predict(),
            **samples(name).compute_columns(),
            **samples(name).measure_spread(),
        }.items():
            shapes[column] = shapes[f"labelled_{column}"] = shapes[f"target_{column}"] = values.shape[1:]
    for name in options("auxiliary"):
        shapes |= dict.fromkeys(get_auxiliary_columns(composed(f"auxiliary={name}")), ())
    shapes[GRADIENT_LENGTH] = ()
    return shapes


def candidates(needs, count, shapes):
    source = np.random.default_rng(1)
    general = {
        "predicted_loss": source.normal(size=count).round(1),  # with ties
        "true_loss": source.gamma(2.0, size=count).round(1),
        "embedding": source.normal(size=(count, 4)),
        "labelled_embedding": source.normal(size=(5, 4)),
        "labelled_true_loss": source.gamma(2.0, size=5),
        "target_embedding": source.normal(size=(5, 4)),
        "target_predicted_loss": source.normal(size=5),
    }
    filled, columns = {}, {}
    progress = Progress(round=1, rounds=4, labelled=5, competence=0.4) if "progress" in needs else None
    for name in sorted(needs - {"progress"}):
        if name in general:
            filled[name] = general[name].astype(np.float32)
        else:
            length = 5 if name.startswith(("labelled_", "target_")) else count
            columns[name] = source.random((length, *shapes[name])).round(1).astype(np.float32)
    arrays = {**filled, **columns}
    for values in arrays.values():
        values.flags.writeable = False
    ids = tuple(f"person/{i}" for i in range(count))
    return Candidates(ids, **filled, columns=columns, progress=progress), arrays


@every("acquisition")
def test_acquisitions_choose_distinct_known_ids_and_touch_nothing(compose, acquisition, samples):
    function = build.make(compose(f"acquisition={acquisition}").acquisition)
    shapes = offered_shapes(samples)
    assert isinstance(function, Acquisition) and function.needs <= NEEDS | set(shapes)
    for count, budget in ((0, 3), (1, 1), (30, 7), (6, 9)):
        pool, filled = candidates(function.needs, count, shapes)
        before = {name: values.copy() for name, values in filled.items()}
        chosen = function.select(pool, budget, np.random.default_rng(3))
        assert len(chosen) == len(set(chosen)) == min(budget, count) and set(chosen) <= set(pool.ids)
        assert chosen == function.select(pool, budget, np.random.default_rng(3))
        assert all(np.array_equal(values, before[name]) for name, values in filled.items())


@pytest.mark.slow
@every("dataset")
def test_datasets_are_stable_tables_of_records(compose, dataset):
    cfg = compose(f"dataset={dataset}", *FEW.get(dataset, ()))
    data = built_dataset(cfg)
    assert isinstance(data, ImageDataset) and data.name
    # Large ones take seconds to read; smaller ones do as well.
    again = data if len(data.records.ids) > 10_000 else build.instantiate_dataset(cfg.dataset)
    table, count = data.records, len(data.records.ids)
    assert table.ids == again.records.ids and len(set(table.ids)) == count > 0
    assert all(isinstance(name, str) and name for name in table.ids)

    for places in (table.images, table.group):
        homes = {split: {places[row] for row in table.select_rows(split)} for split in SPLITS}
        assert all(homes.values()) and sum(map(len, homes.values())) == len(set(places))
    assert set(table.split[table.may_start]) == {"train"}, "only training records are labelled before round 0"

    labels = table.labels
    assert isinstance(labels, Labels) and labels.outputs > 0 and labels.missing.startswith("no ")
    assert labels.is_labelled.shape == (count,) and labels.is_labelled.dtype == np.bool_ and labels.is_labelled.any()
    assert labels.arrays and all(len(array) == count for array in labels.arrays)
    for array, other in zip(labels.arrays, again.records.labels.arrays, strict=True):
        assert np.array_equal(array, other, equal_nan=array.dtype.kind == "f")
    known = table.boxes[~np.isnan(table.boxes).any(axis=1)]
    assert table.boxes.shape == (count, 4) and (known[:, 2:] > 0).all()
    if isinstance(labels, PoseLabels):
        check_pose_labels(labels, count)
        assert isinstance(data, PoseDataset) and data.skeleton == labels.skeleton
    elif isinstance(labels, ClassLabels):
        check_class_labels(labels, count)

    built_dataset(cfg, images=True)
    for split in SPLITS:
        row = int(table.select_rows(split)[0])
        image = data.load(row)
        assert image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3
        assert np.array_equal(image, data.load(row)) and np.array_equal(image, again.load(row))


def check_pose_labels(labels, count):
    """Joints of `count` persons: unknown coordinates wherever, and only where, a joint is not labelled."""
    joints = len(labels.skeleton.joints)
    assert labels.joints.shape == (count, joints, 2) and labels.visible.shape == (count, joints)
    assert set(np.unique(labels.visible)) <= {0, 1, 2}
    assert np.array_equal(np.isnan(labels.joints).all(axis=2), labels.visible == 0)
    assert np.array_equal(np.isnan(labels.joints).any(axis=2), labels.visible == 0)


def check_class_labels(labels, count):
    """One class of each of `count` images, and no class without an image."""
    assert labels.index.shape == (count,) and labels.index.dtype == np.int64
    assert len(set(labels.classes)) == len(labels.classes) >= 2 and all(labels.classes)
    assert set(labels.index[labels.is_labelled].tolist()) == set(range(len(labels.classes)))


@every("dataset")
def test_skeletons_name_left_and_right_consistently(compose, dataset):
    cfg = compose(f"dataset={dataset}", *FEW.get(dataset, ()))
    data = built_dataset(cfg)
    if not isinstance(data, PoseDataset):
        pytest.skip("has no skeleton")
    skeleton = data.skeleton
    count, flat = len(skeleton.joints), [j for pair in skeleton.flip_pairs for j in pair]
    assert len(set(skeleton.joints)) == count and len(set(flat)) == len(flat)
    assert not skeleton.unpaired
    assert all(0 <= j < count for pair in (*skeleton.flip_pairs, *skeleton.edges, *skeleton.torso) for j in pair)
    mirrored = [skeleton.joints[j] for j in skeleton.flip_order]
    swap = {"l": "r", "r": "l", "left": "right", "right": "left"}
    for name, other in zip(skeleton.joints, mirrored, strict=True):
        side, *rest = name.split("_")
        assert other == "_".join([swap.get(side, side), *rest])


KEYS = [
    CropKey(0, Mode.TRAIN), CropKey(1, Mode.TRAIN, epoch=1), CropKey(0), CropKey(2), CropKey(3), CropKey(4),
    CropKey(1, Mode.IDLE), CropKey(5, Mode.IDLE),
]  # fmt: skip
IDLE = torch.tensor([key.mode is Mode.IDLE for key in KEYS])
ACTIVE = ~IDLE


@dataclasses.dataclass(frozen=True)
class Sample:
    """A task on a small dataset of its kind, and what a network says about eight crops."""

    task: Task
    batch: Batch
    output: Output
    others: list[ImageDataset]  # small datasets of another kind
    strangers: list[Backbone]  # backbones of another kind
    backbone: Backbone  # that it is the output of

    def predict(self):
        """Predictions as a scoring pass makes them."""
        return self.task.predict(self.output, self.see_views())

    def compute_columns(self):
        """Everything that the task computes on request."""
        return self.task.compute_columns(self.task.extra_columns, self.output, self.see_views())

    def see_views(self, count=None):
        """The outputs for all views of the first crops: here they are those of the crops themselves."""
        names = self.task.extra_columns
        return {view: self.output.raw[:count] for view in self.task.list_views(names)}

    def measure_spread(self):
        """What it says about several passes."""
        return self.task.measure_spread([self.output, self.output])


@pytest.fixture(scope="module")
def datasets(tmp_path_factory):
    """A small dataset of each kind of labels; a new kind has to be added here."""
    return figures(), image_folder(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="module")
def samples(datasets):
    """`samples("pose")` → the sample of conf/task/pose.yaml."""
    return functools.cache(functools.partial(build_sample, datasets=datasets))


def figures():
    return SyntheticFigures(initial=8, pool=4, val=2, test=2, size=48)


def image_folder(root):
    """Sixteen images of two classes."""
    source = np.random.default_rng(0)
    for name, level in (("cat", 40), ("dog", 180)):
        (root / name).mkdir()
        for number in range(8):
            image = source.integers(level, level + 60, (40, 56, 3), dtype=np.uint8)
            cv2.imwrite(str(root / name / f"{number}.png"), image)
    return ImageFolder(str(root), val=2, test=4)


def make_task(name, dataset):
    cfg = composed(f"task={name}")
    node = OmegaConf.to_container(cfg.task, resolve=True)
    return instantiate.make_task(OmegaConf.create({"task": node}), dataset)


def build_sample(name, datasets):
    fitting, others = {}, []
    for dataset in datasets:
        try:
            fitting[dataset.name] = make_task(name, dataset)
        except ConfigError:
            others.append(dataset)
    assert fitting, f"no small dataset has labels for task={name}; add one to the fixture `datasets`"
    task = next(iter(fitting.values()))

    networks, strangers = [], []
    for choice in options("backbone"):
        cfg = composed(f"backbone={choice}")
        network = build.make(cfg.backbone, outputs=task.dataset.records.labels.outputs)
        try:
            task.check_backbone(network)
            networks.append(network)
        except ConfigError:
            strangers.append(network)
    assert networks, f"no backbone of conf/backbone is of the kind that task={name} accepts"
    smallest = min(networks, key=lambda network: sum(p.numel() for p in network.parameters())).eval()
    side = -(-64 // smallest.size_multiple) * smallest.size_multiple

    augmentation = Augmentation(rotation=20.0, scale=0.2, shift=0.05, flip=0.5)
    crops = CropDataset(task.dataset, task, CropPipeline(PersonCrop(side), augmentation), seed=0, round_number=0)
    batch = to_tensors(crops.__getitems__(KEYS))
    with torch.no_grad():
        output = smallest(smallest.normalise(ImagePreparation(side).prepare(batch, training=False)))
    return Sample(task, batch, output, others, strangers, smallest)


def take(values, rows):
    return {name: column[rows] for name, column in values.items()}


def measure(task, *parts):
    """The summary of a measure over some batches and their predictions."""
    metric = task.make_metric()
    for predictions, batch in parts:
        task.update_metric(metric, predictions, batch)
    return task.summarise_metric(metric)


def check_equal(one, other):
    assert list(one) == list(other)
    for name, value in one.items():
        torch.testing.assert_close(value, other[name], equal_nan=True, msg=name)


def same_arrays(some, others):
    pairs = list(zip(some, others, strict=True))
    return all(np.array_equal(one, other, equal_nan=one.dtype.kind == "f") for one, other in pairs)


@every("task")
def test_tasks_name_what_they_measure_and_show(task, samples):
    made = samples(task).task
    assert isinstance(made, Task) and made.name == task
    assert made.loss_name.isidentifier() and made.metric_name.isidentifier(), "columns of tables and logs"
    for words in (made.metric_title, made.part_word, made.record_word):
        assert words and words == words.strip() and "\n" not in words
    assert all(isinstance(part, str) and part for part in made.part_names)
    assert made.shown <= made.offers and set(made.free_rankers) <= made.offers
    assert not made.columns & (NEEDS | {"id", "row", "quality"})
    assert set(made.column_views) <= made.extra_columns and not made.extra_columns & made.offers
    assert made.chosen_views == "none" and set(made.known_views) <= set(CHOICES)
    count = len(made.dataset.records.ids)
    assert made.label_arrays and all(len(array) == count for array in made.label_arrays)
    assert (made.normaliser is None) == (made.normaliser_source is None)
    assert made.normaliser is None or made.normaliser.shape == (count,)


@every("task")
def test_tasks_refuse_other_labels_and_backbones_in_one_sentence(task, samples):
    sample = samples(task)
    assert sample.others and sample.strangers
    for dataset in sample.others:
        with pytest.raises(ConfigError) as refused:
            make_task(task, dataset)
        assert "\n" not in str(refused.value) and f"task={task}" in str(refused.value)
        assert dataset.name in str(refused.value)
    for network in sample.strangers:
        with pytest.raises(ConfigError) as refused:
            sample.task.check_backbone(network)
        assert "\n" not in str(refused.value) and f"task={task}" in str(refused.value)


@every("task")
def test_labels_of_crops_are_made_on_their_device_and_leave_the_dataset_as_it_is(task, samples):
    made, count = samples(task).task, len(KEYS)
    before = [array.copy() for array in made.label_arrays]
    rows = torch.tensor([key.row for key in KEYS])
    matrices = torch.tensor([[2.0, 0, 3], [0, 2, 1], [0, 0, 1]], dtype=torch.float64).repeat(count, 1, 1)
    for flipped in (torch.zeros(count, dtype=torch.bool), torch.ones(count, dtype=torch.bool)):
        with Waits() as waits:
            labels = made.crop_labels(PlacedCrops(rows, matrices, flipped, IDLE))
        assert waits.found == {}
        assert labels and not set(labels) & {"row", "matrix", "image", "warp"}
        assert all(values.shape[0] == count for values in labels.values())
    assert same_arrays(made.label_arrays, before)


@every("task")
def test_task_losses_are_one_finite_number_per_image_and_idle_crops_have_no_target(task, samples):
    made, batch, output = samples(task).task, samples(task).batch, samples(task).output
    raw = output.raw.clone().requires_grad_()
    losses, has_target = made.compute_losses(dataclasses.replace(output, raw=raw), batch)
    assert losses.shape == has_target.shape == (len(KEYS),) and has_target.dtype == torch.bool
    assert losses.isfinite().all() and (losses >= 0).all()
    assert torch.equal(has_target, ACTIVE), "every figure and image has a label"
    losses.mean().backward()
    assert raw.grad.isfinite().all() and raw.grad[0].any()
    first, _ = made.compute_losses(output.take_first(2), take(batch, slice(2)))
    torch.testing.assert_close(first, losses.detach()[:2], msg="images do not mix")


@every("task")
def test_predictions_are_what_a_task_offers_for_each_image(task, samples):
    made, output = samples(task).task, samples(task).output
    for choice in made.known_views:
        made.use_views(choice)
        predictions = samples(task).predict()
        assert set(predictions) == made.offers
        first = made.predict(output.take_first(2), samples(task).see_views(2))
        for name, values in predictions.items():
            assert len(values) == len(KEYS) and values.isfinite().all()
            torch.testing.assert_close(first[name], values[:2], msg="images do not mix")
    made.use_views("none")


@every("task")
def test_columns_that_an_acquisition_asks_for_are_one_finite_value_or_more_per_image(task, samples):
    made, output = samples(task).task, samples(task).output
    columns = samples(task).compute_columns()
    assert set(columns) == made.extra_columns
    for name, values in columns.items():
        views = samples(task).see_views(2)
        needed = {view: views[view] for view in made.list_views(frozenset({name}))}
        (alone,) = made.compute_columns(frozenset({name}), output.take_first(2), needed).values()
        assert len(values) == len(KEYS) and values.isfinite().all()
        torch.testing.assert_close(alone, values[:2], msg="images do not mix, nor do columns")
    assert made.compute_columns(frozenset(), output) == {}


@every("task")
def test_passes_that_agree_have_no_spread(task, samples):
    made, output = samples(task).task, samples(task).output
    spread = samples(task).measure_spread()
    assert set(spread) == made.dropout_columns and not made.dropout_columns & (made.extra_columns | made.offers)
    others = dataclasses.replace(output, raw=output.raw.flip(0))
    disagreeing = made.measure_spread(iter([output, others]))
    for name, values in spread.items():
        assert values.shape == (len(KEYS),) and values.tolist() == pytest.approx([0] * len(KEYS), abs=1e-5)
        assert (disagreeing[name] >= 0).all() and disagreeing[name].sum() > 0


@every("task")
def test_quality_is_between_0_and_1_and_unknown_for_idle_crops(task, samples):
    made = samples(task).task
    quality = made.compute_quality(samples(task).predict(), samples(task).batch)
    assert quality.shape == (len(KEYS),) and quality.is_floating_point()
    assert ((quality[ACTIVE] >= 0) & (quality[ACTIVE] <= 1)).all() and quality[IDLE].isnan().all()


@every("task")
def test_a_measure_adds_up_over_batches_and_ranks_and_leaves_idle_crops_out(task, samples):
    made, batch, predictions = samples(task).task, samples(task).batch, samples(task).predict()
    whole = measure(made, (predictions, batch))
    assert next(iter(whole)) == made.metric_name and whole[made.metric_name].isfinite()
    assert all(value.numel() == 1 for value in whole.values())
    assert {f"{made.metric_name}_{part}" for part in made.part_names} <= set(whole)

    halves = [(take(predictions, rows), take(batch, rows)) for rows in (slice(4), slice(4, None))]
    check_equal(measure(made, *halves), whole)
    check_equal(measure(made, *reversed(halves)), whole)
    first, second = made.make_metric(), made.make_metric()
    made.update_metric(first, *halves[0])
    made.update_metric(second, *halves[1])
    for one, other in zip(list_metrics(first), list_metrics(second), strict=True):
        one.merge_state(other)  # what ranks do
    check_equal(made.summarise_metric(first), whole)
    check_equal(measure(made, (take(predictions, ACTIVE), take(batch, ACTIVE))), whole)


@every("task")
def test_a_measure_of_nothing_is_undefined_and_not_bad(task, samples):
    made = samples(task).task
    nothing = measure(made, (take(samples(task).predict(), IDLE), take(samples(task).batch, IDLE)))
    for name in (made.metric_name, *(f"{made.metric_name}_{part}" for part in made.part_names)):
        assert nothing[name].isnan(), name


def list_metrics(metric):
    return [metric] if isinstance(metric, Metric) else list(metric.values(copy_state=False))


@every("task")
def test_predictions_are_drawn_described_and_presented(task, samples):
    made, batch = samples(task).task, samples(task).batch
    columns = {name: values.numpy() for name, values in samples(task).predict().items()}
    mapped = made.map_to_image(columns, batch["matrix"].numpy().astype(np.float64))
    assert set(mapped) == made.offers
    for place, key in enumerate(KEYS):
        image = made.dataset.load(key.row)
        before = image.copy()
        # As a report reads them: 32-bit numbers, or flat lists of them.
        prediction = {}
        for name in made.shown:
            prediction[name] = mapped[name].astype(np.float32).reshape(len(KEYS), -1).squeeze()[place]
        drawn = made.draw(image, key.row, prediction)
        assert drawn.dtype == np.uint8 and drawn.ndim == 3 and drawn.shape[2] == 3
        assert np.array_equal(image, before)
        assert isinstance(made.describe(key.row, prediction), str)
        check_shown(made, made.show(image, key.row, prediction))
        assert np.array_equal(image, before)
        presented = made.present({name: mapped[name][place] for name in made.offers})
        assert presented and all(name.isidentifier() for name in presented)


def check_shown(task, shown):
    """A picture has the layers, joints and words that the task has announced, and no others."""
    parts = task.describe_pictures()
    joints = len(parts.skeleton.joints)
    assert shown.pixels.dtype == np.uint8 and shown.pixels.ndim == 3 and shown.pixels.shape[2] == 3
    assert set(shown.layers) == {layer.key for layer in parts.layers}
    assert all(points.shape == (joints, 2) for points in shown.layers.values())
    assert (shown.joint_values is None) == (parts.joint_value is None)
    assert shown.joint_values is None or shown.joint_values.shape == (joints,)
    assert set(shown.words) == {word.key for word in parts.words}


@every("task")
def test_labels_are_described_tabulated_and_drawn(task, samples):
    made = samples(task).task
    for words in (made.describe_metric(made.dataset.records.select_rows("test")), made.describe_labels()):
        assert words and "\n" not in words and words == words.strip()
    assert all(line and "\n" not in line for line in made.describe_crops(1.25))
    listings = made.tabulate_labels()
    assert listings
    for listing in listings:
        assert listing.title and listing.rows
        for row in listing.rows:
            assert len(row) == len(listing.columns) and all(isinstance(cell, str) for cell in row)
    for colour, meaning in made.explain_colours():
        assert len(colour) == 3 and all(0 <= level <= 255 for level in colour) and meaning
    tile = np.full((192, 192, 3), 128, dtype=np.uint8)
    for symbol in made.list_symbols():
        before = tile.copy()
        symbol.draw(tile, np.array([20.0, 20.0]))
        assert symbol.text and symbol.width > 0 and not np.array_equal(tile, before)
    before = tile.copy()
    made.draw_label(tile, 0, np.diag([4.0, 4.0, 1.0]))
    assert tile.dtype == np.uint8 and tile.shape == (192, 192, 3) and not np.array_equal(tile, before)


def make_asked_project(folder):
    """A project of eight images, two of them labelled for training, in the middle of a round."""
    root = folder / "mice"
    make_images(root, 8)
    _, index, _ = open_folder(root)
    joints = {"nose": (10.0, 12.0, 2), "tail": (20.0, 30.0, 1)}
    train = [image for image, is_test in split_of(index).items() if not is_test]
    labelled = [(image, image, "labelled", joints, None) for image in train[:3]]
    snapshot = save_snapshot(folder / "labels.parquet", labelled, budget=2)
    return ProjectDataset(str(root), str(labelling_folder(root).path), snapshot=str(snapshot))


@pytest.mark.slow
@every("oracle")
def test_oracles_are_asked_and_say_what_they_know(compose, oracle, datasets, tmp_path):
    cfg = compose(f"oracle={oracle}")
    if "tool" in cfg.oracle:
        # People are asked about nothing but their own images.
        with pytest.raises(ConfigError, match="dataset=project"):
            build.make(cfg.oracle)(dataset=datasets[0])
        datasets = [make_asked_project(tmp_path)]
    for dataset in datasets:
        made = build.make(cfg.oracle)(dataset=dataset)
        assert isinstance(made, Oracle) and isinstance(made.knows_pool, bool)
        train = dataset.records.select_rows("train")
        assert made.check(train) is None, "everything is labelled, or can be"

        before = [array.copy() for array in dataset.records.labels.arrays]
        asked = list(dataset.records.ids.take(train[:3]))
        known = made.find_answered(asked)
        assert made.ask(asked) is None
        answered = made.find_answered(asked)
        assert answered.shape == (3,) and answered.dtype == np.bool_
        assert (answered | ~known).all(), "what was known stays known"
        made.ask(asked)
        assert np.array_equal(made.find_answered(asked), answered), "asking again changes nothing"
        assert np.array_equal(made.find_answered(asked[::-1]), answered[::-1])
        made.ask([])
        assert made.find_answered([]).shape == (0,)
        assert same_arrays(dataset.records.labels.arrays, before)


@every("oracle")
def test_oracles_accept_unlabelled_records_or_refuse_them_in_one_sentence(compose, oracle, tmp_path):
    if "tool" in compose(f"oracle={oracle}").oracle:
        dataset = make_asked_project(tmp_path)
        made = build.make(compose(f"oracle={oracle}").oracle)(dataset=dataset)
        train = dataset.records.select_rows("train")
        assert made.check(train) is None and not dataset.records.labels.is_labelled[train].all()
        return
    dataset = figures()
    visible, joints = dataset.records.labels.visible.copy(), dataset.records.labels.joints.copy()
    visible[[1, 9]], joints[[1, 9]] = 0, np.nan
    labels = dataclasses.replace(dataset.records.labels, visible=visible, joints=joints)
    dataset.records = dataclasses.replace(dataset.records, labels=labels)
    made = build.make(compose(f"oracle={oracle}").oracle)(dataset=dataset)
    train = dataset.records.select_rows("train")
    try:
        made.check(train)
    except ConfigError as error:
        assert "\n" not in str(error)
    made.check(np.setdiff1d(train, [1, 9]))
    made.check(np.zeros(0, dtype=np.int64))


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
    if cfg.trainer.accelerator == "gpu" and torch.cuda.device_count() < cfg.trainer.devices:
        pytest.skip(f"fewer GPUs here than {cfg.trainer.devices}")
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
    assert judged["true_loss"].shape == judged["quality"].shape == (2,)
    task = experiment.data.task
    assert task.offers <= set(judged) and all(len(judged[name]) == 2 for name in task.offers)
    if "joints" in batch:
        assert judged["joints"].shape == batch["joints"].shape
