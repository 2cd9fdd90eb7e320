"""What is said about each prediction: the probability that it is a failure, and a flag.

N predictions.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llpp.errors import expect
from llpp.prediction.predictor import ModelFacts
from llpp.reliability.calibration import (
    CalibrationSet,
    Certificate,
    FailureCurve,
    RiskAtThreshold,
    certify,
    check_share,
    fit_failure_probability,
    list_risks,
)

OK = "ok"  # failures are at most the share that was promised
CHECK = "check"  # nothing is promised: a person should look at it
UNKNOWN = "unknown"  # nothing is promised about any prediction
FLAGS = (OK, CHECK, UNKNOWN)


@dataclass(frozen=True)
class Wish:
    """What the user calls a failure, and how many are accepted."""

    risk: float = 0.2  # share of failures among the predictions that are flagged ok
    fail: float = 0.5  # an image whose quality is below is a failure
    confidence: float = 0.9  # how often the promise is kept

    def __post_init__(self) -> None:
        check_share("risk", self.risk, "no number of labels can promise that nothing ever fails")
        check_share("confidence", self.confidence, "no number of labels gives certainty")
        expect(0 < self.fail <= 1, "fail", self.fail, "the quality below which an image is a failure, above 0 to 1")


@dataclass(frozen=True)
class FailureFlags:
    """A model's promise, and what follows from it for each failure score."""

    failure: str  # what a failure is, in words
    certificate: Certificate | None  # None: there is no calibration image
    curve: FailureCurve | None  # None: there are too few
    risks: tuple[RiskAtThreshold, ...]
    reference: NDArray[np.float32]  # (M,) failure scores of the calibration images
    sentence: str  # what is promised, or why nothing is
    remarks: tuple[str, ...] = ()

    def compute_probability(self, scores: NDArray[np.float32]) -> NDArray[np.float64]:
        """(N,) how probable a failure is; NaN where that is unknown."""
        if self.curve is None:
            return np.full(len(scores), np.nan)
        probability = self.curve.compute(scores.astype(np.float64))
        probability[~np.isfinite(scores)] = np.nan
        return probability

    def flag(self, scores: NDArray[np.float32]) -> NDArray[np.str_]:
        """(N,) one of FLAGS."""
        if self.certificate is None or self.certificate.threshold is None:
            return np.full(len(scores), UNKNOWN)
        # A score that is no number is never below.
        return np.where(scores.astype(np.float64) <= self.certificate.threshold, OK, CHECK)


def make_flags(facts: ModelFacts, wish: Wish) -> FailureFlags:
    """Find out what can be promised about a model's predictions."""
    failure = f"{facts.metric} of the image below {wish.fail:g}"
    images = facts.calibration
    if images is None:
        sentence = f"not certified: {facts.no_calibration}"
        return FailureFlags(failure, None, None, (), np.zeros(0, dtype=np.float32), sentence)
    calibration = CalibrationSet(images.score, images.quality < wish.fail, images.group)
    # Thresholds may come from the calibration images' scores, because these do not say which failed.
    grid = images.score if images.grid is None else images.grid
    certificate = certify(calibration, grid, wish.risk, wish.confidence)
    remarks = []
    if not images.has_groups:
        remarks.append(
            "the run recorded no groups, so its test images are taken as independent; where several show one film or "
            "person, the promise is too good: train with this llpp to record them"
        )
    return FailureFlags(
        failure=failure,
        certificate=certificate,
        curve=fit_failure_probability(calibration),
        risks=tuple(list_risks(calibration, grid, wish.confidence)),
        reference=images.score,
        sentence=describe_certificate(certificate, failure),
        remarks=tuple(remarks),
    )


def describe_certificate(certificate: Certificate, failure: str) -> str:
    """One sentence about what is promised."""
    risk = f"{certificate.risk:.3g}"
    confidence = f"{100 * certificate.confidence:g} %"
    tested = f"{certificate.groups:,} random labelled images"
    if certificate.threshold is None:
        plural = "label is" if certificate.more_needed == 1 else "labels are"
        return (
            f"not certified: {tested} cannot show that at most the share {risk} of any predictions are failures "
            f"({failure}); about {certificate.more_needed:,} more random {plural} needed, if none of them fails"
        )
    return (
        f"certified with {confidence} confidence: at most the share {risk} of the predictions flagged ok are "
        f"failures ({failure}); failure score at most {certificate.threshold:.4g}, {certificate.failures} of "
        f"{certificate.accepted} accepted images of {tested} failed"
    )


def to_plain(value: Any) -> Any:
    """A number for JSON: None where it is no number."""
    return None if value is None or not np.isfinite(value) else value
