"""How `llpp predict` is called, and what it shows while it works."""

from pathlib import Path

import numpy as np
import pytest
from helpers.project_folders import save
from helpers.spot_predictor import SpotPredictor

from llpp.cli import predict
from llpp.cli.package_names import split_package_names
from llpp.cli.predict import describe_progress
from llpp.errors import DataError


def test_progress_says_how_far_how_fast_and_how_long():
    # 900 of the 1,000 are this command's own, in 10 s: 90 a second, and 4,500 are left.
    assert describe_progress("predicted", 1_000, 5_500, 900, 10.0) == (
        "predicted 1,000 of 5,500 · 90.0 images/s · 50 s left"
    )


def test_progress_without_a_known_end_promises_none():
    # A film that states fewer frames than it has.
    assert describe_progress("predicted", 12, 10, 12, 4.0) == "predicted 12 of 12 · 3.0 images/s"


def test_options_may_be_written_as_for_llpp_run():
    words = ["run", "new", "risk=0.1", "out=found", "batch_size=4", "trusted_packages=[a,b]"]
    drawn = predict._parse_arguments([*words, "overlay=True"])
    assert (drawn.model, drawn.inputs, drawn.risk) == (Path("run"), ["new"], 0.1)
    assert (drawn.out, drawn.batch_size, drawn.overlay) == (Path("found"), 4, True)
    assert not predict._parse_arguments([*words, "overlay=false"]).overlay
    assert split_package_names(drawn.trusted_packages) == ["a", "b"] and split_package_names("") == []


def test_inputs_of_which_none_can_be_read_are_one_sentence_and_no_success(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(predict, "_load_predictor", lambda *_: SpotPredictor())
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "new/dot.png", np.zeros((1, 1, 3), np.uint8))
    (tmp_path / "model.onnx").write_bytes(b"")
    one = r"^nothing is predicted: image .*/dot\.png has 1 × 1 pixels, .*; expected 8 × 8 or more$"
    with pytest.raises(DataError, match=one):
        predict.run_predict_command(["model.onnx", "new"])
    (tmp_path / "new/empty.png").write_bytes(b"")
    both = r"none of 2 can be read: image .*/dot\.png has .* or more; both/problems\.csv has the rest$"
    with pytest.raises(DataError, match=both):
        predict.run_predict_command(["model.onnx", "new", "out=both"])
    assert "empty.png is empty" in (tmp_path / "both/problems.csv").read_text()
    assert capsys.readouterr().out == ""
