"""Differences over seeds, published numbers, further measures and failed jobs in the report."""

import csv
import io
import json

import pytest
from helpers.experiments import config
from helpers.run_dirs import pose_task, row, run_dir
from rich.console import Console

from llpp import report
from llpp.cli.report import run_report_command as report_command
from llpp.errors import ConfigError
from llpp.launch.job import job
from llpp.report.collect import collect
from llpp.report.differences import build_difference_grids, format_differences_csv
from llpp.report.facts import list_settings
from llpp.report.markdown import format_markdown
from llpp.report.page import write_report
from llpp.report.reference import LSP, MPII, compare_with_reference, get_reference
from llpp.report.summary import summarise_section
from llpp.report.tables import build_main_grids, build_threshold_grids

pytestmark = pytest.mark.slow


def seeds(folder, acquisition, tested, selected, **more):
    """Two rounds of each seed; `tested` and `selected` are one number per seed."""
    for seed, (test, found) in enumerate(zip(tested, selected, strict=True)):
        rows = [row(0, 10, 0.5, found, 0.6), row(1, 12, test)]
        run_dir(folder / acquisition / str(seed), rows, seed, acquisition, **more)


@pytest.fixture
def three_seeds(tmp_path):
    """`learned` finds 0.1, 0.2 and 0.3 lower than random does; on test images it is better twice and worse once."""
    seeds(tmp_path / "runs", "learned", (0.61, 0.63, 0.59), (0.3, 0.4, 0.2))
    seeds(tmp_path / "runs", "random", (0.60, 0.60, 0.60), (0.4, 0.6, 0.5))
    return tmp_path / "runs"


def test_differences_are_paired_by_seed_and_taken_to_random(three_seeds):
    (section,) = collect([three_seeds]).sections
    selected, tested = build_difference_grids(section)
    assert selected.title == "PCK@0.2 of the selected images: difference to random"
    assert selected.columns == ("10", "mean over rounds") and tested.columns == ("10", "12", "mean over rounds")
    ((label, pairs, cells),) = selected.rows
    assert (label, pairs) == ("learned", "3")
    # −0.1, −0.2, −0.3: with three seeds the interval is their range
    assert cells[0].text == "−0.200 *" and cells[0].notes == ("−0.300 to −0.100",)
    # 0.01, 0.03, −0.01 with 12 images, nothing with 10: half of it over both
    ((_, _, cells),) = tested.rows
    assert [cell.text for cell in cells] == ["0.000", "+0.010", "+0.005"]
    assert [cell.notes for cell in cells] == [
        ("0.000 to 0.000",), ("−0.010 to +0.030",), ("−0.005 to +0.015",),
    ]  # fmt: skip


def test_differences_reach_every_output(three_seeds, tmp_path):
    console = Console(file=io.StringIO(), width=100)
    report.print_tables([three_seeds], console)
    page = write_report([three_seeds], tmp_path / "out", lambda _: pose_task())
    for text in (console.file.getvalue(), page.read_text()):
        assert "difference to random" in text and "−0.300 to −0.100" in text
    text = (page.parent / "table.md").read_text()
    assert "| learned | −0.200 \\* (−0.300 to −0.100) |" in text and "too narrow" in text
    rows = list(csv.DictReader((page.parent / "differences.csv").open()))
    assert [(r["quantity"], r["labelled"]) for r in rows] == [
        ("selected_pck", "10"), ("selected_pck", ""), ("test_pck", "10"), ("test_pck", "12"), ("test_pck", ""),
    ]  # fmt: skip
    assert [float(rows[0][name]) for name in ("mean_difference", "low", "high", "pairs")] == [-0.2, -0.3, -0.1, 3]
    assert [r["excludes_zero"] for r in rows] == ["true", "true", "false", "false", "false"]
    assert {(r["method"], r["baseline"]) for r in rows} == {("learned", "random")}


