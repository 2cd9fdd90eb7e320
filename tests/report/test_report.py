import csv
import io
import json
import re
from dataclasses import replace

import numpy as np
import pytest
from helpers.run_dirs import JOINTS, Grey, class_task, pose_task, row, run_dir
from rich.console import Console

from llpp import report
from llpp.cli.report import run_report_command as report_command
from llpp.errors import ConfigError, DataError, StateError
from llpp.inference.evaluation import Evaluation
from llpp.report import gallery
from llpp.report.collect import collect
from llpp.report.labels import build_dataset_labels, build_method_labels
from llpp.report.markdown import format_markdown
from llpp.report.page import write_report
from llpp.report.summary import summarise_section
from llpp.report.tables import build_main_grids, format_tidy_csv
from llpp.rounds.records import write_scores
from llpp.tasks.pose.drawing import SIDE_COLOURS, TILE, compute_tile_matrix, draw_person

pytestmark = pytest.mark.slow

FILES = (
    "table.md", "table.csv", "differences.csv", "learning_curve.png", "failure_finding.png", "failure_payoff.png",
    "predicted_vs_true.png", "risk_coverage.png", "reliability.png", "report.html",
)  # fmt: skip


@pytest.fixture
def two_methods(tmp_path):
    """Two methods; `learned` with seeds 0 and 1, `random` with seed 0 only."""
    runs = tmp_path / "runs"
    run_dir(runs / "a" / "0", [row(0, 10, 0.5, 0.1, 0.6), row(1, 12, 0.7)], 0, "learned", files=True)
    run_dir(runs / "a" / "1", [row(0, 10, 0.6, 0.2, 0.5), row(1, 12, 0.8)], 1, "learned")
    run_dir(runs / "b" / "0", [row(0, 10, 0.5504, 0.5, 0.6), row(1, 12, 0.6)], 0, "random", files=True)
    return runs


def test_mean_spread_and_best_are_those_worked_out_by_hand(two_methods):
    (section,) = collect([two_methods]).sections
    selected, tested = build_main_grids(section)
    assert [label for label, *_ in tested.rows] == ["learned", "random"]
    assert tested.columns == ("10", "12") and selected.columns == ("10",)
    # 0.5, 0.6: mean 0.55, std sqrt(2 · 0.05²) = 0.0707; 0.5504 looks like 0.550, so both are bold
    (learned, random) = (cells for _, _, cells in tested.rows)
    assert learned[0].text == "0.550 ± 0.071" and random[0].text == "0.550"
    assert learned[0].best and random[0].best
    assert learned[1].best and not random[1].best
    assert selected.rows[0][2][0].text == "0.150 ± 0.071" and selected.rows[0][2][0].notes == ("pool 0.550",)
    assert selected.rows[0][2][0].best and not selected.rows[1][2][0].best
    assert "over 1 to 2 seeds" in tested.note


def test_markdown_has_both_parts(two_methods):
    text = format_markdown(collect([two_methods]))
    assert "(a) PCK@0.2 of the selected images" in text and "(b) PCK@0.2 on the test images" in text
    assert "| learned | **0.150 ± 0.071** (pool 0.550) | 2 |" in text
    assert "| random | **0.550** | 0.600 | 1 |" in text


def test_one_seed_has_no_spread(tmp_path):
    run_dir(tmp_path / "one", [row(0, 10, 0.5, 0.1, 0.6)])
    text = format_markdown(collect([tmp_path]))
    assert "1 seed, no spread" in text and "±" not in text and "**0.5" not in text


def test_csv_is_tidy(two_methods):
    rows = list(csv.DictReader(io.StringIO(format_tidy_csv(collect([two_methods])))))
    assert list(rows[0]) == ["dataset", "method", "round", "labelled", "quantity", "mean", "std", "seeds"]
    found = {(r["method"], r["round"], r["quantity"]): r for r in rows}
    learned = found["learned", "1", "test_pck"]
    assert (learned["dataset"], learned["labelled"], learned["mean"], learned["seeds"]) == ("grey", "12", "0.75", "2")
    assert float(learned["std"]) == pytest.approx(0.0707107)
    assert found["random", "1", "test_pck"]["std"] == ""
    assert not any(r["quantity"] == "failure_auroc" for r in rows)


