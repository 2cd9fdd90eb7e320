"""Methods whose models were trained differently are compared with a warning."""

import io

from helpers.run_dirs import pose_task, row, run_dir
from rich.console import Console

from llpp.report.collect import collect
from llpp.report.hidden_differences import list_hidden_differences
from llpp.report.markdown import format_markdown
from llpp.report.page import write_report
from llpp.report.terminal import print_tables

ROWS = [row(0, 10, 0.5)]


def list_found(folder):
    (section,) = collect([folder]).sections
    return list_hidden_differences(section)


def test_a_run_with_fewer_epochs_is_named_wherever_it_is_compared(tmp_path):
    run_dir(tmp_path / "random", ROWS, **{"trainer.max_epochs": 20})
    run_dir(tmp_path / "core_set", ROWS, acquisition="core_set", **{"trainer.max_epochs": 20})
    run_dir(tmp_path / "predicted_loss", ROWS, acquisition="predicted_loss", **{"trainer.max_epochs": 3})
    (warning,) = list_found(tmp_path)
    assert "trainer.max_epochs is 20 (core_set, random) or 3 (predicted_loss). A difference" in warning
    console = Console(file=io.StringIO(), width=1000)
    print_tables([tmp_path], console)
    page = write_report([tmp_path], tmp_path / "out", lambda _: pose_task()).read_text()
    for text in (console.file.getvalue(), page, format_markdown(collect([tmp_path]))):
        assert warning in text


def test_what_the_labels_say_is_not_said_again(tmp_path):
    """Sweeps over plug-ins, over settings of a selection, and over a setting that the labels show."""
    run_dir(tmp_path / "kl", ROWS, **{"objective.pairs": "halves"})
    margin = {"objective._target_": "llpp.objectives.ranking.Ranking", "objective.pairs": "all", "ranker": "head"}
    run_dir(tmp_path / "ranking", ROWS, acquisition="core_set", audit=0.1, **margin)
    assert list_found(tmp_path) == []
    sweep = tmp_path / "sweep"
    run_dir(sweep / "short", ROWS, **{"trainer.max_epochs": 3})
    run_dir(sweep / "long", ROWS, **{"trainer.max_epochs": 20})
    assert list_found(sweep) == []


def test_names_of_runs_do_not_hide_a_setting(tmp_path):
    """Runs with the same plug-ins and names of their own are labelled by these."""
    run_dir(tmp_path / "a", ROWS, name="a", **{"optimizer.lr": 0.001})
    run_dir(tmp_path / "b", ROWS, name="b", **{"optimizer.lr": 0.002})
    (warning,) = list_found(tmp_path)
    assert "optimizer.lr is 0.001 (a) or 0.002 (b)." in warning


def test_many_settings_and_many_methods_fit_into_a_sentence(tmp_path):
    names = ("random", "core_set", "predicted_loss", "entropy")
    usual = {f"trainer.setting_{number}": 0 for number in range(6)}
    for name in names:
        run_dir(tmp_path / name, ROWS, acquisition=name, **usual)
    other = {key: 1 for key in usual}
    run_dir(tmp_path / "typiclust", ROWS, acquisition="typiclust", **other)
    (warning,) = list_found(tmp_path)
    assert "trainer.setting_0 is 0 (4 methods) or 1 (typiclust);" in warning
    assert "trainer.setting_3 is" in warning
    assert "trainer.setting_4" not in warning
    assert "and 2 more, in the full settings." in warning


def test_a_setting_that_an_older_run_did_not_record_is_unknown(tmp_path):
    run_dir(tmp_path / "random", ROWS)
    run_dir(tmp_path / "core_set", ROWS, acquisition="core_set", **{"crop.margin": 1.5})
    assert list_found(tmp_path) == []
