"""The report's rules, costs and payoffs, from rows and files with numbers worked out by hand."""

from dataclasses import replace

import numpy as np
import pytest
from helpers.run_dirs import row, run_dir

from llpp.files import compute_sha256
from llpp.report.collect import collect
from llpp.report.payoff import explain_missing_payoffs, list_payoffs
from llpp.report.stopping import Limits, build_audit_grids, build_stopping_grids, list_verdicts, read_limits
from llpp.rounds.records import write_columns
from llpp.run_dir.state import load_state, save_state

pytestmark = pytest.mark.slow
RULES = ("S1", "S2", "S3", "S4", "S5", "S6")


def audit(value, low, high, chosen, number=0, **more):
    return {"audit_round": number, "audit_measured": 9, "audit_open": 0, "audit_quality": value, "audit_low": low,
            "audit_high": high, "chosen_quality": chosen, **more}  # fmt: skip


def read_run(folder):
    (section,) = collect([folder]).sections
    return section.runs[0], section


def verdicts(folder, limits=None):
    run, _ = read_run(folder)
    found = list_verdicts(run, read_limits(run, limits))
    return {rule: found[name] for rule, name in zip(RULES, found, strict=True)}


def test_each_rule_says_after_which_round_it_would_have_stopped(tmp_path):
    """Test PCK 0.9 − 4/√n: from 1,600 labels, 900 more add 0.02, from 2,500 about 0.008."""
    tested = [0.5, 0.7, 0.9 - 4 / 30, 0.8, 0.82]
    counts = [100, 400, 900, 1600, 2500]
    audits = [(0.5, 0.4, 0.6, 0.1), (0.7, 0.62, 0.76, 0.5), (0.77, 0.72, 0.8, 0.75), (0.8, 0.75, 0.84, 0.8)]
    shares = [None, 0.9, 0.99, 0.99, 0.99]
    given = []
    for number, (count, metric) in enumerate(zip(counts, tested, strict=True)):
        more = audit(*audits[number], number) if number < len(audits) else {}
        given.append(row(number, count, metric, stable_share=shares[number], label_count=14 * count, **more))
    run_dir(tmp_path / "run", given, acquisition="predicted_loss")
    found = verdicts(tmp_path, Limits(target=0.6, gain=0.025))
    assert found["S1"].round == 1 and found["S1"].says == "0.700 (0.620 to 0.760) ≥ 0.6"
    assert found["S2"].round is None and found["S2"].says == "needs test images with labels"
    assert found["S3"].round == 3 and found["S3"].says == "700 more add +0.017"
    assert found["S4"].round == 2 and found["S4"].says == "pool − chosen: +0.020 (−0.030 to +0.050)"
    assert found["S5"].round == 3 and found["S5"].says == "99.0 % stayed"
    assert found["S6"].round is None and not found["S6"].is_known
    _, section = read_run(tmp_path)
    (grid,) = build_stopping_grids(section, Limits(target=0.6, gain=0.025))
    by_rule = {label[:2]: entries for label, _, entries in grid.rows}
    # Each made round took two seconds.
    assert [entry.text for entry in by_rule["S1"]] == ["400", "5,600", "4"]
    assert [entry and entry.text for entry in by_rule["S6"]] == ["–", None, None]


def test_a_rule_that_lacks_data_says_what_it_lacks(tmp_path):
    run_dir(tmp_path / "run", [row(0, 10, 0.5, 0.1, 0.6), row(1, 12, 0.7)], acquisition="predicted_loss")
    found = verdicts(tmp_path)
    assert all(verdict.round is None and not verdict.is_known for verdict in found.values())
    assert found["S1"].says == "needs an audit, of two images at least: audit=0.1"
    assert found["S3"].says == "needs 4 tested rounds, has 2"
    assert found["S4"].says == "needs an audit, of two images at least: audit=0.1"
    assert found["S5"].says == "needs 3 rounds that recorded their predictions"
    assert found["S6"].says == "needs an audit, and the predicted losses of the pool"


def test_without_a_target_the_estimate_is_shown_and_asks_for_one(tmp_path):
    run_dir(tmp_path / "run", [row(0, 10, 0.5, **audit(0.5, 0.4, 0.6, 0.1))])
    found = verdicts(tmp_path)
    assert found["S1"].says == "0.500 (0.400 to 0.600); needs report.target"
    assert found["S4"].says == "selects at random"
    config = tmp_path / "run/config.yaml"
    config.write_text(config.read_text() + "report: {target: 0.35}\n")
    assert verdicts(tmp_path)["S1"].round == 0