def test_unfinished_and_empty_runs_are_listed(tmp_path):
    run_dir(tmp_path / "a", [row(0, 10, 0.5, 0.1, None)], acquisition="learned")
    run_dir(tmp_path / "b", [], acquisition="random")
    html = write_report([tmp_path], tmp_path / "out", lambda _: pose_task()).read_text()
    assert "1 of 2 (unfinished)" in html and "0 of 2 (no round yet)" in html
    assert "random: no round yet (seed 0)" in (tmp_path / "out" / "table.md").read_text()


def test_nothing_but_an_empty_run_still_makes_a_page(tmp_path):
    run_dir(tmp_path / "a", [])
    page = write_report([tmp_path / "a"], tmp_path / "a", lambda _: pose_task())
    assert "No round is committed yet" in page.read_text()
    assert all((tmp_path / "a" / name).stat().st_size for name in FILES)


def test_damaged_and_missing_runs_are_one_sentence(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="holds no run"):
        collect([tmp_path / "empty"])
    with pytest.raises(ConfigError, match="is not a folder"):
        collect([tmp_path / "nowhere"])
    folder = run_dir(tmp_path / "a", [row(0, 10, 0.5)])
    (folder / "config.yaml").write_text("a: [")
    with pytest.raises(StateError, match=r"no readable config\.yaml"):
        collect([folder])
    (folder / "state.json").write_text("{")
    with pytest.raises(StateError, match="damaged"):
        collect([folder])


def test_labels_say_what_differs():
    def settings(head="h.gap_fc.A", acquisition="a.random.R", **more):
        return {"head._target_": head, "acquisition._target_": acquisition, **more}

    two = [settings(), settings(acquisition="a.core_set.C")]
    assert build_method_labels(["x", "y"], two) == ["random", "core_set"]
    both = [settings(), settings("h.conv.B", "a.core_set.C")]
    assert build_method_labels(["x", "y"], both) == ["gap_fc + random", "conv + core_set"]
    same_module = [
        settings(pose_loss="-", **{"pose_loss._target_": f"llpp.tasks.pose.losses.{c}"}) for c in ("MSE", "CE")
    ]
    assert build_method_labels(["x", "y"], same_module) == ["MSE", "CE"]
    weights = [settings(**{"training.head_weight": weight}) for weight in (1.0, 0.5)]
    assert build_method_labels(["x", "y"], weights) == ["x", "y"]
    assert build_method_labels(["x", "x"], weights)[1].endswith("(training.head_weight=0.5)")
    assert build_dataset_labels(["lsp/im1", "mpii/a#0"], [{"dataset.box": "a"}] * 2) == ["lsp", "mpii"]
    assert build_dataset_labels(["lsp/im1"] * 2, [{"dataset.box": b} for b in "ab"])[0] == "lsp (dataset.box=a)"


def test_other_datasets_are_other_sections_and_copies_count_once(tmp_path):
    rows = [row(0, 10, 0.5)]
    run_dir(tmp_path / "a", rows)
    run_dir(tmp_path / "copy", rows)
    run_dir(tmp_path / "b", rows, **{"dataset.box": "image"})
    found = collect([tmp_path, tmp_path / "a"])
    assert [section.dataset for section in found.sections] == ["grey (dataset.box=None)", "grey (dataset.box=image)"]
    assert [len(method.runs) for section in found.sections for method in section.methods] == [1, 1]
    assert [path.name for path in found.copies] == ["copy"]


def test_hostile_names_stay_text(tmp_path):
    hostile = "<script>alert(1)</script> | $\\frac{ **x**"
    run_dir(tmp_path / "a", [row(0, 10, 0.5, 0.1, 0.6)], name=hostile, head_weight=1.0, files=True)
    run_dir(tmp_path / "b", [row(0, 10, 0.5, 0.1, 0.6)], name="_plain", head_weight=0.5)
    for folder in ("a", "b"):
        (tmp_path / folder / "config.yaml").write_text(
            f"name: '{hostile if folder == 'a' else '_plain'}'\nseed: 0\nrounds: 2\n"
        )
    html = write_report([tmp_path], tmp_path / "out", lambda _: pose_task()).read_text()
    assert "<script>alert" not in html and "&lt;script&gt;alert(1)" in html
    # The viewer's script reads the names from JSON, which must not end its own element.
    (data,) = re.findall(r'<script type="application/json">(.*?)</script>', html, flags=re.DOTALL)
    assert hostile in {word for picture in json.loads(data)["pictures"] for word in picture["words"]}
    lines = [line for line in (tmp_path / "out" / "table.md").read_text().splitlines() if "alert" in line]
    assert lines and all("<" not in line and "\\|" in line and "**x" not in line for line in lines)


