"""`llpp analyze` as a user sees it: the tables that it writes, a real run, and wrong input."""

import contextlib
import csv
import io

import cv2
import numpy as np
import pytest
from helpers.experiments import tiny

from llpp.analysis import figures, measured
from llpp.cli import main
from llpp.cli.analyze import run_analyze_command
from llpp.errors import ConfigError, StateError
from llpp.inference.evaluation import Evaluation
from llpp.rounds import loop
from llpp.rounds.records import write_scores
from llpp.run_dir.state import Round, RunState, save_state

pytestmark = pytest.mark.slow

KL, RANKING = "llpp.objectives.kl.KLObjective", "llpp.objectives.ranking.RankingObjective"
THEORY = {
    "analysis.md", "pair_probability.csv", "expected_share.csv", "expected_gradient.csv", "worked_example.csv",
    "gradients.png", "worked_example.png", "gamma_pairs.png",
}  # fmt: skip
RUN = {"run_rounds.csv", "run_noise.csv", "run_reliability.csv", "run_gamma.png", "run_reliability.png"}


def table(folder, name):
    with (folder / f"{name}.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def column(rows, name):
    return [float(row[name]) for row in rows]


def check_pictures(folder):
    for path in folder.glob("*.png"):
        assert cv2.imread(str(path)).std() > 10, f"{path.name} shows nothing"


def run_of(folder, predicted, true, objective=KL, rounds=1):
    """Make a run directory whose last round tested images with these losses, and earlier rounds only one image."""
    done = tuple(Round(number, {"round": number, "labelled": 10 * (number + 1)}, ()) for number in range(rounds))
    folder.mkdir(exist_ok=True)
    save_state(RunState({"objective._target_": objective}, ("a/0",), {}, done), folder / "state.json")
    for number in range(rounds):
        last = number == rounds - 1
        columns = {"predicted_loss": predicted, "true_loss": true, "quality": np.ones(len(true))}
        count = len(true) if last else 1
        scores = {name: np.asarray(values, dtype=np.float32)[:count] for name, values in columns.items()}
        ids = [f"a/{i}" for i in range(count)]
        write_scores(folder / f"round_{number:02d}/test.parquet", ids, Evaluation(scores, {}))
    return folder


@pytest.fixture(scope="module")
def printed():
    return io.StringIO()


@pytest.fixture(scope="module")
def theory(tmp_path_factory, printed):
    folder = tmp_path_factory.mktemp("theory") / "analysis"
    with contextlib.redirect_stdout(printed):
        assert run_analyze_command(["--output", str(folder)]) == 0
    return folder


def test_the_theory_needs_no_run(theory):
    assert {path.name for path in theory.iterdir()} == THEORY
    page = (theory / "analysis.md").read_text(encoding="utf-8")
    assert all(f"({name})" in page for name in THEORY if name.endswith(".png")), "the page shows every figure"
    check_pictures(theory)


def test_tables_give_both_ways_and_the_papers_values(theory):
    rows = table(theory, "pair_probability")
    paper = [0.094, 0.185, 0.274, 0.358, 0.437, 0.527, 0.607]
    assert column(rows, "paper's Table 1") == paper
    assert column(rows, "closed form") == pytest.approx(paper, abs=5.5e-4)
    assert column(rows, "closed form") == pytest.approx(column(rows, "quadrature"), abs=1e-8)
    shares = table(theory, "expected_share")
    assert column(shares, "closed form") == pytest.approx(column(shares, "quadrature"), abs=1e-8)
    means = column(shares, "Monte Carlo")
    errors = column(shares, "standard error")
    for mean, error, exact in zip(means, errors, column(shares, "quadrature"), strict=True):
        assert abs(mean - exact) <= 4 * error + 1e-12


def test_the_gradient_table_is_the_predicted_less_the_expected_share(theory):
    shares = {row["δ"]: float(row["closed form"]) for row in table(theory, "expected_share")}
    rows = table(theory, "expected_gradient")
    assert [row["q"] for row in rows] == [f"0.{i}" for i in range(1, 10)]
    for row in rows:
        assert float(row["δ = 0.1"]) == pytest.approx(float(row["q"]) - shares["0.1"])
    ranking = column(rows, "Learning Loss, any δ > 0")
    assert ranking == [-1] * 7 + [0] * 2, "the margin of 1 is met from q = 1 / (1 + 1/e) = 0.731 on"


def test_the_worked_example_is_the_one_in_the_docs(theory):
    rows = table(theory, "worked_example")
    assert column(rows, "LL++ coefficient") == pytest.approx([-0.3, 0, 0.09, 0.11, 0.5])
    assert column(rows, "LL coefficient") == [-1, -1, -1, 1, 1]
    assert [rows[i]["LL++ gradient"] for i in (0, 1, 3)] == ["(-0.6, 0.3, -0.3)", "(0, 0, 0)", "(0.22, -0.11, 0.11)"]
    assert rows[3]["LL gradient"] == "(2, -1, 1)"


def test_another_gamma_without_a_closed_form(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run_analyze_command(["--alpha", "2.5", "--beta", "3"]) == 0
    rows = table(tmp_path / "analysis", "pair_probability")
    assert {row["closed form"] for row in rows} == {""} and "paper's Table 1" not in rows[0]
    assert column(rows, "δ / mean") == pytest.approx([0.075, 0.15, 0.225, 0.3, 0.375, 0.46875, 0.5625])
    shown = capsys.readouterr().out
    assert "paper" not in shown and "analysis/analysis.md" in shown


def test_the_command_prints_table_1_beside_the_papers(theory, printed):
    _, ours, paper, page = printed.getvalue().splitlines()
    assert ours.split()[-7:] == ["0.0935", "0.1853", "0.2739", "0.3582", "0.4369", "0.5268", "0.6065"]
    assert paper.split()[-7:] == ["0.094", "0.185", "0.274", "0.358", "0.437", "0.527", "0.607"]
    assert page == str(theory / "analysis.md")


@pytest.mark.slow
def test_a_real_run(tmp_path):
    loop.run_rounds(tiny(tmp_path / "run", "rounds=2", "trainer.max_epochs=1"))
    assert run_analyze_command([str(tmp_path / "run")]) == 0
    folder = tmp_path / "run/analysis"
    assert {path.name for path in folder.iterdir()} == THEORY | RUN
    rounds = table(folder, "run_rounds")
    assert [row["labelled"] for row in rounds] == ["12", "18"]
    assert [row["test images"] for row in rounds] == ["8", "8"]
    assert sum(column(table(folder, "run_reliability"), "pairs")) == 8 * 7 / 2
    check_pictures(folder)


def test_noise_and_calibration_of_known_losses(tmp_path):
    """Losses 1, 2, 4, 8 (mean 3.75), perfectly predicted; two images without a usable loss."""
    true = np.array([1, 2, 4, 8, 0, np.nan])
    predicted = np.log(np.where(true > 0, true, 1)) - 5
    run = measured.read_measured_run(run_of(tmp_path / "run", predicted, true, rounds=3))
    # The rounds before tested one image each, which leaves nothing to compare.
    (row,) = measured.build_rounds_table(run).rows
    assert row[:4] == (2, 30, 4, 2), "round, labelled, test images, left out"
    assert row[9] == pytest.approx(1, abs=1e-5), "slope"
    # differences 1, 2, 3, 4, 6, 7; δ = 0.19, 0.375, 0.94, 1.875, 3.75
    shares = [row[2] for row in measured.build_noise_table(run.last_round).rows]
    assert shares == pytest.approx([0, 0, 0, 1 / 6, 3 / 6])
    curve = np.array(measured.build_reliability_table(run.last_round).rows)
    assert curve[:, 1] == pytest.approx([2, 2, 2, 4, 4, 8], rel=1e-5)
    assert curve[:, 2] == pytest.approx([2, 2, 2, 4, 4, 8], rel=1e-5)


def test_a_ranking_run_is_said_to_have_no_log_scale(tmp_path):
    losses = np.random.default_rng(0).gamma(2, 0.1, 40)
    ranking = measured.read_measured_run(run_of(tmp_path / "run", 1e3 * losses, losses, RANKING))
    kl = measured.read_measured_run(run_of(tmp_path / "kl", losses, losses))
    sentence = "trained with RankingObjective, whose predictions are not on a log scale"
    assert sentence in measured.explain_calibration(ranking)
    assert "not on a log scale" not in measured.explain_calibration(kl)
    (tmp_path / "curve.png").write_bytes(figures.plot_reliability(ranking))
    check_pictures(tmp_path)


def broken(folder):
    run_of(folder, [1, 2], [1, 2])
    (folder / "round_00/test.parquet").write_bytes(b"PAR1 no more")


def damaged(folder):
    run_of(folder, [1, 2], [1, 2])
    (folder / "state.json").write_text("{")


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda folder: None, r"not a run directory \(it has no state\.json\); give one that llpp run has made"),
        (lambda folder: folder.write_text(""), "is not a run directory"),
        (lambda folder: run_of(folder, [], [], rounds=0), r"no round of .* \(test\.parquet of 0 committed rounds\)"),
        (lambda folder: run_of(folder, [1, 2, 3], [0.5, np.nan, 0.5]), "different finite losses above 0"),
        (broken, r"test\.parquet cannot be read as a score table"),
        (damaged, "state.json is damaged"),
    ],
)
def test_what_cannot_be_analysed_is_said_in_a_sentence(tmp_path, make, sentence):
    make(tmp_path / "run")
    with pytest.raises(StateError, match=sentence):
        measured.read_measured_run(tmp_path / "run")


@pytest.mark.parametrize(("alpha", "beta"), [("0", "1"), ("2", "0"), ("nan", "1"), ("1e9", "1"), ("2", "inf")])
def test_a_gamma_that_cannot_be_computed_is_refused_before_anything_is_written(tmp_path, alpha, beta):
    with pytest.raises(ConfigError, match="is invalid; expected a"):
        run_analyze_command(["--alpha", alpha, "--beta", beta, "--output", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


def test_the_verb_is_there(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["llpp", "analyze", str(tmp_path)])
    with pytest.raises(SystemExit) as left:
        main.main()
    shown = capsys.readouterr().err
    assert left.value.code == 2 and shown.startswith("llpp: ") and len(shown.splitlines()) == 1
