"""A finished run as a predictor: the numbers of `llpp.load`, and the images on which its promise rests."""

import shutil

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.cli import llpp as run_llpp
from helpers.experiments import FIGURES, tiny
from helpers.run_dirs import run_dir

import llpp
from llpp.config.run_calibration import read_calibration
from llpp.datasets.synthetic.dataset import SyntheticFigures
from llpp.errors import ConfigError
from llpp.rounds import loop
from llpp.run_dir.state import load_state


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
        assert all(0 <= line[name] <= 1 for name in line if name.endswith("_score"))
    assert "not certified: 12 random labelled images cannot show" in done.stdout
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


def read(folder):
    return read_calibration(folder, load_state(folder / "state.json"))


def test_test_images_of_known_quality_calibrate_by_group(tmp_path):
    columns = {"id": ["a", "b", "c"], "predicted_loss": [0.1, 0.2, 0.3], "quality": [1, float("nan"), 0.25]}
    found, reason = read(write_test_table(tmp_path / "run", **columns, group=["film", "film", "day"]))
    assert found.loss.tolist() == pytest.approx([0.1, 0.3]) and found.quality.tolist() == [1, 0.25]
    assert found.group.tolist() == ["film", "day"] and found.has_groups and reason == ""
    older, _ = read(write_test_table(tmp_path / "older", **columns))
    assert older.group.tolist() == ["a", "c"] and not older.has_groups and older.grid is None


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
    pool = pa.table({"id": pa.array(["x", "y", "z"]), "predicted_loss": pa.array([3, 1, 2], pa.float32())})
    pq.write_table(pool, folder / "round_00/scores.parquet")
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