def test_the_page_is_whole_and_needs_nothing_from_outside(two_methods, tmp_path):
    page = write_report([two_methods], tmp_path / "out", lambda _: pose_task())
    assert page == tmp_path / "out" / "report.html"
    assert sorted(p.name for p in page.parent.iterdir()) == sorted(FILES)
    html = page.read_text()
    markup = re.sub(r"<script>.*?</script>", "", html, flags=re.DOTALL)
    loaded = re.findall(r"(?:src|srcset|href)\s*=\s*[\"']([^\"']*)", markup)
    assert loaded and all(target.startswith("data:image/") for target in loaded)
    assert "url(" not in html and "@import" not in html
    assert html.count("data:image/jpeg") == 4  # two methods, one selection of two images each
    assert "Person boxes come from ground-truth joints" in html
    assert "no such &lt;file&gt;" in html and "3 (left out of PCK)" in html
    # worst true loss first: of the two selected images that is the second
    assert html.index('title="grey/0 ') < html.index('title="grey/1 ')


def test_a_narrow_screen_cuts_no_table(two_methods, tmp_path):
    """Tables of numbers scroll in frames of their own; those of words break their lines."""
    html = write_report([two_methods], tmp_path / "out", lambda _: pose_task()).read_text()
    assert '<meta name="viewport" content="width=device-width, initial-scale=1">' in html
    tables = html.count("<table")
    assert tables > 5
    in_frames = html.count('<div class="scroll"><table')
    of_words = html.count('\n<table class="facts"') + html.count('<table class="joints"')
    assert in_frames + of_words == tables
    assert ".scroll { overflow-x: auto" in html and "overflow-wrap: anywhere" in html


@pytest.fixture
def classes(tmp_path):
    """Two methods that classified."""
    measured = {f"metric.{name}": "accuracy" for name in ("name", "title", "test", "train")}
    measured["metric.higher_is_better"] = True
    found = {name: np.array(values, dtype=np.float32) for name, values in CLASSIFIED.items()}
    for acquisition, selected in (("learned", 0.2), ("random", 0.6)):
        folder = tmp_path / "runs" / acquisition
        first = class_row(0, 10, 0.5, selected=2, selected_accuracy=selected, pool_accuracy=0.6)
        run_dir(folder, [first, class_row(1, 12, 0.7)], 0, acquisition, **measured)
        scores = {name: found[name] for name in ("predicted_loss", "true_loss", "quality")}
        write_scores(folder / "round_00/test.parquet", ["grey/4", "grey/5"], Evaluation(scores, {}))
        write_scores(folder / "round_00/predictions.parquet", ["grey/1", "grey/0"], Evaluation(found, {}))
    return tmp_path / "runs"


CLASSIFIED = {
    "predicted_loss": [0.1, 0.4],
    "true_loss": [0.2, 0.3],
    "quality": [1.0, 0.0],
    "predicted_class": [1.0, 1.0],
    "confidence": [0.9, 0.6],
}


def class_row(number, labelled, test, **more):
    values = row(number, labelled, None)
    del values["test_pck"], values["test_undefined"]
    return {**values, "test_accuracy": test, "test_accuracy_cat": 0.4, **more}


def test_classes_are_reported_by_their_accuracy_and_captions(classes, tmp_path):
    text = write_report([classes], tmp_path / "out", lambda _: class_task()).read_text()
    assert "(a) accuracy of the selected images" in text and "(b) accuracy on the test images" in text
    assert "cat → dog (60%)" in text and "dog → dog (90%)" in text and text.count("data:image/jpeg") == 4
    assert "accuracy 0.20 over all 2 selected" in text
    table = (tmp_path / "out/table.csv").read_text()
    assert "grey,learned,0,10,selected_accuracy,0.2,,1" in table and "grey,learned,1,12,test_accuracy,0.7,,1" in table


def test_a_report_about_classes_speaks_of_no_joints(classes, tmp_path):
    html = write_report([classes], tmp_path / "out", lambda _: class_task()).read_text()
    visible = re.sub(r"<(style|script|details).*?</\1>|<[^>]+>", " ", html, flags=re.DOTALL)
    for words in ("PCK", "torso", "joint", "normaliser", "person"):
        assert words not in visible, words
    assert "4 train, 1 val, 1 test" in visible and "right class" in visible