def test_only_common_seeds_count(three_seeds):
    """Seeds 1 and 2 of random are replaced by 7 and 8: one pair is left."""
    for seed in (1, 2):
        run_dir(three_seeds / "random" / str(seed), [row(0, 10, 0.5, 0.4, 0.6)], seed + 6, "random")
    collection = collect([three_seeds])
    assert build_difference_grids(collection.sections[0]) == []
    assert "Too few seeds for intervals of the differences between methods: at most 1 in common" in format_markdown(
        collection
    )
    first = next(csv.DictReader(io.StringIO(format_differences_csv(collection))))
    assert (first["pairs"], first["low"], first["excludes_zero"]) == ("1", "", "")


def test_an_unfinished_seed_is_left_out_where_it_has_no_number(three_seeds):
    run_dir(three_seeds / "learned" / "2", [row(0, 10, 0.5, 0.2, 0.6)], 2, "learned")
    _, tested = build_difference_grids(collect([three_seeds]).sections[0])
    ((_, _, cells),) = tested.rows
    assert cells[0].notes == ("0.000 to 0.000",)
    assert cells[1].notes == cells[2].notes == ("2 pairs: too few",)


def test_one_method_has_nothing_to_differ_from(tmp_path):
    seeds(tmp_path, "random", (0.6, 0.6, 0.6), (0.4, 0.6, 0.5))
    text = format_markdown(collect([tmp_path]))
    assert "difference" not in text


def test_without_random_the_first_method_is_the_baseline(tmp_path):
    seeds(tmp_path, "core_set", (0.6, 0.6, 0.6), (0.4, 0.6, 0.5))
    seeds(tmp_path, "learned", (0.7, 0.7, 0.7), (0.3, 0.5, 0.4))
    selected, tested = build_difference_grids(collect([tmp_path]).sections[0])
    assert selected.title.endswith("difference to core_set") and tested.rows[0][0] == "learned"


def test_published_numbers_have_the_winners_that_the_paper_prints_bold():
    def best(means, stage, of=min):
        values = {name: stages[stage] for name, stages in means.items()}
        return {name for name, value in values.items() if value == of(values.values())}

    for table in (LSP, MPII):
        for part in (table.selected, table.test):
            assert list(part) == ["random", "coreset", "LL", "LL++", "conv"]
            assert all(len(stages) == len(table.labelled) == 5 for stages in part.values())
    lsp, mpii = ([best(t.selected, stage) for stage in range(5)] for t in (LSP, MPII))
    assert lsp == [{"conv"}, {"LL++"}, {"LL"}, {"coreset"}, {"coreset"}]
    assert mpii == [{"LL++"}, {"LL++", "conv"}, {"conv"}, {"coreset"}, {"coreset"}]
    # test images: random wins on LSP up to stage 4 and LL by 0.001 at 5; on MPII coreset, then LL
    assert [best(LSP.test, stage, max) for stage in range(5)] == [{"random"}] * 4 + [{"LL"}]
    assert [best(MPII.test, stage, max) for stage in range(5)] == [{"coreset"}] + [{"LL"}] * 4


def plug_ins(head, objective):
    return {
        "head._target_": f"llpp.heads.{head}.Head",
        "objective._target_": f"llpp.objectives.{objective}.Objective",
    }


