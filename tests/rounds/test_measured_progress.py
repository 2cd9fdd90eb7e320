"""What an acquisition gets to know about the run, and about the images that are labelled already."""

import math
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
from helpers.experiments import rows, tiny
from helpers.interruptions import stopped

from llpp.acquisition.random import RandomAcquisition
from llpp.datasets.synthetic.dataset import SyntheticFigures
from llpp.errors import ConfigError, OccupiedError
from llpp.inference.scorer import PoolScorer
from llpp.rounds import loop
from llpp.rounds.auditing import AuditedQuality
from llpp.rounds.progress import decide_competence
from llpp.rounds.target import read_target


class Watching(RandomAcquisition):
    """Selects at random and keeps what it was shown."""

    needs = frozenset({"progress", "labelled_true_loss", "labelled_pose", "flip_distance"})

    def __init__(self):
        self.seen = []

    def select(self, candidates, budget, rng):
        self.seen.append(candidates)
        return super().select(candidates, budget, rng)


class Aimed(Watching):
    needs = frozenset({"target_pose", "target_embedding"})


def write_ids(tmp_path, *ids):
    file = tmp_path / "ids.txt"
    file.write_text("\n".join(["", *ids, ""]))
    return str(file)


@pytest.mark.slow
def test_the_images_of_a_target_are_scored_wherever_they_are(tmp_path):
    file = write_ids(tmp_path, "synthetic/test-00001", "synthetic/pool-00003", "synthetic/test-00001")
    overrides = ("rounds=2", "trainer.max_epochs=1", "acquisition=herded_loss", f"acquisition.target={file}")
    run = tiny(tmp_path / "run", *overrides)
    ids = run.data.dataset.records.ids
    assert [ids[row] for row in run.target] == ["synthetic/pool-00003", "synthetic/test-00001"]
    aimed = Aimed()
    loop.run_rounds(replace(run, acquisition=aimed))
    (candidates,) = aimed.seen
    assert candidates.columns["target_pose"].shape == (2, 14, 2) and candidates.target_embedding.shape == (2, 8)

    # The same command resumes; another target is another experiment, whatever its file is called.
    loop.run_rounds(replace(run, acquisition=aimed))
    write_ids(tmp_path, "synthetic/test-00002")
    again = tiny(tmp_path / "run", *overrides)
    with pytest.raises(OccupiedError, match=r"acquisition.target"):
        loop.run_rounds(again)


@pytest.mark.parametrize(
    ("ids", "sentence"),
    [
        (["synthetic/test-00001", "cat"], "has 1 ids that are not in dataset synthetic, 'cat' among them; expected"),
        ([], "has no ids; expected one a line, such as 'synthetic/"),
        (None, "cannot be read (No such file or directory); expected a file of ids"),
    ],
)
def test_a_target_that_is_none_is_refused(ids, sentence, tmp_path):
    file = str(tmp_path / "none.txt") if ids is None else write_ids(tmp_path, *ids)
    dataset = SyntheticFigures(initial=2, pool=2, val=1, test=2, size=48)
    with pytest.raises(ConfigError) as refused:
        read_target(file, dataset)
    assert str(refused.value).startswith(f"acquisition.target={file} {sentence}")


@pytest.mark.slow
def test_the_audit_of_the_round_before_may_lower_the_competence(tmp_path, monkeypatch, caplog):
    """Whatever the validation images say, they are above an interval that ends below 0."""
    caplog.set_level("INFO")
    monkeypatch.setattr(loop, "get_audited_quality", lambda rounds, answers: AuditedQuality(0.25, -1.0))
    ramp = ("acquisition.competence_low=0", "acquisition.competence_high=1", "acquisition.beta_most=100")
    loop.run_rounds(tiny(tmp_path, "acquisition=adaptive", *ramp, "audit=0.5", "rounds=2", "trainer.max_epochs=1"))
    first, _ = rows(tmp_path)
    assert (float(first["competence"]), float(first["beta"])) == pytest.approx((0.25, 25))
    assert "selects with β = 25.00, by a competence of 0.250, which the audit has measured" in caplog.text


