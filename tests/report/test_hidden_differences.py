"""Methods whose models were trained differently are compared with a warning."""

import io

import pytest
from helpers.run_dirs import pose_task, row, run_dir
from rich.console import Console

from llpp.report.collect import collect
from llpp.report.hidden_differences import list_hidden_differences
from llpp.report.markdown import format_markdown
from llpp.report.page import write_report
from llpp.report.terminal import print_tables

ROWS = [row(0, 10, 0.5)]
ADAM = {"optimizer._target_": "torch.optim.Adam"}
SGD = {"optimizer._target_": "torch.optim.SGD"}
HEAD = {"head._target_": "llpp.heads.heatmap_conv.HeatmapConvHead"}


def make_methods(folder, **settings):
    """One run for each acquisition, with settings of its own."""
    for acquisition, values in settings.items():
        run_dir(folder / acquisition, ROWS, acquisition=acquisition, **values)


def list_found(folder):
    (section,) = collect([folder]).sections
    return list_hidden_differences(section)


def get_warning(folder):
    (warning,) = list_found(folder)
    return warning


def test_a_run_with_fewer_epochs_is_named_wherever_it_is_compared(tmp_path):
    usual = {"trainer.max_epochs": 20, "trainer.check_val_every_n_epoch": 20}
    trial = {"trainer.max_epochs": 3, "trainer.check_val_every_n_epoch": 3}
    make_methods(tmp_path, core_set=usual, predicted_loss=trial, random=usual)
    run_dir(tmp_path / "starting", [], acquisition="entropy", **{"trainer.max_epochs": 1})  # nothing to compare yet
    warning = get_warning(tmp_path)
    assert "same settings: trainer.max_epochs is 20 (core_set, random) or 3 (predicted_loss). Diff" in warning
    console = Console(file=io.StringIO(), width=1000)
    print_tables([tmp_path], console)
    page = write_report([tmp_path], tmp_path / "out", lambda _: pose_task()).read_text()
    for text in (console.file.getvalue(), page, format_markdown(collect([tmp_path]))):
        assert warning in text


def test_a_sweep_over_plug_ins_and_over_what_selects_is_no_surprise(tmp_path):
    first = {"audit": 0.1, "ranker": "head", "budget": 8, "initial": 5, "scoring.subset": 10, "pool.space": "pose"}
    second = {"audit": 0.2, "ranker": "auto", "budget": 9, "initial": 6, "scoring.subset": 20, "pool.space": "pixel"}
    first |= {"head.channels": 8, "acquisition.beta": 1}
    second |= HEAD | {"head.channels": 16, "acquisition.beta": 2}
    make_methods(tmp_path, stratified_power=first, adaptive=second)
    assert list_found(tmp_path) == []


def test_a_setting_that_the_labels_show_is_not_named_again(tmp_path):
    run_dir(tmp_path / "short", ROWS, **{"trainer.max_epochs": 3})
    run_dir(tmp_path / "long", ROWS, **{"trainer.max_epochs": 20})
    assert list_found(tmp_path) == []


def test_labels_that_are_names_of_runs_do_not_hide_what_differs(tmp_path):
    run_dir(tmp_path / "a", ROWS, name="a", **{"optimizer.lr": 0.001, "scheduler": None})
    run_dir(tmp_path / "b", ROWS, name="b", **{"optimizer.lr": 0.002, "scheduler": None})
    other = {"optimizer.lr": 0.001, "scheduler._target_": "llpp.training.schedules.one_cycle"}
    other["callbacks.mine._target_"] = "my.tool.Callback"
    run_dir(tmp_path / "c", ROWS, name="c", **HEAD, **other)
    warning = get_warning(tmp_path)
    assert "head is gap_fc (a, b) or heatmap_conv (c);" in warning
    assert "optimizer.lr is 0.001 (a, c) or 0.002 (b)" in warning
    assert "scheduler is none (a, b) or schedules (c)" in warning
    assert "callbacks.mine is none (a, b) or tool (c)." in warning


@pytest.mark.parametrize("key", ["trainer.max_steps", "optimizer.nesterov", "crop.cache"])
def test_what_is_recorded_only_where_it_is_set_differs_from_its_default(tmp_path, key):
    make_methods(tmp_path, random=ADAM, core_set={**ADAM, key: 50})
    assert f"{key} is 50 (core_set) or not set (random)." in get_warning(tmp_path)


def test_a_setting_that_is_younger_than_a_run_is_compared_among_the_others(tmp_path):
    make_methods(tmp_path, random={}, core_set={"crop.margin": 1.5})
    assert list_found(tmp_path) == []
    make_methods(tmp_path, entropy={"crop.margin": 2.5})
    assert "crop.margin is 1.5 (core_set) or 2.5 (entropy)." in get_warning(tmp_path)


