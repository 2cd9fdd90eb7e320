"""A finished run as a predictor: the numbers of `llpp.load`, and the images on which its promise rests."""

import shutil
from dataclasses import replace

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.cli import llpp as run_llpp
from helpers.experiments import FIGURES, tiny
from helpers.ranked_runs import choose_ranker
from helpers.run_dirs import run_dir
from helpers.spot_predictor import make_facts

import llpp
from llpp.config.run_calibration import read_calibration
from llpp.config.run_ranker import describe_choice, read_ranker
from llpp.datasets.synthetic.dataset import SyntheticFigures
from llpp.errors import ConfigError, StateError
from llpp.prediction.failure_flags import Wish, make_flags
from llpp.reliability.rankers import HEAD_RANKER, Ranker, Term
from llpp.rounds import loop
from llpp.run_dir.state import load_state, save_state


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run whose last round has tested its images."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    loop.run_rounds(tiny(folder, *FIGURES, "rounds=1", "trainer.precision=32-true"))
    return folder


def write_images(folder, count=5):
    data = SyntheticFigures(size=48, initial=12, pool=24, val=4, test=8)
    paths = []
    lines = ["image,x,y,width,height"]
    for row in range(count):
        path = folder / f"{row}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), data.load(row)[..., ::-1])
        paths.append(path)
        lines.append(f"{path.name},{10 + row},8,20,30")
    (folder.parent / "boxes.csv").write_text("\n".join(lines))
    return paths


