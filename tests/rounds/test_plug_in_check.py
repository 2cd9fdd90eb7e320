"""A plug-in that breaks its contract is named before training, with what it gave and what was expected."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.experiments import FIGURES, config

from llpp.acquisition.base import Acquisition
from llpp.acquisition.random import RandomAcquisition
from llpp.auxiliaries.link_lengths import LinkLengthsAuxiliary
from llpp.backbones.hourglass import StackedHourglass
from llpp.config import build
from llpp.data.person_crop import PersonCrop
from llpp.datasets.synthetic.dataset import SyntheticFigures
from llpp.errors import ConfigError
from llpp.heads.base import LossHead
from llpp.objectives.base import Objective
from llpp.oracles.simulated import SimulatedOracle
from llpp.rounds import plug_in_check
from llpp.tasks.base import Task
from llpp.tasks.pose.task import PoseTask
from llpp.training.module import RoundPart


class Head(LossHead):
    """A sound head, from which the faulty ones derive."""

    def __init__(self, spec):
        super().__init__()
        self.fc = torch.nn.Linear(spec.penultimate, 1)

    def predict(self, features):
        return self.fc(features.penultimate.mean(dim=(2, 3)))

    def forward(self, features):
        return self.predict(features).squeeze(1)


class ColumnHead(Head):
    def forward(self, features):
        return self.predict(features)


class SqueezingHead(Head):
    def forward(self, features):
        return self.predict(features).squeeze()


class ListHead(Head):
    def forward(self, features):
        return self.predict(features).squeeze(1).tolist()


class CutOffHead(Head):
    def forward(self, features):
        return self.predict(features).squeeze(1).detach()


class FailingHead(Head):
    def forward(self, features):
        return self.fc(features.penultimate.flatten(1)).squeeze(1)


HEADS = {
    ColumnHead: "returned (3, 1), expected (3,) (one predicted loss per image); fix its forward()",
    SqueezingHead: "returned (), expected (1,) (one predicted loss for a batch of one image); fix its forward()",
    ListHead: "returned a list, expected (3,) (one predicted loss per image); fix its forward()",
    CutOffHead: "returned a tensor without gradient, expected one that its weights can learn from; fix its forward()",
    FailingHead: "failed in forward(): RuntimeError: mat1 and mat2 shapes cannot be multiplied",
}


class PerImage(Objective):
    def forward(self, predicted, target):
        return (predicted - target).square()


class PlainNumber(Objective):
    def forward(self, predicted, target):
        return (predicted - target).square().mean().item()


class Untrainable(Objective):
    def forward(self, predicted, target):
        return (predicted.detach() - target).square().mean()


class Ignorant(Objective):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(()))

    def forward(self, predicted, target):
        return self.weight * target.mean()


class Infinite(Objective):
    def forward(self, predicted, target):
        return (predicted / (target - target)).sum()


OBJECTIVES = {
    PerImage: "returned (3,), expected () (a scalar); fix its forward()",
    PlainNumber: "returned a float, expected () (a scalar); fix its forward()",
    Untrainable: "returned a scalar without gradient, expected one that the head learns from; fix its forward()",
    Ignorant: "returned a scalar that ignores `predicted`, expected one that uses it; fix its forward()",
    Infinite: "expected a finite value and gradient; fix its forward()",
}


class RawBackbone(StackedHourglass):
    def forward(self, image):
        return super().forward(image).raw


class OneStackBackbone(StackedHourglass):
    def forward(self, image):
        output = super().forward(image)
        return replace(output, raw=output.raw[:, 0])


class WiderBackbone(StackedHourglass):
    def __init__(self, **settings):
        super().__init__(**settings)
        self.feature_channels = {stride: 2 * channels for stride, channels in self.feature_channels.items()}


class ForgetfulBackbone(StackedHourglass):
    def forward(self, image):
        output = super().forward(image)
        finest = min(output.features.pyramid)
        pyramid = {finest: output.features.pyramid[finest]}
        return replace(output, features=replace(output.features, pyramid=pyramid))


class AllStacksBackbone(StackedHourglass):
    def forward(self, image):
        output = super().forward(image)
        return replace(output, features=replace(output.features, heatmaps=output.raw))


class SilentBackbone(StackedHourglass):
    def __init__(self, **settings):
        super().__init__(**settings)
        del self.feature_channels


# images of 32 pixels, 14 joints, heatmaps at stride 4, 8 channels
BACKBONES = {
    RawBackbone: "returned (3, 1, 14, 8, 8), expected an Output; fix its forward()",
    OneStackBackbone: "returned raw (3, 14, 8, 8), expected (3, 1, 14, 8, 8) (images, stacks, outputs,",
    WiderBackbone: "returned features.pyramid[4] (3, 8, 8, 8), expected (3, 16, 8, 8); fix its forward()",
    ForgetfulBackbone: "returned features at strides [4], expected [4, 8, 16, 32], as in its feature_channels",
    AllStacksBackbone: "returned features.heatmaps (3, 1, 14, 8, 8), expected (3, 14, 8, 8) (those of the last stack",
    SilentBackbone: "publishes no feature_channels; set self.feature_channels in __init__",
}


class RowsAcquisition(Acquisition):
    def select(self, candidates, budget, rng):
        return np.arange(budget)


class LazyAcquisition(Acquisition):
    def select(self, candidates, budget, rng):
        return (candidates.ids[row] for row in range(budget))


class MissingColumn(Acquisition):
    def select(self, candidates, budget, rng):
        return [candidates.ids[row] for row in candidates.predicted_loss.argsort()[:budget]]


class ChangingAcquisition(Acquisition):
    needs = frozenset({"predicted_loss"})

    def select(self, candidates, budget, rng):
        candidates.predicted_loss[0] = 0
        return list(candidates.ids)[:budget]


class ListOfNeeds(Acquisition):
    needs = ("predicted_loss",)

    def select(self, candidates, budget, rng):
        return list(candidates.ids)[:budget]


class AimlessAcquisition(LazyAcquisition):
    needs = frozenset({"target_pose"})


ACQUISITIONS = {
    AimlessAcquisition: "needs target_pose and has no file that says of which images; set its target_file to one",
    RowsAcquisition: "selected np.int64(0), a int64; expected a list of 6 ids such as 'synthetic/pool-00000'",
    LazyAcquisition: "selected a generator; expected a list of 6 ids such as 'synthetic/pool-00000'",
    MissingColumn: "failed in select(): AttributeError: 'NoneType' object has no attribute 'argsort'",
    ChangingAcquisition: "returned candidates with another predicted_loss, expected them to stay as they are",
    ListOfNeeds: "has needs=('predicted_loss',), expected a set of names, as in frozenset({\"predicted_loss\"})",
}


class FloatFigures(SyntheticFigures):
    def load(self, row):
        return super().load(row) / 255


class GreyFigures(SyntheticFigures):
    def load(self, row):
        return super().load(row)[..., 0]


class OtherSplit(SyntheticFigures):
    def __init__(self, **settings):
        super().__init__(**settings)
        split = np.where(self.records.split == "val", "valid", self.records.split)
        self.records = replace(self.records, split=split)


class Corners(SyntheticFigures):
    def __init__(self, **settings):
        super().__init__(**settings)
        self.records = replace(self.records, boxes=self.records.boxes[:, :2])


class Recordless(SyntheticFigures):
    def __init__(self, **settings):
        super().__init__(**settings)
        del self.records


# 12 + 24 + 4 + 8 figures of 48 pixels
DATASETS = {
    FloatFigures: "load(0) returned float64 of shape (48, 48, 3), expected uint8 of shape (H, W, 3), RGB",
    GreyFigures: "load(0) returned uint8 of shape (48, 48), expected uint8 of shape (H, W, 3), RGB",
    OtherSplit: "has 'valid' in records.split, expected train, val, test",
    Corners: "has float32 of shape (48, 2) as records.boxes, expected an array of floats of shape (48, 4)",
    Recordless: "has no records; set self.records to a Records",
}


class MeanLoss(PoseTask):
    def compute_losses(self, output, batch):
        losses, known = super().compute_losses(output, batch)
        return losses.mean(), known


class Unoffered(PoseTask):
    offers = frozenset({"joints", "confidence", "depth"})


class Unranked(PoseTask):
    free_rankers = ("confidence", "margin")


class Columnless(PoseTask):
    def compute_columns(self, names, output, views):
        return {}


class ArrayLabels(PoseTask):
    def crop_labels(self, crops):
        labels = super().crop_labels(crops)
        return {**labels, "joints": labels["joints"].numpy()}


class Spreadless(PoseTask):
    def measure_spread(self, outputs):
        return {}


TASKS = {
    ArrayLabels: "returned joints as an array of float32 (3, 14, 2), expected a tensor (3, …) on the device of the "
    "crops; fix its crop_labels()",
    Columnless: "returned [], expected ['flip_distance', 'found_peak_entropy', 'heatmap_entropy', "
    "'joint_confidence', 'joints_found', 'pose', 'stack_disagreement', 'top_peak_entropy', 'view_distance'], its "
    "extra_columns; fix its compute_columns()",
    Spreadless: "returned [], expected ['dropout_disagreement'], its dropout_columns; fix its measure_spread()",
    MeanLoss: "returned losses (), expected (3,); fix its compute_losses()",
    Unoffered: "returned ['confidence', 'distinctness', 'joints'], expected depth too, as in its offers; fix its "
    "predict()",
    Unranked: "returned margin a NoneType, expected (3,), one number per image of its free_rankers; fix its "
    "predict()",
}


class CountingOracle(SimulatedOracle):
    def find_answered(self, ids):
        return len(ids)


ORACLES = {CountingOracle: "returned a int, expected an array of bools (3,); fix its find_answered()"}
GROUPS = {
    "head": HEADS, "objective": OBJECTIVES, "backbone": BACKBONES, "acquisition": ACQUISITIONS, "dataset": DATASETS,
    "task": TASKS, "oracle": ORACLES,
}  # fmt: skip
CASES = [(group, part, sentence) for group, parts in GROUPS.items() for part, sentence in parts.items()]


@pytest.mark.parametrize(("group", "part", "sentence"), CASES, ids=[part.__name__ for _, part, _ in CASES])
def test_a_plug_in_that_breaks_its_contract_is_named(group, part, sentence, tmp_path):
    cfg = config(tmp_path, "objective=mse", "acquisition=random", dataset=FIGURES)
    target = f"{__name__}.{part.__name__}"
    if group == "head":
        cfg.head = {"_target_": target, "_partial_": True}
    else:
        cfg[group]["_target_"] = target
    with pytest.raises(ConfigError) as refused:
        build.build_run(cfg)
    text = str(refused.value)
    assert text.startswith(f"{group} ") and part.__name__ in text and sentence in text and "\n" not in text
    assert not list(tmp_path.iterdir())


class Unturnable(PoseTask):
    turn_labels = Task.turn_labels


class TurningLess(PoseTask):
    def turn_labels(self, batch, quarters, size):
        return {**batch, "joints": batch["joints"][quarters > 0]}


@pytest.mark.parametrize(
    ("task", "sentence"),
    [(Unturnable, "has no turn_labels(); set head.turned=false"), (TurningLess, "failed in turn_labels(): ")],
)
def test_labels_that_cannot_be_turned_end_the_run_before_it_begins(task, sentence, tmp_path):
    cfg = config(tmp_path, "head=heatmap_conv", dataset=FIGURES)
    cfg.task._target_ = f"{__name__}.{task.__name__}"
    with pytest.raises(ConfigError) as refused:
        build.build_run(cfg)
    assert task.__name__ in str(refused.value) and sentence in str(refused.value)
    cfg.head.turned = False
    build.build_run(cfg)


def test_the_line_of_the_users_file_is_given_where_a_plug_in_fails(tmp_path):
    cfg = config(tmp_path, dataset=FIGURES)
    cfg.head = {"_target_": f"{__name__}.FailingHead", "_partial_": True}
    with pytest.raises(ConfigError) as refused:
        build.build_run(cfg)
    line = FailingHead.forward.__code__.co_firstlineno + 1
    assert f"({__file__}, line {line}); set HYDRA_FULL_ERROR=1" in str(refused.value)
    assert isinstance(refused.value.__cause__, RuntimeError)


class Scaleless(LinkLengthsAuxiliary):
    def compute_loss(self, features, batch):
        return super().compute_loss(features, batch).detach()


class Unnamed(LinkLengthsAuxiliary):
    columns = frozenset({"doubt"})


@pytest.mark.parametrize(
    ("auxiliary", "sentence"),
    [
        (Scaleless, "returned a scalar without gradient, expected one that its weights can learn from; fix its comp"),
        (Unnamed, "returned ['link_log_likelihood'], expected ['doubt'], its columns; fix its compute_columns()"),
    ],
)
def test_an_auxiliary_that_breaks_its_contract_is_named(auxiliary, sentence, tmp_path):
    cfg = config(tmp_path, "auxiliary=link_lengths", "acquisition=random", dataset=FIGURES)
    cfg.auxiliary._target_ = f"{__name__}.{auxiliary.__name__}"
    with pytest.raises(ConfigError, match=re.escape(sentence)) as refused:
        build.build_run(cfg)
    assert auxiliary.__name__ in str(refused.value)


class PassLess(RandomAcquisition):
    needs = frozenset({"dropout_disagreement"})


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["acquisition=mc_dropout"], "has no layer that does; set backbone.dropout=0.2"),
        (["acquisition=ensemble"], "has 1; set backbone.stacks=2"),
        (["acquisition=vl4pose"], "set auxiliary=link_lengths, which learns it, or choose another acquisition"),
        (["backbone.dropout=0.1"], "needs dropout_disagreement, and its dropout_passes is 0; set that to 2 or more"),
    ],
)
def test_acquisitions_that_need_more_say_what_to_set(overrides, sentence, tmp_path):
    cfg = config(tmp_path, *overrides, dataset=FIGURES)
    if "acquisition" not in overrides[0]:
        cfg.acquisition = {"_target_": f"{__name__}.PassLess"}
    with pytest.raises(ConfigError, match=re.escape(sentence)):
        build.build_run(cfg)


class NoisyBackbone(StackedHourglass):
    """Draws random numbers, as dropout does."""

    def forward(self, image):
        return super().forward(image + torch.rand_like(image))


def test_the_check_leaves_torchs_generator_as_it_was_and_says_what_candidates_have(tmp_path):
    cfg = config(tmp_path, dataset=FIGURES)
    cfg.backbone._target_ = f"{__name__}.NoisyBackbone"
    run = build.build_run(cfg)
    module = run.trainer.make_module(RoundPart(0))
    trainer = run.trainer.make_trainer(tmp_path / "round_00", "", False)
    before = torch.random.get_rng_state()
    shapes = plug_in_check.check_network(module, trainer, PersonCrop(32))
    assert torch.equal(before, torch.random.get_rng_state())
    # 8 channels, 14 joints
    expected = {
        "predicted_loss": (), "true_loss": (), "embedding": (8,), "joints": (14, 2), "confidence": (),
        "distinctness": (), "pose": (14, 2), "joint_confidence": (14,), "joints_found": (), "heatmap_entropy": (),
        "found_peak_entropy": (), "top_peak_entropy": (), "flip_distance": (), "view_distance": (),
        "stack_disagreement": (), "dropout_disagreement": (),
    }  # fmt: skip
    expected["gradient_length"] = ()
    of_others = {f"{images}_{name}": shape for name, shape in expected.items() for images in ("labelled", "target")}
    assert shapes == expected | of_others


def test_the_check_compiles_nothing(tmp_path):
    """What is compiled for three images would be compiled once more, for any number, when the batches come."""

    @torch._dynamo.register_backend(name="llpp_refuses")
    def refuse(graph, inputs):
        raise AssertionError("compiled")

    build.build_run(config(tmp_path, "training.compile=llpp_refuses", dataset=FIGURES))
