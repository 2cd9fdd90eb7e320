"""Is the predicted loss better at finding failures than the network's own confidence? What the report answers."""

import numpy as np
import pytest
from helpers.run_dirs import pose_task, row, run_dir

from llpp.inference.evaluation import Evaluation
from llpp.report import figures
from llpp.report.collect import collect
from llpp.report.failure_scores import FailureScores, build_failure_grids, read_failure_scores
from llpp.report.page import write_report
from llpp.report.summary import summarise_section
from llpp.rounds.records import build_row, write_scores

pytestmark = pytest.mark.slow

IMAGES = 40
IDS = [f"grey/{number}" for number in range(IMAGES)]
RISING = np.arange(IMAGES, dtype=np.float32)
TEN_FAIL = (RISING < 30).astype(np.float32)  # qualities: the last ten images fail
QUESTION = (
    "Is the predicted loss better at finding failures than the network's own confidence, with 10 labelled images?"
)


def make_run(folder, predicted=RISING, confidence=None, quality=TEN_FAIL, seed=0, acquisition="learned", groups=None):
    """A run of one round as the loop would leave it; the true losses rise, so that they are right about failures."""
    columns = {"predicted_loss": predicted, "true_loss": RISING, "quality": quality}
    if confidence is not None:
        columns["confidence"] = confidence
    scores = Evaluation({name: np.float32(values) for name, values in columns.items()}, {"pck": 0.5})
    folder = folder / acquisition / str(seed)
    run_dir(folder, [build_row(0, pose_task(), 10, 0, scores)], seed, acquisition)
    write_scores(folder / "round_00/test.parquet", IDS, scores, groups)
    return folder


def get_section(folder):
    (section,) = collect([folder]).sections
    return section


def answer(folder):
    """What the summary says after the question."""
    text = summarise_section(get_section(folder))
    return text.partition(QUESTION)[2].strip()


def test_a_better_head_is_called_better_with_the_interval_over_images(tmp_path):
    """Of 40 images ten fail. Predicted losses are perfect, all confidences are the same.

    AUGRC is 0.25² / 2 = 0.031 against 0.25 / 2 = 0.125. An image adds 0.25 · failed − 0.031 to the former and
    0.5 · failed to the latter, so the difference is the mean of −0.25 · failed − 0.031: of ten ones among 40 the
    standard deviation is 0.4385, and Student's interval ± 2.0227 · 0.25 · 0.4385 / √40 = ± 0.035.
    """
    make_run(tmp_path, confidence=np.ones(IMAGES))
    assert answer(tmp_path).startswith(
        "Yes: AUROC 1.000 against 0.500, AUGRC 0.031 against 0.125 (−0.094; 95 % interval over images: "
        "−0.129 to −0.059). AUGRC is the share of images that fail unnoticed."
    )


def test_a_worse_head_is_called_worse(tmp_path):
    make_run(tmp_path, predicted=np.ones(IMAGES), confidence=-RISING)
    assert answer(tmp_path).startswith(
        "No, it is worse: AUROC 0.500 against 1.000, AUGRC 0.125 against 0.031 (+0.094; 95 % interval over images: "
        "+0.059 to +0.129)."
    )


def test_what_may_be_chance_is_not_shown(tmp_path):
    # Both rank as well as the other: one misplaces the first image that fails, the other the second.
    predicted = RISING.copy()
    predicted[30] = -1
    doubt = RISING.copy()
    doubt[31] = -1
    make_run(tmp_path, predicted=predicted, confidence=-doubt)
    assert answer(tmp_path).startswith(
        "That is not shown: AUROC 0.900 against 0.900, AUGRC 0.050 against 0.050 (0.000"
    )


def test_with_three_seeds_the_interval_is_over_seeds(tmp_path):
    """AUGRC by predicted loss is 0.21, 0.20 and 0.22, and 0.10 by confidence each time.

    Student's interval of three values that are 0.01 apart is their mean ± 4.303 · 0.01 / √3 = ± 0.025.
    """
    for seed, augrc in enumerate((0.21, 0.20, 0.22)):
        measured = {"failure_share": 0.4, "failure_auroc": 0.6, "confidence_auroc": 0.8, "confidence_augrc": 0.1}
        run_dir(tmp_path / str(seed), [row(0, 10, 0.5) | measured | {"failure_augrc": augrc}], seed)
    assert answer(tmp_path).startswith(
        "No, it is worse: AUROC 0.600 against 0.800, AUGRC 0.210 against 0.100 (+0.110; 95 % interval over 3 seeds: "
        "+0.085 to +0.135)."
    )