@pytest.mark.slow
@pytest.mark.parametrize("with_boxes", [False, True])
def test_the_command_and_python_give_the_same_numbers(finished, tmp_path, with_boxes):
    paths = write_images(tmp_path / "new")
    words = ["boxes=boxes.csv"] if with_boxes else []
    done = run_llpp("predict", str(finished), "new", "--format", "parquet", "out=found", *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    table = pq.read_table(tmp_path / "found/predictions.parquet").to_pylist()
    boxes = [(10 + row, 8, 20, 30) for row in range(len(paths))] if with_boxes else None
    expected = list(llpp.load(finished).predict(paths, boxes))
    assert [line["predicted_loss"] for line in table] == [one.predicted_loss for one in expected]
    for line, one in zip(table, expected, strict=True):
        values = [value for name, value in line.items() if name.endswith(("_x", "_y")) and not name.startswith("box")]
        assert values == one.joints.reshape(-1).tolist()
        assert all(0 <= line[name] <= 1 for name in line if name.endswith("_score") and name != "failure_score")
        # No round has chosen another ranker than the head.
        assert line["failure_score"] == one.failure_score == one.predicted_loss
    assert "flags by head\n" in done.stdout and "not certified: 12 random labelled images cannot show" in done.stdout
    assert done.stdout.splitlines()[-2:] == ["found/predictions.parquet", "found/page.html"]


@pytest.mark.slow
def test_what_cannot_work_is_one_sentence(finished, tmp_path):
    write_images(tmp_path / "new", 1)
    started = shutil.copytree(finished, tmp_path / "started")
    (started / "state.json").unlink()
    for arguments, sentence in (
        ((str(finished), "new", "--risk", "0"), "risk=0.0 is invalid; expected a share above 0 and below 1"),
        ((str(started), "new"), "has no finished round; run its `llpp run` command again to resume"),
        ((str(finished), "old"), "there is no file or folder old"),
        (("new/0.png", "new"), "new/0.png is neither a run directory nor an .onnx file"),
        (("model.onnx", "new"), "there is no file model.onnx"),
        ((str(finished), "new", "boxes=none.csv"), "none.csv cannot be read (No such file or directory)"),
        ((str(finished), "new", "device=tpu"), "device='tpu' cannot be used"),
    ):
        done = run_llpp("predict", *arguments, cwd=tmp_path)
        assert done.returncode == 2 and done.stderr.count("\n") == 1 and sentence in done.stderr, done.stderr


def write_test_table(folder, **columns):
    """A run directory whose last round has tested images with these columns, and nothing recorded about its files."""
    found = run_dir(folder, [{"round": 0, "labelled": 4, "test_pck": 0.5}])
    (found / "round_00").mkdir()
    write_table(found / "round_00/test.parquet", **columns)
    return found


def write_table(path, **columns):
    arrays = {}
    for name, values in columns.items():
        arrays[name] = pa.array(values, pa.large_string() if name in ("id", "group") else pa.float32())
    pq.write_table(pa.table(arrays), path, compression="snappy", use_dictionary=False)


def read(folder, ranker=HEAD_RANKER):
    return read_calibration(folder, load_state(folder / "state.json"), ranker)


def test_test_images_of_known_quality_calibrate_by_group(tmp_path):
    columns = {"id": ["a", "b", "c"], "predicted_loss": [0.1, 0.2, 0.3], "quality": [1, float("nan"), 0.25]}
    found, reason = read(write_test_table(tmp_path / "run", **columns, group=["film", "film", "day"]))
    assert found.score.tolist() == pytest.approx([0.1, 0.3]) and found.quality.tolist() == [1, 0.25]
    assert found.group.tolist() == ["film", "day"] and found.has_groups and reason == ""
    older, _ = read(write_test_table(tmp_path / "older", **columns))
    assert older.group.tolist() == ["a", "c"] and not older.has_groups and older.grid is None


def make_ranked_run(folder, ranker, chosen):
    """100 test images, of which the 40 with the least confidence fail, of a head that says the same of all."""
    confidence = np.linspace(1, 0, 100)
    columns = {"confidence": confidence, "quality": np.where(np.arange(100) < 60, 0.9, 0.1)}
    names = [str(number) for number in range(100)]
    made = write_test_table(folder, id=names, predicted_loss=np.ones(100), **columns)
    validation = {"id": ["v"], "predicted_loss": [1.0], "confidence": [0.5], "quality": [1.0]}
    write_table(made / "round_00/validation.parquet", **validation)
    choose_ranker(made, ranker, chosen)
    return made


FREE = Ranker("confidence", (Term("confidence", 0.5, -2.0),), 1.0)


def test_a_ranker_that_finds_failures_is_certified_where_the_head_is_useless(tmp_path):
    folder = make_ranked_run(tmp_path / "run", FREE, "validation")
    found, _ = read(folder, read_ranker(folder, load_state(folder / "state.json"), ["confidence"]))
    assert found.score[[0, -1]].tolist() == pytest.approx([1 - 2 * 0.5, 1 + 2 * 0.5])
    flags = make_flags(make_facts(calibration=found, ranker=FREE), Wish())
    # Thresholds accept 5, 10, … images: 65 with 5 failures are certified (45 are needed), 70 with 10 are not (75).
    assert (flags.certificate.accepted, flags.certificate.failures) == (65, 5)
    assert flags.flag(found.score).tolist() == ["ok"] * 65 + ["check"] * 35
    by_head, _ = read(folder, HEAD_RANKER)
    assert set(make_flags(make_facts(calibration=by_head), Wish()).flag(by_head.score)) == {"unknown"}


@pytest.mark.parametrize(("chosen", "count"), [("validation", 100), ("setting", 101), ("fallback", 101)])
def test_validation_images_that_have_chosen_the_ranker_do_not_calibrate_it(tmp_path, chosen, count):
    folder = make_ranked_run(tmp_path / "run", FREE, chosen)
    found, _ = read(folder, FREE)
    assert len(found.score) == count
    sentences = {
        "validation": "chosen on 1 validation images",
        "setting": "as the run's settings say",
        "fallback": "too few validation images, or failures among them, to choose by",
    }
    assert describe_choice(folder, load_state(folder / "state.json")) == sentences[chosen]


def test_a_table_without_what_the_ranker_needs_is_a_sentence(tmp_path):
    folder = write_test_table(tmp_path / "run", id=["a"], predicted_loss=[0.1], quality=[1.0])
    nothing, reason = read(folder, FREE)
    assert nothing is None and "test.parquet has no column confidence, by which this run ranks failures, so" in reason


def test_a_ranker_that_cannot_be_computed_is_a_sentence(tmp_path):
    folder = make_ranked_run(tmp_path / "run", FREE, "setting")
    state = load_state(folder / "state.json")
    with pytest.raises(
        StateError, match="ranks failures by confidence, and this run's task does not give confidence"
    ):
        read_ranker(folder, state, ["joints"])


@pytest.mark.parametrize(
    "wrong", [{"chosen": "luck"}, {"terms": []}, {"offset": "high"}, {"offset": float("inf")}, {"name": "x" * 999}]
)
def test_a_state_with_what_is_no_ranker_is_damaged(tmp_path, wrong):
    folder = make_ranked_run(tmp_path / "run", FREE, "setting")
    state = load_state(folder / "state.json")
    broken = replace(state.rounds[0], ranker={**state.rounds[0].ranker, **wrong})
    save_state(replace(state, rounds=(broken,)), folder / "state.json")
    with pytest.raises(StateError, match="its content is not what llpp writes"):
        load_state(folder / "state.json")


@pytest.mark.slow
def test_validation_images_that_steered_nothing_calibrate_too(finished):
    known = {}
    for name in ("test", "validation"):
        quality = pq.read_table(finished / f"round_00/{name}.parquet")["quality"].to_numpy()
        known[name] = quality[np.isfinite(quality)].tolist()
    found, _ = read(finished)
    assert len(known["validation"]) == 4 and found.quality.tolist() == known["test"] + known["validation"]


def test_without_labelled_test_images_there_is_a_reason(tmp_path):
    folder = write_test_table(tmp_path / "run", id=["a"], predicted_loss=[0.1], quality=[float("nan")])
    assert read(folder) == (
        None,
        f"{folder} has no labelled test or validation image, so that nothing is known about failures",
    )
    (folder / "round_00/test.parquet").write_bytes(b"damaged")
    assert "test.parquet is missing or damaged" in read(folder)[1]


def test_thresholds_come_from_the_pool_where_the_last_round_scored_it(tmp_path):
    folder = write_test_table(tmp_path / "run", id=["a"], predicted_loss=[0.1], quality=[1.0])
    scores = {"predicted_loss": pa.array([3, 1, 2], pa.float32()), "failure_score": pa.array([5, 4, 5], pa.float32())}
    pq.write_table(pa.table({"id": pa.array(["x", "y", "z"]), **scores}), folder / "round_00/scores.parquet")
    ranked, _ = read(folder, Ranker("head+head", (Term("predicted_loss", 0.0, 2.0),), 0.0))
    assert set(ranked.grid.tolist()) == {4, 5}
    found, _ = read(folder)
    assert len(found.grid) == 101 and set(found.grid.tolist()) == {1, 2, 3}
    assert np.all(np.diff(found.grid) >= 0)


@pytest.mark.slow
def test_a_run_of_classes_is_refused_in_a_sentence(finished):
    from llpp.config.run_predictor import RunPredictor

    loaded = llpp.load(finished)
    loaded.task = type("Classes", (), {"name": "classification"})()
    with pytest.raises(ConfigError, match=r"has learned classification, and llpp predict writes joints"):
        RunPredictor(loaded)
