"""People label what was drawn by chance, and the next start knows how good the model was on the whole pool."""

import csv

import pyarrow.parquet as pq
import pytest
from helpers.cli import llpp
from helpers.label_projects import TINY, Discs, read_asked

pytestmark = pytest.mark.slow
WORDS = ("tool=coco", "budget=12", "audit=0.4", "label.suggest=always", "label.blind=0", "label.least=2", *TINY)


def label(discs, *words):
    done = llpp("label", "discs", *WORDS, *words, cwd=discs.cwd)
    assert done.returncode == 0, done.stderr
    return done


def test_audited_images_are_measured_by_the_labels_that_come_later(tmp_path):
    discs = Discs(tmp_path, count=40)
    label(discs)
    discs.answer(discs.list_asked(0))
    label(discs)
    asked = read_asked(tmp_path, "discs", 1)
    trained = [row for row in asked if row["role"] == "train"]
    drawn = [row for row in trained if row["reason"] == "drawn by chance, to measure the model"]
    assert drawn == trained[: len(drawn)], "they come first"
    assert len(drawn) == round(0.4 * len(trained))
    assert {row["suggested"] for row in drawn} == {"0"}
    others = trained[len(drawn) :]
    assert {row["reason"] for row in others} == {"random: how good the model is has not been measured yet"}
    with (discs.run / "rounds.csv").open() as file:
        assert "audit_quality" not in next(csv.DictReader(file)), "their labels are not known yet"

    # One of them stays open.
    discs.answer([row["id"] for row in asked if row is not drawn[0]], "batch_1.json")
    done = label(discs, "label.enough=0.5")
    answered = pq.read_table(discs.run / "round_01/answered.parquet").to_pydict()
    closed = dict(zip(answered["id"], answered["closed"], strict=True))
    assert [closed[row["id"]] for row in drawn] == [0.0, *[1.0] * (len(drawn) - 1)]
    quality = dict(zip(answered["id"], answered["quality"], strict=True))
    known = [quality[row["id"]] for row in drawn[1:]]
    with (discs.run / "rounds.csv").open() as file:
        _, row = csv.DictReader(file)
    assert (row["audit_round"], row["audit_open"]) == ("0", "1")
    assert float(row["audit_quality"]) == pytest.approx(sum(known) / len(known))
    assert f"the model of round 0 has a mean PCK of {sum(known) / len(known):.3f}" in done.stdout
    assert "1 more had no label yet" in done.stdout