def test_each_method_has_its_own_answer_unless_they_share_their_model(tmp_path):
    make_run(tmp_path / "same", confidence=np.ones(IMAGES), acquisition="learned")
    make_run(tmp_path / "same", confidence=np.ones(IMAGES), acquisition="random")
    text = answer(tmp_path / "same")
    assert text.startswith("Yes: AUROC 1.000 against 0.500") and text.count("AUROC") == 1

    make_run(tmp_path / "other", confidence=np.ones(IMAGES), acquisition="learned")
    make_run(tmp_path / "other", predicted=np.ones(IMAGES), confidence=-RISING, acquisition="random")
    text = answer(tmp_path / "other")
    assert text.startswith("Yes: learned with AUROC 1.000 against 0.500")
    assert "; no, it is worse: random with AUROC 0.500 against 1.000, AUGRC 0.125 against 0.031 (+0.094; " in text


def test_what_cannot_be_compared_is_said(tmp_path):
    make_run(tmp_path / "all", confidence=RISING, quality=np.zeros(IMAGES))
    assert answer(tmp_path / "all").startswith("That is not known: all of the test images fail.")
    make_run(tmp_path / "none", confidence=RISING, quality=np.ones(IMAGES))
    assert answer(tmp_path / "none").startswith("That is not known: none of the test images fail.")
    make_run(tmp_path / "task")
    assert answer(tmp_path / "task").startswith("That is not known: these runs did not record it.")
    folder = make_run(tmp_path / "gone", confidence=-RISING)
    (folder / "round_00/test.parquet").unlink()
    assert answer(tmp_path / "gone").startswith("It is not known whether the difference is more than chance: AUROC")


def test_methods_that_never_had_as_many_labels_are_not_compared(tmp_path):
    measured = {"failure_share": 0.4, "failure_auroc": 0.6, "confidence_augrc": 0.1}
    run_dir(tmp_path / "few", [row(0, 10, 0.5) | measured], acquisition="learned")
    run_dir(tmp_path / "many", [row(0, 80, 0.5) | measured], acquisition="random")
    assert "confidence? That is not known: the methods have no number of labelled images in common." in (
        summarise_section(get_section(tmp_path))
    )


def test_runs_of_older_versions_say_so_and_do_without(tmp_path):
    run_dir(tmp_path / "older", [row(0, 10, 0.5, failure_auroc=0.7)])
    section = get_section(tmp_path / "older")
    assert "than the network's own confidence? That is not known: these runs did not record it." in (
        summarise_section(section)
    )
    assert build_failure_grids(section) == []
    write_report([tmp_path / "older"], tmp_path / "out", lambda _: pose_task())


def test_images_without_groups_are_groups_of_their_own(tmp_path):
    older = make_run(tmp_path / "older")
    scores = read_failure_scores(get_section(older).first_run, 0)
    assert scores.doubts == {} and scores.group.tolist() == IDS

    films = [f"film {number // 10}" for number in range(IMAGES)]
    quality = TEN_FAIL.copy()
    quality[3] = np.nan
    newer = make_run(tmp_path / "newer", confidence=RISING, quality=quality, groups=films)
    scores = read_failure_scores(get_section(newer).first_run, 0)
    assert scores.group.tolist() == [*films[:3], *films[4:]], "an image without a quality is left out"
    doubt = scores.doubts["confidence"]
    assert doubt[0] == 0.0 and doubt[-1] == -39.0 and scores.failed.sum() == 10


def test_an_image_without_a_predicted_loss_is_left_out(tmp_path):
    predicted = RISING.copy()
    predicted[5] = np.nan
    make_run(tmp_path, predicted=predicted)
    scores = read_failure_scores(get_section(tmp_path).first_run, 0)
    assert len(scores.predicted) == len(scores.calibration.score) == IMAGES - 1


