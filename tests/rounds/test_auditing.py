"""The audit of a round: what is drawn, what is recorded of it, and what it says about the model."""

import numpy as np
import pyarrow.parquet as pq
import pytest
from helpers.experiments import rows, tiny
from helpers.run_dirs import Grey

from llpp.errors import ConfigError
from llpp.ids import Ids
from llpp.inference.evaluation import Evaluation
from llpp.oracles.simulated import SimulatedOracle
from llpp.rounds import loop
from llpp.rounds.auditing import (
    Audit,
    AuditedQuality,
    Measured,
    build_audit_row,
    count_audited,
    draw_audit,
    get_audited_quality,
)
from llpp.rounds.records import write_selection
from llpp.rounds.selection import Selection
from llpp.run_dir.state import Round, load_state
from llpp.settings import Settings

NAN = float("nan")


class PairsOracle(SimulatedOracle):
    """Two persons in each image: 0 and 1, 2 and 3, and so on."""

    def find_units(self, ids):
        return np.arange(len(ids)) // 2


def settings(**values):
    return Settings(**{"seed": 3, "rounds": 3, "initial": 2, "budget": 10, "audit": 0.1, **values})


@pytest.mark.parametrize(
    ("share", "wanted", "drawn"), [(0.1, 50, 5), (0.1, 14, 0), (0.1, 15, 2), (1.0, 3, 3), (0.0, 50, 0)]
)
def test_a_share_of_the_budget_is_drawn_unless_that_is_a_single_image(share, wanted, drawn):
    assert count_audited(settings(audit=share), wanted) == drawn


def test_persons_of_one_image_are_one_draw():
    ids = Ids([f"grey/{number}" for number in range(6)])
    losses = np.array([0.1, 0.9, 0.2, 0.3, 0.5, 0.4], dtype=np.float32)
    audit = draw_audit(settings(audit_tilt=0.5), 0, PairsOracle(Grey()), ids, 2, losses)
    assert audit.number == 2 and audit.count == 3 and audit.draw.tolist() == [1, 1, 2, 2]
    pairs = [set(audit.ids[:2]), set(audit.ids[2:])]
    assert all(pair in ({"grey/0", "grey/1"}, {"grey/2", "grey/3"}, {"grey/4", "grey/5"}) for pair in pairs)
    assert audit.probability[0] == audit.probability[1] and audit.probability[2] == audit.probability[3]
    again = draw_audit(settings(audit_tilt=0.5), 0, PairsOracle(Grey()), ids, 2, losses)
    assert again.ids == audit.ids


def audit_of(ids, draw):
    number = max(draw)
    probability = np.array([1 / (20 - one) for one in range(number)])[np.array(draw) - 1]
    return Audit(list(ids), np.array(draw), probability, 20, np.full(len(ids), NAN))


def test_what_is_skipped_is_left_out_and_what_waits_is_counted():
    """Images: two persons of 1 and 0.5; one failure; one that was skipped; one that nobody has answered."""
    audit = audit_of(["a#1", "a#2", "b", "c", "d"], [1, 1, 2, 3, 4])
    quality = np.array([1.0, 0.5, 0.0, NAN, NAN, 0.2, 0.4])
    closed = np.array([True, True, True, True, False, True, True])
    measured = Measured(4, ["a#1", "a#2", "b", "c", "d", "e", "f"], quality, closed)
    row = build_audit_row(audit, measured, np.array([0.5, NAN]))
    assert row["audit_round"] == 4
    assert (row["audit_measured"], row["audit_open"]) == (2, 1)
    assert row["audit_quality"] == pytest.approx((0.75 + 0) / 2)
    assert row["chosen_quality"] == pytest.approx(0.3)
    assert row["audit_low"] == 0 and row["audit_high"] > 0.9, "two known images and one that waits say little"


def test_one_measured_image_gives_no_estimate_but_is_counted():
    audit = audit_of(["a", "b", "c"], [1, 2, 3])
    measured = Measured(0, ["a", "b", "c"], np.array([0.5, NAN, NAN]), np.array([True, False, False]))
    row = build_audit_row(audit, measured, np.array([0.5]))
    assert (row["audit_measured"], row["audit_open"], row["audit_quality"]) == (1, 2, None)


def test_the_last_measured_audit_says_how_good_a_model_is_on_the_pool():
    audited = {"labelled": 2, "audit_quality": 1.02, "audit_low": 0.7, "audit_high": 1.0}
    unmeasured = {"labelled": 4, "audit_quality": None, "audit_low": None, "audit_high": None}
    committed = [Round(0, audited, ()), Round(1, unmeasured, ())]
    assert get_audited_quality(committed) == AuditedQuality(1.0, 1.0), "an estimate may be a little above 1 by chance"
    assert get_audited_quality(committed[1:]) is None