def write_audited_run(folder, answered_later, waiting=0):
    """A pool of four images, all drawn; test images of loss 1 fail, and in the pool one of loss 0 does.

    The last ones still wait for their labels.
    """
    rows = [row(0, 10, 0.5), row(1, 14, 0.6)]
    rows[1 if answered_later else 0] |= audit(0.75, 0.75, 0.75, None)
    run_dir(folder, rows, acquisition="predicted_loss")
    ids = [f"grey/{number}" for number in range(4)]
    losses = np.array([0.0, 0.0, 1.0, 1.0])
    quality = np.array([1.0, 0.0, 1.0, 1.0])
    unknown = np.full(4, np.nan)
    first = folder / "round_00"
    draws = {"draw": np.arange(1.0, 5.0), "probability": 1 / np.arange(4.0, 0.0, -1), "candidates": np.full(4, 4.0),
             "predicted_loss": losses}  # fmt: skip
    write_columns(first / "audit.parquet", ids, draws)
    write_columns(
        first / "test.parquet", ["t/0", "t/1"], {"predicted_loss": losses[1:3], "quality": np.array([1.0, 0])}
    )
    known = unknown if answered_later else quality
    write_columns(first / "scores.parquet", ids, {"predicted_loss": losses, "quality": known})
    write_columns(first / "predictions.parquet", ids, {"predicted_loss": losses, "quality": known})
    if answered_later:
        path = folder / "round_01/answered.parquet"
        is_closed = np.arange(4) < 4 - waiting
        answers = {"quality": np.where(is_closed, quality, np.nan), "closed": is_closed.astype(float)}
        write_columns(path, ids, answers)
        state = load_state(folder / "state.json")
        recorded = replace(state.rounds[1], files={path.name: compute_sha256(path)})
        save_state(replace(state, rounds=(state.rounds[0], recorded)), folder / "state.json")


@pytest.mark.parametrize("answered_later", [False, True])
def test_predicted_losses_give_the_pools_quality_and_its_failures(tmp_path, answered_later):
    """All four were drawn, so both are exact: a mean of 0.75, and one failure."""
    write_audited_run(tmp_path / "run", answered_later)
    verdict = verdicts(tmp_path, Limits(target=0.7))["S6"]
    assert verdict.round == 0
    assert verdict.says == "0.750 (0.750 to 0.750) ≥ 0.7; failures left: 1 (1 to 1)"


def test_failures_among_images_that_wait_for_a_label_are_possible(tmp_path):
    """One of four failed, two are right, and the last one may have failed, too."""
    write_audited_run(tmp_path / "run", answered_later=True, waiting=1)
    says = verdicts(tmp_path, Limits(target=0.7))["S6"].says
    assert "(0.500 to 0.750), target 0.7; " in says
    assert says.endswith("(1 to 2)")


def test_audits_are_shown_next_to_what_a_simulation_knows(tmp_path):
    write_audited_run(tmp_path / "run", answered_later=False)
    (grid,) = build_audit_grids(read_run(tmp_path)[1])
    ((label, seeds, (entry,)),) = grid.rows
    assert (label, seeds, grid.columns) == ("gap_fc + kl + predicted_loss", "1", ("10",))
    assert entry.text == "0.750"
    assert entry.notes == ("0.750 to 0.750, 9 images", "pool 0.750, within 1 of 1")


def test_a_payoff_is_what_the_next_model_gains_for_how_hard_the_selection_was(tmp_path):
    """Over two seeds: 0.1 − 0.6 and 0.2 − 0.5 harder than the pool; 0.7 − 0.6 and 0.8 − 0.9 against random."""
    run_dir(tmp_path / "a0", [row(0, 10, 0.5, 0.1, 0.6), row(1, 12, 0.7)], 0, "learned")
    run_dir(tmp_path / "a1", [row(0, 10, 0.6, 0.2, 0.5), row(1, 12, 0.8)], 1, "learned")
    _, section = read_run(tmp_path)
    assert list_payoffs(section) == []
    assert explain_missing_payoffs(section) == "needs a run with acquisition=random"
    run_dir(tmp_path / "b0", [row(0, 10, 0.5, 0.5, 0.6), row(1, 12, 0.6)], 0, "random")
    run_dir(tmp_path / "b1", [row(0, 10, 0.5, 0.5, 0.6), row(1, 12, 0.9)], 1, "random")
    (payoff,) = list_payoffs(read_run(tmp_path)[1])
    assert (payoff.label, payoff.labelled) == ("learned", 12)
    assert (payoff.hardness, payoff.gain) == pytest.approx((-0.4, 0.0))
    assert payoff.spread == pytest.approx(np.std([0.1, -0.1], ddof=1))