@pytest.mark.parametrize(
    ("audited", "validated", "decided"),
    [
        (None, None, (None, None)),
        (None, math.nan, (None, None)),
        (None, 0.7, (0.7, "validation")),
        (AuditedQuality(0.4, 0.8), None, (0.4, "audit")),
        (AuditedQuality(0.4, 0.8), 0.7, (0.7, "both")),  # six images say little
        (AuditedQuality(0.4, 0.5), 0.7, (0.4, "audit")),  # validation images are easier than the pool
        (AuditedQuality(0.9, 1.0), 0.7, (0.7, "both")),  # and where they are harder, caution
    ],
)
def test_an_audit_overrules_the_validation_images_only_where_they_are_above_its_interval(audited, validated, decided):
    assert decide_competence(audited, validated) == decided


@pytest.mark.slow
def test_acquisitions_know_the_round_and_how_good_the_model_is_on_validation_images(tmp_path, monkeypatch):
    scored = []
    score = PoolScorer.score

    def watch_score(scorer, rows, *keep):
        scored.append(rows.tolist())
        return score(scorer, rows, *keep)

    monkeypatch.setattr(PoolScorer, "score", watch_score)
    watching = Watching()
    run = tiny(tmp_path)
    loop.run_rounds(replace(run, acquisition=watching))
    validation = run.data.dataset.records.select_rows("val").tolist()
    assert scored.count(validation) == 3, "once a round, though round 0 needs them for two things"

    progress = [candidates.progress for candidates in watching.seen]
    assert [(one.round, one.rounds, one.labelled) for one in progress] == [(0, 3, 12), (1, 3, 18)]
    for number, one in enumerate(progress):
        # All joints of a figure are labelled, so that the metric is the mean over figures as well.
        quality = pq.read_table(tmp_path / f"round_0{number}/validation.parquet")["quality"].to_pylist()
        assert one.competence == pytest.approx(sum(quality) / len(quality), abs=1e-6)
        assert one.source == "validation"
    assert [row["competence"] for row in rows(tmp_path)] == [str(one.competence) for one in progress] + [""]
    assert rows(tmp_path)[0]["beta"] == "", "it leans to nothing"

    labelled = watching.seen[1]
    assert labelled.labelled_true_loss.shape == (18,) and (labelled.labelled_true_loss > 0).all()
    assert labelled.columns["labelled_pose"].shape == (18, 14, 2)
    assert labelled.columns["labelled_pose"].mean(axis=1) == pytest.approx(np.zeros((18, 2)), abs=1e-6)
    assert labelled.columns["flip_distance"].shape == (18,), "24 in the pool, 6 of them labelled"
    assert labelled.labelled_embedding is None and labelled.predicted_loss is None, "nobody has asked for it"


@pytest.mark.slow
def test_beta_follows_the_competence_and_is_the_same_after_an_interruption(tmp_path):
    """So small a network is hardly right anywhere: β is 100 times its competence."""
    adaptive = ("acquisition=adaptive", "acquisition.competence_low=0", "acquisition.competence_high=1")
    overrides = (*adaptive, "acquisition.beta_most=100", "audit=0.5")
    loop.run_rounds(tiny(tmp_path / "whole", *overrides))
    first, second, last = rows(tmp_path / "whole")
    for row in (first, second):
        assert float(row["beta"]) == pytest.approx(100 * float(row["competence"]))
    assert last["beta"] == last["competence"] == "", "the last round does not select"

    with pytest.MonkeyPatch.context() as patch:
        stopped(patch, tmp_path / "parts", 1, 1, *overrides)
    loop.run_rounds(tiny(tmp_path / "parts", *overrides))
    assert rows(tmp_path / "parts") == rows(tmp_path / "whole")
    for name in ("round_00/selected.csv", "round_01/selected.csv"):
        assert (tmp_path / "parts" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