def test_ours_stand_below_their_counterparts(tmp_path):
    made = {
        "random": ("random", "gap_fc", "kl"), "coreset": ("core_set", "multiscale_conv", "kl"),
        "LL": ("predicted_loss", "gap_fc", "ranking"), "LL++": ("predicted_loss", "gap_fc", "kl"),
        "conv": ("predicted_loss", "multiscale_conv", "kl"), "oracle": ("true_loss", "gap_fc", "kl"),
        "other": ("predicted_loss", "gap_multilevel", "ranking"),
    }  # fmt: skip
    for place, (name, (acquisition, head, objective)) in enumerate(made.items()):
        rows = [row(0, 1000, 0.7 + place / 100, 0.3 + place / 100, 0.6), row(1, 1500, 0.8)]
        run_dir(tmp_path / name, rows, 0, acquisition, ids="lsp_lspet", **plug_ins(head, objective))
    found = compare_with_reference(collect([tmp_path]).sections[0], get_reference("paper"))
    selected, tested = found.grids
    labels = [label for label, _, _ in selected.rows]
    assert labels == [
        "labelled images (paper)", "labelled images (here)",
        "random (paper)", "here: gap_fc + kl + random",
        "coreset (paper)", "here: multiscale_conv + kl + core_set",
        "LL (paper)", "here: gap_fc + ranking + predicted_loss",
        "LL++ (paper)", "here: gap_fc + kl + predicted_loss",
        "conv (paper)", "here: multiscale_conv + kl + predicted_loss",
    ]  # fmt: skip
    texts = [[cell and cell.text for cell in cells] for _, _, cells in selected.rows]
    assert texts[0] == ["2,000", "3,000", "4,000", "5,000", "6,000"]
    assert texts[1] == ["1,000", "1,500", None, None, None]
    assert texts[6] == ["0.305", "0.253", "0.358", "0.520", "0.617"]
    assert texts[7] == ["0.320", None, None, None, None]  # round 0 stands under stage 1; round 1 selected nothing
    bold = [label for label, _, cells in selected.rows if cells[0].best]
    assert bold == ["here: gap_fc + kl + random", "conv (paper)"]
    assert [cell and cell.text for cell in tested.rows[3][2]][:3] == ["0.700", "0.800", None]
    assert "not directly comparable" in found.note and "0.2105" in found.note and "39 %" in found.note
    assert found.note.endswith("gap_fc + kl + true_loss, gap_multilevel + ranking + predicted_loss.")


def test_a_reference_reaches_every_output(tmp_path, capsys):
    run_dir(tmp_path / "runs", [row(0, 1000, 0.7, 0.3, 0.6), row(1, 1500, 0.8)], ids="mpii")
    for spelling in (["--reference", "paper"], ["report.reference=paper"]):
        assert report_command([str(tmp_path / "runs"), *spelling, "--output", str(tmp_path / "out")]) == 0
        printed = capsys.readouterr().out
        for text in (printed, (tmp_path / "out/report.html").read_text(), (tmp_path / "out/table.md").read_text()):
            assert "0.663" in text and "0.836" in text and "LL++ (paper)" in text
            assert "not directly comparable" in text
    assert get_reference("null") is get_reference(None) is None


def test_a_dataset_without_published_numbers_gets_a_sentence(three_seeds, tmp_path):
    page = write_report([three_seeds], tmp_path / "out", lambda _: pose_task(), get_reference("paper"))
    for text in (page.read_text(), (page.parent / "table.md").read_text()):
        assert "has no numbers for the dataset grey" in text and "(paper)" not in text


def test_an_unknown_reference_is_refused_before_anything_is_written(three_seeds):
    with pytest.raises(ConfigError, match=r"report.reference='thesis' is invalid; expected paper, or leave it out"):
        report_command([str(three_seeds), "--reference", "thesis"])
    assert not (three_seeds / "report.html").exists()


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("report.reference=thesis", "report.reference='thesis' is invalid; expected paper"),
        ("report=false", "report=False is invalid; expected report.write=true or report.write=false"),
    ],
)
def test_a_run_refuses_them_before_training(tmp_path, capsys, override, sentence):
    with pytest.raises(SystemExit):
        job(config(tmp_path / "run", override))
    assert sentence in capsys.readouterr().err and not (tmp_path / "run").exists()


METRICS = {"metric.test": "PCKh~@0.5", "metric.train": "PCK@0.2", "metric.normaliser": "the longest rib"}
MORE = {"test_pck_auc": 0.4, "test_pck_at_0.1": 0.2, "test_pck_at_0.05": 0.1, "test_pck_head_top": 0.9}


def test_the_metrics_own_names_are_used(tmp_path):
    run_dir(tmp_path / "a", [row(0, 10, 0.5, 0.1, 0.6), row(1, 12, 0.7)], **METRICS)
    (section,) = collect([tmp_path]).sections
    assert [table.title.partition(":")[0] for table in build_main_grids(section)] == [
        "(a) PCK@0.2 of the selected images", "(b) PCKh~@0.5 on the test images",
    ]  # fmt: skip
    assert "a mean PCK@0.2 of 0.10" in summarise_section(
        section
    ) and "the test PCKh~@0.5 is 0.700" in summarise_section(section)
    rows = dict(list_settings(section, None, 0))
    assert (
        rows["metric"] == "PCKh~@0.5 (~: its normaliser is an estimate)"
        and rows["its normaliser"] == "the longest rib"
    )
    assert rows["metric of selected images"] == "PCK@0.2"
    assert rows["test images without that normaliser"] == "3 (left out of PCK)"
    assert "labels spent on validation" not in rows