def test_summary_speaks_of_the_numbers(two_methods):
    (section,) = collect([two_methods]).sections
    text = summarise_section(section)
    assert "learned chose images with a mean PCK@0.2 of 0.15 where those of random had 0.50" in text
    assert "With 12 labelled images, the test PCK@0.2 is 0.750 for learned and 0.600 for random" in text
    assert "Means over 1 to 2 seeds" in text


def test_a_missing_dataset_leaves_the_gallery_out(two_methods, tmp_path):
    def gone(folder):
        raise DataError(f"no images for {folder.name}")

    html = write_report([two_methods], tmp_path / "out", gone).read_text()
    assert "The gallery is left out because the dataset could not be read: no images for 0" in html
    assert "data:image/jpeg" not in html


def test_missing_score_files_and_unknown_ids_are_named(two_methods, tmp_path, monkeypatch):
    (two_methods / "a" / "0" / "round_00" / "predictions.parquet").write_bytes(b"PAR1 damaged")
    data = Grey()
    data.records = replace(data.records, ids=[f"new/{i}" for i in range(6)])
    html = write_report([two_methods], tmp_path / "out", lambda _: pose_task(data)).read_text()
    assert "predictions.parquet of this round is missing or damaged" in html
    assert "the dataset has no &#39;grey/0&#39; any more" in html


def test_too_many_selections_have_no_gallery(two_methods, tmp_path, monkeypatch):
    monkeypatch.setattr(gallery, "MOST_PICTURES", 6)
    assert (
        "would not fit on one page"
        in write_report([two_methods], tmp_path / "out", lambda _: pose_task()).read_text()
    )


def test_joints_are_drawn_where_they_belong():
    data = Grey()
    truth, box = data.records.labels.joints[0], data.records.boxes[0]
    predicted = truth + np.array([4, -3], dtype=np.float32)
    tile = draw_person(data.load(0), truth, predicted, box, data.skeleton)
    assert tile.shape == (TILE, TILE, 3)
    # box and joints span 20..60, so the square is 50 wide around (40, 40) and a pixel becomes four
    matrix = compute_tile_matrix((80, 100), truth, box)
    assert matrix[:, :2].tolist() == [[4, 0], [0, 4]]
    assert (matrix @ [40, 40, 1]).tolist() == [TILE / 2 - 0.5] * 2
    for name, side in (("r_ankle", "right"), ("head_top", "middle"), ("l_elbow", "left")):
        x, y = (matrix @ [*predicted[data.skeleton.joints.index(name)], 1]).round().astype(int)
        assert np.abs(tile[y, x].astype(int) - SIDE_COLOURS[side]).max() < 12, name
    x, y = (matrix @ [*truth[0], 1]).round().astype(int)
    assert tile[y, x].min() > 235  # the truth is white


def test_without_a_box_the_whole_image_is_shown():
    data = Grey()
    matrix = compute_tile_matrix((80, 100), data.records.labels.joints[0], np.full(4, np.nan, dtype=np.float32))
    assert matrix @ [-0.5, 39.5, 1] == pytest.approx([-0.5, TILE / 2 - 0.5])
    assert matrix @ [99.5, 39.5, 1] == pytest.approx([TILE - 0.5, TILE / 2 - 0.5])
    wild = np.full((JOINTS, 2), np.nan, dtype=np.float32)
    wild[0] = np.inf
    tile = draw_person(data.load(0), wild, wild, np.full(4, np.nan, dtype=np.float32), data.skeleton)
    assert np.ptp(tile, axis=-1).max() == 0 and 80 < tile.min() < tile.max() < 140  # nothing drawn but greys


def test_terminal_tables_and_command(two_methods, tmp_path, capsys):
    console = Console(file=io.StringIO(), width=100)
    report.print_tables([two_methods], console)
    assert "0.150 ± 0.071" in console.file.getvalue() and "pool 0.550" in console.file.getvalue()
    assert report_command([str(two_methods), "--output", str(tmp_path / "out")]) == 0
    assert str(tmp_path / "out" / "report.html") in capsys.readouterr().out
    with pytest.raises(ConfigError, match="is not a folder"):
        report_command([str(tmp_path / "nowhere")])


def test_an_output_that_cannot_be_written_is_one_sentence(two_methods, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StateError, match="cannot write the report"):
        write_report([two_methods], tmp_path / "file", lambda _: pose_task())
