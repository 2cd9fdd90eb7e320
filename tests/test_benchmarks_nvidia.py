"""The measurements of a GPU, rehearsed on the CPU, so that their code still runs when there is a GPU."""

import json
import sys
import time

import pytest
import torch

from benchmarks import __main__, nvidia
from benchmarks.nvidia_summary import format_summary

pytestmark = pytest.mark.slow


def lines(capsys):
    """The results that were printed, and the rows of the table after them."""
    printed = capsys.readouterr().out.splitlines()
    results = [json.loads(line) for line in printed if line.startswith("{")]
    table = printed[len(results) :]
    assert table[1] == "|:--|--:|--:|--:|--:|"
    return results, [[cell.strip() for cell in row.split("|")[1:-1]] for row in table[2:]]


def test_every_kind_of_row_runs_at_toy_size(capsys):
    names = ["ceilings", "training_regional", "scoring_folded_64", "first_step_3", "run_step", "core_set", "round"]
    assert nvidia.main(["--rehearse", *names]) == 0
    results, table = lines(capsys)
    found = {line["name"]: line for line in results}
    assert not [name for name in found if name.startswith("nvidia")], "no GPU's rows"
    kernels = "kernels_training_regional_4"
    measured = ["ceiling_copy_gb_per_s", "training_regional_4", "scoring_folded_2", "first_step_3", "run_step_32px"]
    for name in (kernels, *measured):
        assert found[f"rehearsal_{name}"]["value"] > 0
    assert found["rehearsal_core_set"]["detail"]["differing_positions"] == 0
    shown = [row[0] for row in table]
    assert [name for name in shown if name in measured] == measured and kernels not in shown


def test_a_row_that_fails_is_a_line_and_the_others_go_on(capsys, monkeypatch):
    def fails(_):
        raise MemoryError("too\nlarge")

    monkeypatch.setitem(nvidia.ROWS, "scoring_whole", (1, fails))
    assert nvidia.main(["--rehearse", "scoring_whole", "core_set"]) == nvidia.REPORTED_FAILURE
    (first, second), table = lines(capsys)
    assert (first["name"], first["value"], first["error"]) == ("nvidia_scoring_whole", None, "MemoryError: too large")
    assert second["name"] == "rehearsal_core_set"
    assert table[0][:2] == ["scoring_whole", "error: MemoryError: too large"]
    assert table[1][0] == "core_set"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["benchmarks", "--nvidia"])
    assert __main__.main() == 2
    assert "needs an NVIDIA GPU and the CUDA build of torch" in capsys.readouterr().err


def test_a_row_that_takes_too_long_is_ended(capsys, monkeypatch):
    monkeypatch.setattr(nvidia, "MIN_ROW_SECONDS", 0.1)
    assert nvidia.run_in_processes(["ceilings"], end=time.monotonic() + 0.2) == 1
    (line,), table = lines(capsys)
    assert line["error"].startswith("not done after 0 s")
    assert table[0][1].startswith("error: not done after 0 s")


def test_a_row_without_time_left_is_in_the_table(capsys):
    assert nvidia.run_in_processes(["core_set"], end=0.0) == 0
    (line,), table = lines(capsys)
    assert (line["name"], line["value"]) == ("nvidia_core_set", None)
    assert table[0][:2] == ["core_set", f"skipped: {line['skipped']}"]


def test_the_usual_rows_fit_into_the_time_of_a_run():
    assert sum(seconds for seconds, _ in nvidia.USUAL.values()) <= nvidia.MAX_RUN_SECONDS < 450


def test_the_table_gives_shares_and_what_is_said_of_a_row():
    training = {
        "name": "nvidia_training_graphs_128", "value": 2522.0, "unit": "images/s", "ratio": None,
        "detail": {"of_conv_ceiling": 0.159, "of_copy_ceiling_by_counted_traffic": 0.4745, "first_step_s": 103.3},
    }  # fmt: skip
    run = {"name": "nvidia_run_step_128px", "value": 780.0, "unit": "images/s", "ratio": 0.5, "detail": {}}
    broken = {"name": "nvidia_core_set", "value": None, "error": "a | b"}
    assert format_summary([training, run, broken]).splitlines()[2:] == [
        "| training_graphs_128 | 2,522 images/s, first step 103 s | 16% | 47% | 2,000 / 3,000 |",
        "| run_step_128px | 780 images/s, 0.50 of the step |  |  | 0.9 of the step |",
        "| core_set | error: a / b |  |  | 0.35 / 0.1 s |",
    ]