def test_other_metrics_are_other_sections(tmp_path):
    rows = [row(0, 10, 0.5)]
    run_dir(tmp_path / "a", rows, **METRICS)
    run_dir(tmp_path / "b", rows, acquisition="learned", **METRICS | {"metric.test": "PCK@0.2"})
    sections = collect([tmp_path]).sections
    assert [s.dataset for s in sections] == ["grey (metric.test=PCKh~@0.5)", "grey (metric.test=PCK@0.2)"]


def test_further_thresholds_and_the_area_are_tables_and_joints_are_not(tmp_path):
    run_dir(tmp_path / "a", [row(0, 10, 0.5, 0.1, 0.6, **MORE), row(1, 12, 0.7, **MORE)], **METRICS)
    collection = collect([tmp_path])
    assert [table.title for table in build_threshold_grids(collection.sections[0])] == [
        "Area under the PCKh~ curve on the test images",
        "PCKh~@0.05 on the test images",
        "PCKh~@0.1 on the test images",
    ]
    text = format_markdown(collection)
    assert "| 0.400 | 0.400 | 1 |" in text and "head_top" not in text and "0.900" not in text
    assert "More measures" in write_report([tmp_path], tmp_path / "out", lambda _: pose_task()).read_text()


def test_labels_spent_on_validation_are_shown(tmp_path):
    rows = [row(0, 10, 0.5, 0.1, 0.6, validation_labels=1500), row(1, 12, 0.7, validation_labels=1500)]
    (section,) = collect([run_dir(tmp_path / "a", rows)]).sections
    selected, tested = build_main_grids(section)
    assert tested.note.endswith("; 1,500 labelled validation images steered training and come on top")
    assert "validation" not in selected.note
    assert dict(list_settings(section, None, 0))["labels spent on validation"] == "1,500"
    rows = [row(0, 10, 0.5, 0.1, 0.6, validation_labels=0)]
    (section,) = collect([run_dir(tmp_path / "b", rows)]).sections
    assert "validation" not in build_main_grids(section)[1].note
    assert dict(list_settings(section, None, 0))["labels spent on validation"] == "0"


def fail(folder, reason):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "failed.json").write_text(json.dumps({"reason": reason, "when": "2026-01-02T03:04:05"}))


def test_failed_jobs_are_shown_with_and_without_a_state(three_seeds, tmp_path):
    run_dir(three_seeds / "learned" / "2", [row(0, 10, 0.5, 0.2, 0.6)], 2, "learned")
    fail(three_seeds / "learned" / "2", "no space left | on <device>")
    fail(three_seeds / "wide" / "0", "crop.size=48 does not fit")
    (three_seeds / "odd").mkdir()
    (three_seeds / "odd" / "failed.json").write_text("{")
    html = write_report([three_seeds], tmp_path / "out", lambda _: pose_task()).read_text()
    assert "1 of 2 (unfinished); failed: no space left | on &lt;device&gt;" in html
    assert "failed: crop.size=48 does not fit" in html and "2026-01-02T03:04:05" in html
    text = (tmp_path / "out" / "table.md").read_text()
    assert "wide/0: crop.size=48 does not fit" in text and "no space left \\| on &lt;device" in text
    console = Console(file=io.StringIO(), width=300)
    report.print_tables([three_seeds], console)
    assert "wide/0: crop.size=48 does not fit" in console.file.getvalue()
    assert "failed.json cannot be read" in console.file.getvalue()


def test_a_folder_of_failures_only_is_one_sentence(tmp_path):
    for number in range(5):
        fail(tmp_path / "runs" / str(number), f"out of memory in job {number}")
    with pytest.raises(ConfigError, match=r"only failed jobs.*fix them and start them again") as error:
        report_command([str(tmp_path / "runs")])
    message = str(error.value)
    assert "0: out of memory in job 0; " in message and "and 2 more" in message
    assert "job 3" not in message