def test_settings_are_compared_among_methods_with_the_same_plug_in(tmp_path):
    make_methods(
        tmp_path,
        random={**ADAM, "optimizer.lr": 0.001},
        core_set={**ADAM, "optimizer.lr": 0.003},
        entropy={**SGD, "optimizer.lr": 0.1},
    )
    warning = get_warning(tmp_path)
    assert "optimizer.lr is 0.003 (core_set + Adam) or 0.1 (entropy + SGD) or 0.001 (random + Adam)." in warning
    assert "optimizer is" not in warning  # the labels say so


def test_a_network_that_one_method_trains_besides_is_named(tmp_path):
    lengths = {"auxiliary._target_": "llpp.auxiliary.link_lengths.LinkLengths"}
    make_methods(tmp_path, random={"training.weights": "last"}, vl4pose={"training.weights": "last", **lengths})
    run_dir(tmp_path / "best", ROWS, name="best", **{"training.weights": "best"})
    warning = get_warning(tmp_path)
    assert "training.weights is best (best) or last (random, vl4pose)" in warning
    assert "auxiliary is none (best, random) or link_lengths (vl4pose)." in warning


def test_more_or_less_validation_is_named_by_itself(tmp_path):
    """It decides which weights are best, and when a plateau is found."""
    often = {"trainer.check_val_every_n_epoch": 1}
    make_methods(tmp_path, random=often, core_set={"trainer.check_val_every_n_epoch": 10})
    assert "trainer.check_val_every_n_epoch is 10 (core_set) or 1 (random)." in get_warning(tmp_path)


def test_validation_that_the_epochs_do_not_explain_is_named_next_to_them(tmp_path):
    usual = {"trainer.max_epochs": 20, "trainer.check_val_every_n_epoch": 20}
    trial = {"trainer.max_epochs": 3, "trainer.check_val_every_n_epoch": 3}
    often = {"trainer.max_epochs": 20, "trainer.check_val_every_n_epoch": 1}
    make_methods(tmp_path, core_set=usual, predicted_loss=trial, random=often)
    warning = get_warning(tmp_path)
    assert "trainer.max_epochs is 20 (core_set, random) or 3 (predicted_loss)" in warning
    assert "trainer.check_val_every_n_epoch is 20 (core_set) or 3 (predicted_loss) or 1 (random)" in warning


def test_classes_of_one_module_have_names_of_their_own(tmp_path):
    lion = {"optimizer._target_": "my.lion.Lion"}
    make_methods(tmp_path, random=ADAM, core_set=SGD, entropy=lion)
    (section,) = collect([tmp_path]).sections
    labels = [method.label for method in section.methods]
    assert labels == ["core_set + SGD", "entropy + lion", "random + Adam"]
    assert list_found(tmp_path) == []
    run_dir(tmp_path / "slow", ROWS, name="slow", **ADAM, **{"training.init": "last"})
    assert "optimizer is SGD (core_set) or lion (entropy) or Adam (random, slow)" in get_warning(tmp_path)


def test_many_settings_methods_and_values_fit_into_a_sentence(tmp_path):
    usual = {"backbone.stacks": 1}
    usual |= {f"trainer.setting_{number}": 0 for number in range(5)}
    other = {key: "x" * 50 for key in usual}
    make_methods(tmp_path, random=usual, core_set=usual, predicted_loss=usual, entropy=usual, typiclust=other)
    warning = get_warning(tmp_path)
    assert f"trainer.setting_0 is 0 (4 methods) or {'x' * 40}… (typiclust);" in warning
    assert "trainer.setting_3 is" in warning
    assert "trainer.setting_4" not in warning
    assert "and 2 more, in the full settings of report.html." in warning
    for number in range(5):
        run_dir(tmp_path / f"trials/{number}", ROWS, name=f"trial {number}", **{"optimizer.lr": number})
    assert "optimizer.lr has 5 values." in get_warning(tmp_path / "trials")


def test_equal_numbers_are_no_difference(tmp_path):
    make_methods(tmp_path, random={"backbone.dropout": 0}, core_set={"backbone.dropout": 0.0})
    assert list_found(tmp_path) == []


def test_a_method_that_is_starting_has_its_part_in_the_labels(tmp_path):
    """With it there, the label says Adam, and without it, the module."""
    lion = {"optimizer._target_": "my.lion.Lion"}
    make_methods(tmp_path, random=ADAM, core_set=lion)
    run_dir(tmp_path / "starting", [], acquisition="entropy", **SGD)
    assert list_found(tmp_path) == []


def test_long_values_that_begin_alike_are_two(tmp_path):
    make_methods(tmp_path, random={"pixel.transforms": "x" * 50 + "1"}, core_set={"pixel.transforms": "x" * 50 + "2"})
    assert f"pixel.transforms is {'x' * 40}… (core_set) or {'x' * 40}… (random)." in get_warning(tmp_path)