def test_draws_that_a_killed_start_has_left_are_none_of_the_round(tmp_path):
    """People may switch the audit off before they start again."""
    left = tmp_path / "audit.parquet"
    left.write_bytes(b"of the killed start")
    nothing = Evaluation({"predicted_loss": np.zeros(0, dtype=np.float32)}, {})
    write_selection(tmp_path, Selection([], nothing, False, Ids([]), None, False))
    assert not left.exists()


def test_settings_of_the_audit_are_checked():
    with pytest.raises(ConfigError, match=r"audit=1.5 is invalid; expected a share, 0 to 1"):
        settings(audit=1.5)
    with pytest.raises(ConfigError, match=r"audit_tilt=2 is invalid; expected a number, 0 to 0.5"):
        settings(audit_tilt=2)


@pytest.fixture(scope="module")
def audited(tmp_path_factory):
    """Half of each budget of 6 is drawn by chance."""
    run_dir = tmp_path_factory.mktemp("audited")
    loop.run_rounds(tiny(run_dir, "audit=0.5"))
    return run_dir


@pytest.mark.slow
def test_a_round_records_its_draws_and_measures_them(audited):
    lines = (audited / "round_00/selected.csv").read_text().splitlines()
    assert lines[0] == "rank,id,predicted_loss,audit_draw,audit_probability"
    cells = [line.split(",") for line in lines[1:]]
    assert [cell[3] for cell in cells] == ["1", "2", "3", "", "", ""]
    assert [float(cell[4]) for cell in cells[:3]] == pytest.approx([1 / 24, 1 / 23, 1 / 22])
    drawn = pq.read_table(audited / "round_00/audit.parquet").to_pydict()
    assert drawn["id"] == [cell[1] for cell in cells[:3]] and drawn["candidates"] == [24, 24, 24]
    # All are as likely, so the estimate is the plain mean of the three that were drawn.
    quality = pq.read_table(audited / "round_00/predictions.parquet")["quality"].to_pylist()
    row = rows(audited)[0]
    assert float(row["audit_quality"]) == pytest.approx(sum(quality[:3]) / 3)
    assert float(row["chosen_quality"]) == pytest.approx(sum(quality[3:]) / 3)
    assert row["audit_round"] == "0" and row["audit_measured"] == row["audited"] == "3"


@pytest.mark.slow
def test_the_acquisition_chooses_the_best_of_the_others(audited):
    scores = pq.read_table(audited / "round_00/scores.parquet").to_pydict()
    selected = load_state(audited / "state.json").rounds[0].selected
    losses = dict(zip(scores["id"], scores["predicted_loss"], strict=True))
    others = sorted((name for name in losses if name not in selected[:3]), key=losses.get, reverse=True)
    assert list(selected[3:]) == others[:3]


@pytest.mark.slow
def test_a_run_that_is_extended_draws_what_a_longer_one_does(audited, tmp_path):
    loop.run_rounds(tiny(tmp_path, "audit=0.5", "rounds=2"))
    loop.run_rounds(tiny(tmp_path, "audit=0.5", "rounds=3"))
    assert rows(tmp_path) == rows(audited)
    for name in ("round_00/audit.parquet", "round_01/audit.parquet"):
        assert (tmp_path / name).read_bytes() == (audited / name).read_bytes()


@pytest.mark.slow
def test_a_share_of_stable_predictions_is_recorded_from_the_second_round_on(audited):
    """By hand from the two files: the share of joints that moved by at most 0.2 torsos."""
    first, second, _ = rows(audited)
    assert first["stable_share"] == ""
    data = tiny(audited, "audit=0.5").data
    tables = [pq.read_table(audited / f"round_0{number}/watched.parquet").to_pydict() for number in (0, 1)]
    assert tables[0]["id"] == tables[1]["id"]
    torso = data.task.normaliser[data.dataset.records.ids.find_rows(tables[0]["id"])]
    before, now = (np.array(table["joints"]).reshape(len(torso), -1, 2) for table in tables)
    moved = np.hypot(*np.moveaxis(now - before, 2, 0)) / torso[:, None]
    assert float(second["stable_share"]) == pytest.approx((moved <= 0.2).mean(axis=1).mean(), abs=0.01)
    assert int(first["label_count"]) == 12 * 14
