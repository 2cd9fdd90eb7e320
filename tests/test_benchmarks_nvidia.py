"""The measurements of a GPU, rehearsed on the CPU, so that their code still runs when there is a GPU."""

import json
import sys

import pytest
import torch

from benchmarks import __main__, nvidia

pytestmark = pytest.mark.slow


def lines(capsys):
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_every_kind_of_row_runs_at_toy_size(capsys):
    names = ["ceilings", "training_regional", "scoring_folded", "core_set"]
    assert nvidia.main(["--rehearse", *names]) == 0
    found = {line["name"]: line for line in lines(capsys)}
    assert not [name for name in found if name.startswith("nvidia")], "no GPU's rows"
    for name in ("ceiling_copy_gb_per_s", "training_regional_2", "kernels_training_regional_4", "scoring_folded_4"):
        assert found[f"rehearsal_{name}"]["value"] > 0
    assert found["rehearsal_core_set"]["detail"]["differing_positions"] == 0


def test_a_row_that_fails_is_a_line_and_the_others_go_on(capsys, monkeypatch):
    def fails(_):
        raise MemoryError("too\nlarge")

    monkeypatch.setitem(nvidia.ROWS, "scoring_whole", (1, fails))
    assert nvidia.main(["--rehearse", "scoring_whole", "core_set"]) == nvidia.REPORTED_FAILURE
    first, second = lines(capsys)
    assert (first["name"], first["value"], first["error"]) == ("nvidia_scoring_whole", None, "MemoryError: too large")
    assert second["name"] == "rehearsal_core_set"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["benchmarks", "--nvidia"])
    assert __main__.main() == 2
    assert "needs an NVIDIA GPU and the CUDA build of torch" in capsys.readouterr().err


def test_a_row_that_takes_too_long_is_ended(capsys, monkeypatch):
    monkeypatch.setitem(nvidia.ROWS, "ceilings", (0.2, nvidia.ROWS["ceilings"][1]))
    monkeypatch.setattr(nvidia, "MIN_ROW_SECONDS", 0.1)
    assert nvidia.run_in_processes(["ceilings"], end=float("inf")) == 1
    (line,) = lines(capsys)
    assert line["error"].startswith("not done after 0 s")
