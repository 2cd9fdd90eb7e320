"""What the report says in words: nothing that its intervals do not exclude as chance."""

import io

import numpy as np
import pytest
from helpers.run_dirs import pose_task, row, run_dir
from rich.console import Console

from llpp import report
from llpp.inference.evaluation import Evaluation
from llpp.report.collect import collect
from llpp.report.markdown import format_markdown
from llpp.report.page import describe_damage, write_report
from llpp.report.summary import list_learning_warnings, summarise_section
from llpp.rounds.records import write_constant, write_scores

pytestmark = pytest.mark.slow

IMAGES = 40
IDS = [f"grey/{number}" for number in range(IMAGES)]
HALF_FAIL = (np.arange(IMAGES) >= IMAGES // 2).astype(np.float32)  # qualities: 0 for the first half, 1 for the others
TWO_FAIL = (np.arange(IMAGES) >= 2).astype(np.float32)


def write_tables(folder, number, tested=HALF_FAIL, pool=HALF_FAIL, constant=None):
    """What a round leaves about its 40 test images and the 40 of its pool."""
    directory = folder / f"round_{number:02d}"
    for name, quality in (("test", tested), ("scores", pool)):
        losses = np.linspace(0, 1, IMAGES, dtype=np.float32)
        columns = {"predicted_loss": losses, "true_loss": losses, "quality": quality.astype(np.float32)}
        write_scores(directory / f"{name}.parquet", IDS, Evaluation(columns, {}))
    if constant is not None:
        write_constant(directory / "constant.parquet", IDS, np.full(IMAGES, constant))


def make_run(folder, selected=0.06, mean=0.07, test=0.5, rho=0.17, seed=0, acquisition="learned", **tables):
    """A run of one round, which selected grey/1 and grey/0; both fail in the tables. `mean` is the pool's."""
    folder = folder / acquisition / str(seed)
    run_dir(folder, [row(0, 10, test, selected, mean, loss_spearman=rho)], seed, acquisition)
    write_tables(folder, 0, **tables)


def get_section(folder):
    (section,) = collect([folder]).sections
    return section


def summarise(folder):
    return summarise_section(get_section(folder))


def test_what_may_be_chance_is_not_called_a_finding(tmp_path):
    make_run(tmp_path)
    text = summarise(tmp_path)
    # where half of the images fail, two random ones both fail in 24 % of all cases
    assert "No difference to a random selection was found for gap_fc + kl + learned (−0.500; " in text
    assert "arder images" not in text
    assert "Spearman ρ 0.17 (95 % interval over images: −0.159 to +0.465, which may be chance)" in text


def test_what_is_more_than_chance_is_called_so(tmp_path):
    make_run(tmp_path, 0.0, 0.95, rho=0.8, pool=TWO_FAIL)
    text = summarise(tmp_path)
    # the only two failures among 40 are selected at random once in 780 times
    assert "Harder images than a random selection: gap_fc + kl + learned (−0.950; 95 % interval over images: " in text
    assert "No difference" not in text and "may be chance" not in text


def test_images_that_people_have_yet_to_label_are_selected_all_the_same(tmp_path):
    asked = {**row(0, 10, 0.5), "selected": 2, "selected_pck": None, "pool_pck": None}
    run_dir(tmp_path / "asked/0", [asked])
    text = summarise(tmp_path)
    assert text.startswith("How the model does on the images that it selected is not known: they had no labels yet.")


def test_a_selection_without_its_scores_is_left_unjudged(tmp_path):
    make_run(tmp_path)
    (tmp_path / "learned/0/round_00/scores.parquet").unlink()
    assert "It is not known whether that is more than chance for gap_fc + kl + learned." in summarise(tmp_path)


def test_with_three_seeds_the_interval_is_over_seeds(tmp_path):
    """Learned selections are lower than the pool by 0.3, 0.2 and 0.4, random ones by 0.2, 0 and 0.1.

    Student's interval of three values that are 0.1 apart is their mean ± 0.248.
    """
    made = {"learned": ((0.3, 0.4, 0.2), (0.61, 0.63, 0.59)), "random": ((0.4, 0.6, 0.5), (0.6, 0.6, 0.6))}
    for acquisition, (selected, tested) in made.items():
        for seed in range(3):
            rows = [row(0, 10, tested[seed], selected[seed], 0.6, loss_spearman=0.3 + seed / 10)]
            run_dir(tmp_path / acquisition / str(seed), rows, seed, acquisition)
    text = summarise(tmp_path)
    assert (
        "Harder images than a random selection: learned (−0.300; 95 % interval over 3 seeds: −0.548 to −0.052). "
        in text
    )
    # that random selections are random needs no claim
    assert "found for random" not in text
    # 0.01, 0.03 and −0.01 by seed: mean 0.01, interval ± 0.05
    assert "the two best differ by 0.010, which may be chance (95 % interval over 3 seeds: −0.040 to +0.060)" in text
    assert "Spearman ρ 0.40 (95 % interval over 3 seeds: +0.152 to +0.648)" in text


def test_two_seeds_are_a_finding_only_if_both_runs_are(tmp_path):
    make_run(tmp_path, 0.0, 0.95, pool=TWO_FAIL)
    make_run(tmp_path, 0.0, 0.95, seed=1)
    text = summarise(tmp_path)
    assert "No difference to a random selection was found" in text and "95 % intervals over images: " in text
    make_run(tmp_path, 0.0, 0.95, seed=1, pool=TWO_FAIL)
    assert "Harder images than a random selection" in summarise(tmp_path)


def test_two_models_of_one_seed_are_compared_on_the_test_images(tmp_path):
    make_run(tmp_path, acquisition="learned", test=0.95, tested=TWO_FAIL)
    make_run(tmp_path, acquisition="random", test=0.5)
    # 18 of 40 images gain 1: mean 0.45, standard deviation 0.504, ± 2.023 · 0.504 / √40 = 0.161
    assert (
        "the two best differ by 0.450, which is a difference of these models on the test images, not yet of the "
        "methods (95 % interval over images: +0.289 to +0.611)"
    ) in summarise(tmp_path)
    make_run(tmp_path, acquisition="learned", test=0.51)
    assert (
        "the two best differ by 0.010, which may be chance (0.000 paired by image; 95 % interval over images"
        in summarise(tmp_path)
    )


def test_means_and_pairs_that_disagree_are_no_finding(tmp_path):
    """PCK is a mean over joints, and the images need not have as many: one can be higher and the other lower."""
    make_run(tmp_path, acquisition="learned", test=0.95, tested=HALF_FAIL)
    make_run(tmp_path, acquisition="random", test=0.5, tested=TWO_FAIL)
    assert "the two best differ by 0.450, and it is not known whether that is more than chance." in summarise(
        tmp_path
    )


def test_a_model_that_does_no_better_than_a_constant_is_named_everywhere(tmp_path):
    make_run(tmp_path, tested=HALF_FAIL, constant=0.55)
    make_run(tmp_path, tested=HALF_FAIL, constant=0.9, acquisition="random")
    (warning,) = list_learning_warnings(get_section(tmp_path))
    # half of the images 1, half of them 0: mean 0.5, standard deviation 0.506, ± 2.023 · 0.506 / √40 = 0.162
    assert (
        "ot shown, on these test images, to do better than a constant prediction: learned (0.500 against 0.550; 95 % "
        "interval over images of the difference: −0.212 to +0.112)"
    ) in warning
    assert (
        "earned too little to do better than a constant prediction: random (0.500 against 0.900; 95 % interval over "
        "images of the difference: −0.562 to −0.238)"
    ) in warning
    assert "Train longer (trainer.max_epochs=…)" in warning
    console = Console(file=io.StringIO(), width=1000)
    report.print_tables([tmp_path], console)
    page = write_report([tmp_path], tmp_path / "out", lambda _: pose_task()).read_text()
    for text in (console.file.getvalue(), format_markdown(collect([tmp_path])), page):
        assert "to do better than a constant prediction" in text


def test_of_several_seeds_those_are_named_whose_model_has_not_learned(tmp_path):
    """Over seeds, the advantages 0.4, 0.2 and −0.05 would have an interval that holds 0; two of them are clear."""
    for seed, constant in enumerate((0.55, 0.75, 1.0)):
        make_run(tmp_path, tested=TWO_FAIL, constant=constant, seed=seed)
    (warning,) = list_learning_warnings(get_section(tmp_path))
    assert "constant prediction: gap_fc + kl + learned, seed 2 (0.950 against 1.000;" in warning
    assert "seed 0" not in warning and "seed 1" not in warning


def test_a_model_that_is_better_or_an_old_run_is_not_accused(tmp_path):
    make_run(tmp_path, tested=TWO_FAIL, constant=0.55)
    assert list_learning_warnings(get_section(tmp_path)) == []
    (tmp_path / "learned/0/round_00/constant.parquet").unlink()
    assert list_learning_warnings(get_section(tmp_path)) == []


def test_a_damaged_table_of_the_constant_prediction_is_named(tmp_path):
    make_run(tmp_path, tested=HALF_FAIL, constant=0.55)
    path = tmp_path / "learned/0/round_00/constant.parquet"
    path.write_bytes(path.read_bytes()[:-10])
    assert list_learning_warnings(get_section(tmp_path)) == []
    (sentence,) = describe_damage(get_section(tmp_path))
    assert sentence == (
        f"{path} is missing or damaged; gap_fc + kl + learned is not held against a constant prediction."
    )


@pytest.mark.parametrize("undefined", [7, 0])
def test_a_test_metric_that_is_undefined_is_missing_with_its_reason(undefined, tmp_path):
    make_run(tmp_path, test=None)
    rows = [row(0, 10, None, 0.1, 0.6) | {"test_undefined": undefined}]
    run_dir(tmp_path / "learned/0", rows, **{"metric.normaliser": "the longest rib"})
    reason = (
        "none of the 7 labelled test images has the length that it divides by (the longest rib); another pck=… such "
        "as pck=box"
        if undefined
        else "no test image has a label that it counts"
    )
    console = Console(file=io.StringIO(), width=1000)
    report.print_tables([tmp_path], console)
    page = write_report([tmp_path], tmp_path / "out", lambda _: pose_task()).read_text()
    for text in (console.file.getvalue(), format_markdown(collect([tmp_path])), page):
        assert f"The test PCK@0.2 is not defined: {reason}" in text
        assert "No round has measured this yet" not in text


def test_without_test_images_that_is_the_reason(tmp_path):
    folder = tmp_path / "random/0"
    run_dir(folder, [row(0, 10, None, 0.1, 0.6)], **{"dataset.test": 0})
    columns = {"predicted_loss": np.zeros(0, np.float32), "quality": np.zeros(0, np.float32)}
    write_scores(folder / "round_00/test.parquet", [], Evaluation(columns, {}))
    text = format_markdown(collect([tmp_path]))
    assert "The test PCK@0.2 is not defined: there are no test images (dataset.test=0)." in text


def test_of_an_error_a_higher_value_is_the_harder_image(tmp_path):
    """Qualities are better when higher, even where the metric is an error."""
    measured = {"metric.name": "error", "metric.title": "error", "metric.higher_is_better": False}
    rows = [row(0, 10, None) | {"selected_error": 1.0, "pool_error": 0.05, "selected": 2}]
    run_dir(tmp_path, rows, acquisition="learned", **measured)
    write_tables(tmp_path, 0, pool=TWO_FAIL)
    assert "Harder images than a random selection: gap_fc + kl + learned (+0.950; 95 %" in summarise(tmp_path)
    page = write_report([tmp_path], tmp_path / "out", lambda _: pose_task()).read_text()
    assert "A method that finds failures stays far above the dashed line." in page