def test_the_table_of_rankings_by_hand(tmp_path):
    """Predicted losses are useless, confidences the wrong way round: the ten failures come first.

    Of the surest 80 %, 32 images, ten fail; of 90 % 10 of 36, of 95 % 10 of 38. The mean of the risks, 1 for each of
    the first ten images and 10 / k after that, is 0.25 + 0.25 · (1/11 + … + 1/40) = 0.5875.
    """
    make_run(tmp_path, predicted=np.zeros(IMAGES), confidence=RISING)
    (grid,) = build_failure_grids(get_section(tmp_path))
    assert grid.columns == (
        "AUGRC", "AURC", "AUROC", "failures at 80 %", "failures at 90 %", "failures at 95 %", "failures at 100 %"
    )  # fmt: skip
    cells = {label: [entry.text for entry in entries] for label, _, entries in grid.rows}
    # The generalised risk rises to 1/4 over the first quarter, then stays: 0.25² / 2 + 0.25 · 0.75 = 0.219.
    area = 0.25 + 0.25 * sum(1 / k for k in range(11, 41))
    assert cells == {
        "predicted loss": ["0.125", "0.250", "0.500", "0.250", "0.250", "0.250", "0.250"],
        "the network's own confidence": ["0.219", f"{area:.3f}", "0.000", "0.312", "0.278", "0.263", "0.250"],
        "true loss, if one knew it": cells["true loss, if one knew it"],
        "chance": ["0.125", "0.250", "0.500", "0.250", "0.250", "0.250", "0.250"],
    }
    # With the true losses, 2 of the surest 32 images fail, 6 of 36 and 8 of 38.
    true = cells["true loss, if one knew it"]
    assert [true[0], *true[2:]] == ["0.031", "1.000", "0.062", "0.167", "0.211", "0.250"]


def test_the_curves_start_at_5_per_cent_and_meet_where_all_are_accepted(tmp_path):
    make_run(tmp_path, confidence=np.ones(IMAGES))
    scores = read_failure_scores(get_section(tmp_path).first_run, 0)
    with figures._create_figure(figures.LIGHT, 1, 4.5) as (_, (axes,)):
        figures._plot_risks(axes, scores, figures.LIGHT, "#d55e00")
        lines = {line.get_label(): line.get_xydata() for line in axes.get_lines()}
    assert list(lines) == ["predicted loss", "own confidence", "true loss", "chance"]
    for points in lines.values():
        assert points[0, 0] == pytest.approx(5) and points[-1] == pytest.approx((100, 25))
    assert lines["predicted loss"][:71, 1].max() == 0.0, "up to 75 % of the images, none of the ten"
    assert lines["chance"][:, 1] == pytest.approx(25) and lines["own confidence"][:, 1] == pytest.approx(25)


def test_what_ranks_has_a_curve_unless_it_is_one_of_the_others():
    doubts = {"confidence": RISING, "distinctness": -RISING}
    labels = {}
    for ranker in ("head+distinctness", "distinctness"):
        scores = FailureScores(RISING, RISING, TEN_FAIL, np.array(IDS), doubts, RISING, ranker)
        with figures._create_figure(figures.LIGHT, 1, 4.5) as (_, (axes,)):
            figures._plot_risks(axes, scores, figures.LIGHT, "#d55e00")
            labels[ranker] = [line.get_label() for line in axes.get_lines()]
    own = ["predicted loss", "own confidence", "own distinctness"]
    assert labels["head+distinctness"] == [*own, "head+distinctness", "true loss", "chance"]
    assert labels["distinctness"] == [*own, "true loss", "chance"]


def test_the_page_shows_the_answer_the_table_and_both_figures(tmp_path):
    rng = np.random.default_rng(0)
    make_run(tmp_path / "runs", confidence=rng.random(IMAGES))
    html = write_report([tmp_path / "runs"], tmp_path / "out", lambda _: pose_task()).read_text()
    for text in ("better at finding failures than the network&#39;s own confidence", "true loss, if one knew it"):
        assert text in html
    assert 'alt="risk coverage"' in html and 'alt="reliability"' in html
    assert "| the network's own confidence |" in (tmp_path / "out/table.md").read_text()


def test_a_damaged_table_of_the_last_round_is_named(tmp_path):
    folder = make_run(tmp_path / "runs", confidence=RISING)
    rows = [row(0, 10, 0.5), row(1, 12, 0.6)]
    run_dir(folder, rows)
    (folder / "round_01").mkdir()
    (folder / "round_01/test.parquet").write_bytes(b"damaged")
    html = write_report([folder], tmp_path / "out", lambda _: pose_task()).read_text()
    assert (
        "round_01/test.parquet is missing or damaged; the figures of failures leave gap_fc + kl + random out." in html
    )
