"""Acquisitions that rank by a column of the task, and what all new ones say about columns that are missing."""

import numpy as np
import pytest

from llpp.acquisition.egl import EGLAcquisition
from llpp.acquisition.ensemble import EnsembleAcquisition
from llpp.acquisition.flip_distance import FlipDistanceAcquisition
from llpp.acquisition.heatmap_entropy import HeatmapEntropyAcquisition
from llpp.acquisition.herded_loss import HerdedLossAcquisition
from llpp.acquisition.least_confidence import LeastConfidenceAcquisition
from llpp.acquisition.loss_proportional import LossProportionalAcquisition
from llpp.acquisition.loss_then_diverse import LossThenDiverseAcquisition
from llpp.acquisition.mc_dropout import MCDropoutAcquisition
from llpp.acquisition.multi_peak_entropy import MultiPeakEntropyAcquisition
from llpp.acquisition.reducible_loss import ReducibleLossAcquisition
from llpp.acquisition.stratified_power import StratifiedPowerAcquisition
from llpp.acquisition.typiclust import TypiclustAcquisition
from llpp.acquisition.view_disagreement import ViewDisagreementAcquisition
from llpp.acquisition.vl4pose import VL4PoseAcquisition
from llpp.errors import ConfigError
from llpp.types import Candidates


def select(acquisition, budget=2, **columns):
    arrays = {name: np.array(values, dtype=np.float32) for name, values in columns.items()}
    count = len(next(iter(arrays.values())))
    candidates = Candidates([f"id-{row}" for row in range(count)], columns=arrays)
    return acquisition.select(candidates, budget, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("acquisition", "column"),
    [
        (HeatmapEntropyAcquisition, "heatmap_entropy"),
        (FlipDistanceAcquisition, "flip_distance"),
        (ViewDisagreementAcquisition, "view_distance"),
        (MultiPeakEntropyAcquisition, "top_peak_entropy"),
        (EGLAcquisition, "gradient_length"),
        (EnsembleAcquisition, "stack_disagreement"),
        (MCDropoutAcquisition, "dropout_disagreement"),
    ],
)
def test_the_highest_come_first_and_hopeless_images_may_be_left_out(acquisition, column):
    scores = {column: [0.1, 0.9, 0.5, 0.7]}
    assert select(acquisition(), **scores) == ["id-1", "id-3"]
    found = {"joints_found": [3, 3, 3, 0]}
    assert select(acquisition(trim=0.25, trim_unfound=True), budget=1, **scores, **found) == ["id-2"]


def test_the_least_likely_poses_come_first():
    assert select(VL4PoseAcquisition(), link_log_likelihood=[-1.0, 3.0, -20.0]) == ["id-2", "id-0"]


def test_peaks_are_read_in_two_ways():
    columns = {"top_peak_entropy": [0, 1, 2], "found_peak_entropy": [2, 1, 0]}
    assert select(MultiPeakEntropyAcquisition("top"), 1, **columns) == ["id-2"]
    assert select(MultiPeakEntropyAcquisition("found"), 1, **columns) == ["id-0"]


def test_the_least_confident_come_first():
    assert select(LeastConfidenceAcquisition(), confidence=[0.9, 0.1, 0.5]) == ["id-1", "id-2"]


def test_joints_of_unequal_confidence_are_another_reading():
    """Standard deviations 0, 0.3 and 0.1; the first is the least confident on average."""
    columns = {"joint_confidence": [[0.1, 0.1], [0.9, 0.3], [0.5, 0.3]], "confidence": [0.1, 0.6, 0.4]}
    assert select(LeastConfidenceAcquisition(over_joints="std"), **columns) == ["id-1", "id-2"]
    assert select(LeastConfidenceAcquisition(), **columns) == ["id-0", "id-2"]


ALL = [
    FlipDistanceAcquisition, HeatmapEntropyAcquisition, HerdedLossAcquisition, LeastConfidenceAcquisition,
    LossThenDiverseAcquisition, MultiPeakEntropyAcquisition, ReducibleLossAcquisition, StratifiedPowerAcquisition,
    TypiclustAcquisition, ViewDisagreementAcquisition, EnsembleAcquisition, MCDropoutAcquisition, VL4PoseAcquisition,
    EGLAcquisition,
]  # fmt: skip


@pytest.mark.parametrize("acquisition", ALL)
def test_columns_that_are_missing_are_named(acquisition):
    with pytest.raises(ValueError, match="needs candidates with"):
        acquisition().select(Candidates(["a", "b"]), 1, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: MultiPeakEntropyAcquisition("all"), "acquisition.reading='all' is invalid; expected found or top"),
        (lambda: LeastConfidenceAcquisition("max"), "acquisition.over_joints='max' is invalid; expected mean or std"),
        (lambda: HeatmapEntropyAcquisition(trim=1.0), "acquisition.trim=1.0 is invalid; expected a share, 0 to less"),
        (lambda: TypiclustAcquisition("pixels"), "acquisition.space='pixels' is invalid; expected pose or embedding"),
        (lambda: TypiclustAcquisition(clusters=0), "acquisition.clusters=0 is invalid; expected a whole number, 1"),
        (lambda: StratifiedPowerAcquisition(strata=0), "acquisition.strata=0 is invalid; expected auto, or a whole"),
        (lambda: HerdedLossAcquisition(beta=float("inf")), "acquisition.beta=inf is invalid; expected a number that"),
        (lambda: HerdedLossAcquisition(anchors=0), "acquisition.anchors=0 is invalid; expected a whole number, 1"),
        (lambda: LossThenDiverseAcquisition(0.5), "acquisition.factor=0.5 is invalid; expected a number, 1"),
        (lambda: LossThenDiverseAcquisition(float("inf")), "acquisition.factor=inf is invalid; expected a number, 1"),
        (
            lambda: MCDropoutAcquisition(passes=1),
            "acquisition.passes=1 is invalid; expected a whole number, 2 or more",
        ),
        (lambda: LossProportionalAcquisition("a"), "acquisition.temperature='a' is invalid; expected a number, 0"),
        (lambda: StratifiedPowerAcquisition(trim="a"), "acquisition.trim='a' is invalid; expected a share, 0 to"),
        (lambda: StratifiedPowerAcquisition(beta_last=None), "acquisition.beta_last=None is invalid; expected a "),
        (lambda: HerdedLossAcquisition(target=3), "acquisition.target=3 is invalid; expected null, or the path of a"),
    ],
)
def test_settings_that_mean_nothing_are_refused(make, sentence):
    with pytest.raises(ConfigError) as refused:
        make()
    assert str(refused.value).startswith(sentence)
