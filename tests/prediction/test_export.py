"""Exported files predict what their runs do, wherever they are used; a file that does not is not kept."""

import csv
import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import onnx
import pyarrow.parquet as pq
import pytest
import torch
from helpers.experiments import FIGURES, tiny
from helpers.onnx_models import linear_outputs
from helpers.ranked_runs import THREE_TERMS, choose_ranker, measure_distinctness, set_column
from helpers.run_dirs import Grey
from scipy.special import softmax
from torch.nn import functional

import llpp
from llpp.backbones.base import Backbone
from llpp.cli.export import run_export_command
from llpp.cli.predict import run_predict_command
from llpp.data.resampling import warp_image
from llpp.errors import ConfigError, DataError, ExportError, StateError
from llpp.geometry import move_points
from llpp.heads.base import FeatureSpec
from llpp.heads.heatmap_conv import HeatmapConvHead
from llpp.prediction import export, onnx_model
from llpp.prediction.failure_flags import Wish, make_flags
from llpp.prediction.onnx_model import OnnxPredictor
from llpp.prediction.pose_network import PoseNetwork
from llpp.prediction.predictor import CropPredictions, ModelFacts
from llpp.reliability.rankers import HEAD_RANKER
from llpp.rounds import loop
from llpp.tasks.pose.losses import HeatmapMSE
from llpp.tasks.pose.task import PoseTask
from llpp.types import Features, Output

SIZE = 32
JOINTS = 14
OLDER = Path(__file__).parent / "version_1.onnx"  # `BrightCells`, exported by the first version of llpp export
PCK = {"threshold": 0.2, "normaliser": "torso"}


class BrightCells(Backbone):
    """Joint k is where red, green or blue, in turn, is brightest: its heatmap is that channel at a quarter."""

    def __init__(self, exported_scale=1.0):
        super().__init__()
        self.heatmap_stride = 4
        self.size_multiple = 4
        self.feature_channels = {4: JOINTS}
        self.penultimate_channels = JOINTS
        self.one = torch.nn.Parameter(torch.ones(1))
        self.exported_scale = exported_scale

    def forward(self, image):
        maps = functional.avg_pool2d(self.one * image + 1, 4).repeat(1, 5, 1, 1)[:, :JOINTS]
        if torch.compiler.is_exporting():
            maps = maps * self.exported_scale
        return Output(maps[:, None], Features({4: maps}, maps, maps), 4)


class Unexportable(BrightCells):
    """What is computed depends on the pixels, which no graph can say."""

    def forward(self, image):
        return super().forward(image if image.mean().item() > 0 else -image)


def network(backbone):
    head = HeatmapConvHead(FeatureSpec(backbone.feature_channels, JOINTS, SIZE, heatmaps=JOINTS), 4, widths=(4,))
    return PoseNetwork(backbone, head, PoseTask(Grey(), HeatmapMSE(), PCK, {}))


def facts():
    skeleton = Grey.skeleton
    return ModelFacts(
        joints=skeleton.joints,
        edges=skeleton.edges,
        flip_pairs=skeleton.flip_pairs,
        crop_size=SIZE,
        padding=1.25,
        metric="PCK@0.2 (torso)",
        upright=True,
        white=None,
        background=None,
        calibration=None,
        no_calibration="there are no test images",
        name="runs/demo",
        round=2,
        run_digest="ab",
        version=llpp.__version__,
    )


def some_crops():
    return np.random.default_rng(0).integers(0, 256, (export.CHECKED_CROPS, SIZE, SIZE, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run whose maps are softmaxes, averaged with those of the mirrored image, and whose ranker has three terms."""
    run_dir = tmp_path_factory.mktemp("finished") / "run"
    settings = (
        "rounds=1",
        # After two epochs maps are so flat that rounding moves some maxima by more than an exported file may.
        "trainer.max_epochs=4",
        "trainer.precision=32-true",
        "pose_loss=cross_entropy",
        "scoring.views=flip",
        "backbone.depth=1",
    )
    loop.run_rounds(tiny(run_dir, *FIGURES, *settings))
    run = llpp.load(run_dir)
    for name in ("test", "validation"):
        path = run_dir / f"round_00/{name}.parquet"
        rows = run.task.dataset.records.ids.find_rows(pq.read_table(path)["id"].to_pylist()).tolist()
        crops, _ = cut_crops(run, rows)
        set_column(path, "distinctness", measure_distinctness(compute_shares(run, crops)))
    choose_ranker(run_dir, THREE_TERMS, "validation")
    return run_dir


def cut_crops(run, rows):
    """Crops (B, H, W, 3) of some records, and what has placed them."""
    dataset = run.task.dataset
    crops, placed = [], []
    for row in rows:
        image = dataset.load(row)
        placed.append(run.crop.place(dataset.records.boxes[row], image.shape[:2]))
        crops.append(warp_image(image, placed[-1], SIZE))
    return np.stack(crops), placed


def compute_shares(run, crops):
    """(B, K, h, w) softmaxes of the maps, averaged with those of the mirrored crops."""
    both = []
    for pixels in (crops, np.ascontiguousarray(crops[:, :, ::-1])):
        raw = run.run_network(pixels)[0].raw[:, -1].double().numpy()
        shares = softmax(raw, axis=(2, 3))
        both.append(shares)
    own, other = both
    return (own + other[..., ::-1][:, list(Grey.skeleton.flip_order)]) / 2


@pytest.fixture(scope="module")
def exported(finished):
    """Both of its files."""
    assert run_export_command([str(finished), "onnx"]) == 0
    assert run_export_command([str(finished), "torch"]) == 0
    return finished


@pytest.fixture(scope="module")
def bright(tmp_path_factory):
    """An ONNX file of `BrightCells`."""
    path = tmp_path_factory.mktemp("bright") / "bright.onnx"
    export.export_network(network(BrightCells()), facts(), "onnx", path, some_crops())
    return path


@pytest.mark.slow
def test_six_views_are_exported_for_any_number_of_crops(tmp_path):
    made = network(BrightCells())
    made.task.use_views("six")
    comparison = export.export_network(made, facts(), "torch", tmp_path / "model.pt2", some_crops())
    assert comparison.joints > export.CHECKED_CROPS * JOINTS / 2, "of these, all are where torch finds them"


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 7])
def test_exported_files_predict_what_the_run_does(exported, count):
    run = llpp.load(exported)
    dataset = run.task.dataset
    images = [dataset.load(row) for row in range(count)]
    boxes = dataset.records.boxes[:count]
    expected = list(run.predict(images, boxes))
    crops, placed = cut_crops(run, range(count))
    distinctness = measure_distinctness(compute_shares(run, crops))

    from_onnx = OnnxPredictor(exported / "model.onnx").predict(crops)
    outputs = torch.export.load(exported / "model.pt2").module()(torch.from_numpy(crops))
    from_torch = CropPredictions(*(values.detach().numpy() for values in outputs))
    for found in (from_onnx, from_torch):
        assert found.predicted_loss == pytest.approx([one.predicted_loss for one in expected], rel=1e-4)
        by_hand = 1.25 + 0.5 * (found.predicted_loss - 2) - 3 * (found.confidence.mean(axis=1) - 0.1)
        assert found.failure_score == pytest.approx(by_hand - 1.5 * (distinctness - 0.2), rel=1e-4)
        assert found.failure_score == pytest.approx([one.failure_score for one in expected], rel=1e-4)
        for row in range(count):
            # Of these images a pixel is a pixel of the crop, or smaller.
            in_image = move_points(found.joints[row], np.linalg.inv(placed[row]))
            assert np.abs(in_image - expected[row].joints).max() < 5e-3
        assert found.confidence.shape == (count, JOINTS)
        # Of a softmax over 8 × 8 cells, the largest is at least 1/64.
        assert (found.confidence >= 1 / 64).all() and (found.confidence <= 1).all()


@pytest.mark.slow
def test_a_file_says_what_it_is_in_both_formats(exported):
    from_onnx = OnnxPredictor(exported / "model.onnx").facts
    extra = {"llpp.json": ""}
    torch.export.load(exported / "model.pt2", extra_files=extra)
    from_torch = ModelFacts.from_json(json.loads(extra["llpp.json"]), "model.pt2")
    for found, name in ((from_onnx, "onnx"), (from_torch, "torch")):
        assert found.joints[0] == "r_ankle" and len(found.joints) == JOINTS
        assert found.crop_size == SIZE and found.padding == 1.25 and found.round == 0
        assert found.version == llpp.__version__ and len(found.run_digest) == 64
        assert found.extra["format"] == name and "uint8" in found.extra["crops"]
        assert found.ranker == THREE_TERMS and found.ranker_origin == "chosen on 4 validation images"
    # On the eight test images of the run its promises rest: the validation images have chosen the ranker.
    assert len(from_onnx.calibration.score) == 8
    assert np.array_equal(from_onnx.calibration.score, from_torch.calibration.score)


@pytest.mark.slow
def test_calibration_images_have_the_scores_that_new_images_would_get(exported):
    run = llpp.load(exported)
    dataset = run.task.dataset
    rows = dataset.records.ids.find_rows(pq.read_table(exported / "round_00/test.parquet")["id"].to_pylist()).tolist()
    found = run.predict([dataset.load(row) for row in rows], dataset.records.boxes[rows])
    calibration = OnnxPredictor(exported / "model.onnx").facts.calibration
    assert calibration.score == pytest.approx([one.failure_score for one in found], rel=1e-4)


@pytest.mark.slow
def test_the_pages_python_runs_as_printed(exported, monkeypatch, capsys):
    page = Path(__file__).parents[2] / "docs/export.md"
    snippets = re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    monkeypatch.chdir(exported)
    names = {}
    for snippet in snippets:
        exec(compile(snippet, "export.md", "exec"), names)
    assert capsys.readouterr().out.startswith("r_ankle [") and len(snippets) == 2
    assert names["facts"]["crop_size"] == SIZE and names["joints"].shape == (2, JOINTS, 2)


@pytest.mark.slow
def test_a_file_names_no_source_file_of_this_machine(exported):
    root = str(export.__file__).split("/llpp/prediction")[0]
    for name in ("model.onnx", "model.pt2"):
        assert root.encode() not in (exported / name).read_bytes()


@pytest.mark.slow
def test_onnx_needs_neither_torch_nor_hydra(bright):
    code = (
        "import sys, numpy\n"
        "from llpp.prediction.onnx_model import OnnxPredictor\n"
        "model = OnnxPredictor(sys.argv[1])\n"
        "print(model.predict(numpy.zeros((2, 32, 32, 3), numpy.uint8)).joints.shape)\n"
        "print({'torch', 'pytorch_lightning', 'lightning_fabric', 'hydra', 'omegaconf', 'onnx'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code, bright], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["(2, 14, 2)", "set()"]


@pytest.mark.slow
def test_llpp_predict_finds_the_same_with_the_file_without_lightning_and_hydra(exported, tmp_path, capsys):
    dataset = llpp.load(exported).task.dataset
    (tmp_path / "images").mkdir()
    for row in range(3):
        cv2.imwrite(str(tmp_path / f"images/{row}.png"), dataset.load(row)[..., ::-1])
    code = (
        "import sys\n"
        "from llpp.cli.predict import run_predict_command\n"
        "run_predict_command(sys.argv[1:])\n"
        "print({'torch', 'pytorch_lightning', 'lightning_fabric', 'hydra', 'omegaconf'} & set(sys.modules))"
    )
    images = str(tmp_path / "images")
    words = [str(exported / "model.onnx"), images, "--out", str(tmp_path / "onnx")]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"
    run_predict_command([str(exported), images, "--out", str(tmp_path / "run"), "--device", "cpu"])
    line = "flags by head+confidence+distinctness (chosen on 4 validation images)"
    assert line in done.stdout.splitlines() and line in capsys.readouterr().out.splitlines()
    tables = []
    for name in ("onnx", "run"):
        with (tmp_path / name / "predictions.csv").open(newline="") as file:
            tables.append(list(csv.DictReader(file)))
    assert [row["image"] for row in tables[0]] == [row["image"] for row in tables[1]] and len(tables[0]) == 3
    for found, expected in zip(*tables, strict=True):
        assert float(found["predicted_loss"]) == pytest.approx(float(expected["predicted_loss"]), rel=1e-3)
        assert float(found["failure_score"]) == pytest.approx(float(expected["failure_score"]), rel=1e-3)
        assert found["failure_score"] != found["predicted_loss"]
        assert found["flag"] == expected["flag"]


@pytest.mark.slow
def test_of_equal_maxima_the_first_is_taken_and_of_others_the_higher(bright):
    crops = np.zeros((2, SIZE, SIZE, 3), dtype=np.uint8)

    def light(crop, channel, column, row, value):
        crops[crop, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4, channel] = value

    light(0, 0, 5, 6, 200)
    light(0, 0, 2, 3, 200)  # equal, and first in the order of rows
    light(0, 1, 2, 3, 200)
    light(0, 1, 5, 6, 201)
    # Blue is black everywhere: all cells are equal.
    found = OnnxPredictor(bright).predict(crops)
    in_torch = network(BrightCells()).predict(crops)
    for joints in (found.joints, in_torch.joints):
        # The centre of cell i is pixel 4 i + 1.5.
        assert joints[0, 0].tolist() == pytest.approx([9.5, 13.5])
        assert joints[0, 1].tolist() == pytest.approx([21.5, 25.5])
        # In the corner, where no parabola fits, a joint is at most half a cell from its cell's centre.
        assert joints[0, 2].tolist() == pytest.approx([3.5, 3.5])
    assert found.confidence[0, :3].tolist() == pytest.approx([200 / 127.5, 201 / 127.5, 0])


@pytest.mark.slow
def test_a_file_that_predicts_something_else_is_not_kept(tmp_path):
    path = tmp_path / "model.pt2"
    path.write_bytes(b"an older file")
    # The same joints, but losses of brighter maps.
    with pytest.raises(ExportError, match=r"losses that differ from torch's by 0\.\d+ of their size, and 0.0001 are"):
        export.export_network(network(BrightCells(exported_scale=1.5)), facts(), "torch", path, some_crops())
    assert path.read_bytes() == b"an older file"
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


@pytest.mark.slow
def test_a_network_that_torch_cannot_export_is_a_sentence(tmp_path):
    with pytest.raises(ExportError, match=r"torch cannot export this network to torch .*; nothing was kept"):
        export.export_network(network(Unexportable()), facts(), "torch", tmp_path / "model.pt2", some_crops())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_file_of_version_1_has_the_heads_losses_as_failure_scores(bright):
    older = OnnxPredictor(OLDER)
    crops = np.zeros((2, SIZE, SIZE, 3), dtype=np.uint8)
    crops[0, 12:16, 8:12, 0] = 200  # the cell in column 2 and row 3
    found = older.predict(crops)
    assert found.joints[0, 0].tolist() == pytest.approx([9.5, 13.5])
    assert np.array_equal(found.failure_score, found.predicted_loss)
    assert older.facts.ranker == HEAD_RANKER and older.facts.ranker_origin == ""
    # Twelve calibration images of losses from 0 to 1, of which the last two fail.
    assert older.facts.calibration.score == pytest.approx(np.linspace(0, 1, 12))
    flags = make_flags(older.facts, Wish(risk=0.4))
    assert flags.certificate.threshold == pytest.approx(1)
    # The same network exported now says the same.
    assert OnnxPredictor(bright).predict(crops).joints[0, 0].tolist() == found.joints[0, 0].tolist()


@pytest.mark.slow
def test_a_file_whose_ranker_is_not_in_its_graph_is_a_sentence(tmp_path):
    model = onnx.load(OLDER)
    ranked = json.dumps(replace(facts(), ranker=THREE_TERMS).to_json())
    onnx.helper.set_model_props(model, {"llpp": ranked})
    onnx.save(model, tmp_path / "model.onnx")
    with pytest.raises(DataError, match="does not fit its description"):
        OnnxPredictor(tmp_path / "model.onnx")


def predictions(joints, losses, confidence, scores):
    return CropPredictions(*(np.array(values, dtype=np.float32) for values in (joints, confidence, losses, scores)))


EQUAL = export.Comparison(
    joint_difference=0.0,
    loss_difference=0.0,
    confidence_difference=0.0,
    score_difference=0.0,
    joints=5,
    undecided=0,
    scores=2,
    undecided_scores=0,
)


def test_what_rounding_decides_is_left_out_of_a_comparison():
    expected = predictions([[[1, 1], [5, 5]], [[2, 2], [6, 6]]], [1.0, -3.0], [[4, 4], [4, 0]], [2.0, 4.0])
    found = predictions([[[1, 1.5], [5, 5]], [[2.25, 2], [9, 6]]], [1.5, -3.0], [[4, 4], [4, 1.5]], [7.0, 4.5])
    undecided = export.Undecided(
        joints=np.array([[False, False], [False, True]]),
        scores=np.array([True, False]),
    )
    # A loss of 1 is compared with the mean size of both, 2; a confidence of 0 with the mean of all, 3.
    assert export.compare_predictions(expected, found, undecided) == export.Comparison(
        joint_difference=0.5,
        loss_difference=0.25,
        confidence_difference=0.5,
        score_difference=0.125,
        joints=3,
        undecided=1,
        scores=1,
        undecided_scores=1,
    )
    nothing = predictions([[[0, 0]]], [0.0], [[0.0]], [0.0])
    none = export.Undecided(joints=np.array([[False]]), scores=np.array([False]))
    assert export.compare_predictions(nothing, nothing, none) == replace(EQUAL, joints=1, scores=1)


@pytest.mark.parametrize(
    ("name", "allowed", "sentence"),
    [
        ("joint_difference", 1e-3, r"finds joints 0\.25 pixels from where torch does, and 0\.001 are allowed"),
        ("loss_difference", 1e-4, r"losses that differ from torch's by 0\.25 of their size, and 0\.0001 are allowed"),
        ("confidence_difference", 1e-4, r"confidences that differ from torch's by 0\.25 of their size"),
        ("score_difference", 1e-4, r"gives failure scores that differ from torch's by 0\.25 of their size"),
    ],
)
def test_a_difference_above_its_limit_is_a_sentence(name, allowed, sentence):
    replace(EQUAL, **{name: allowed}).check()
    with pytest.raises(ExportError, match=sentence):
        replace(EQUAL, **{name: 0.25}).check()
    with pytest.raises(ExportError):
        replace(EQUAL, **{name: float("nan")}).check()


def test_heatmaps_without_anything_comparable_are_a_sentence():
    with pytest.raises(ExportError, match="rounding decides where all 5 are, so the heatmaps are flat"):
        replace(EQUAL, joints=0, undecided=5).check()
    with pytest.raises(
        ExportError, match="rounding decides all 2, so the heatmaps of all images are nearly the same"
    ):
        replace(EQUAL, scores=0, undecided_scores=2).check()


@pytest.mark.slow
def test_crops_of_another_kind_are_a_sentence(bright):
    model = OnnxPredictor(bright)
    for crops in (np.zeros((1, 64, 64, 3), np.uint8), np.zeros((1, 32, 32, 3)), np.zeros((32, 32, 3), np.uint8)):
        with pytest.raises(DataError, match=r"expects uint8 of shape \(any number, 32, 32, 3\)"):
            model.predict(crops)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("metadata", "sentence"),
    [
        ({}, "does not say what its model is for, so llpp did not export it"),
        ({"llpp": '{"llpp_model": 99}'}, "was exported as version 99, and this llpp reads"),
        ({"llpp": "{"}, "has no complete description of its model"),
        ({"llpp": "[]"}, "has no complete description of its model"),
    ],
)
def test_files_of_other_programs_and_versions_are_a_sentence(bright, tmp_path, metadata, sentence):
    model = onnx.load(bright)
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, metadata)
    onnx.save(model, tmp_path / "model.onnx")
    with pytest.raises(DataError, match=sentence):
        OnnxPredictor(tmp_path / "model.onnx")


@pytest.mark.slow
def test_a_model_that_does_not_fit_its_description_is_a_sentence(bright, tmp_path):
    model = onnx.load_from_string(linear_outputs((8, 8), {"joints": ([0.0, 0.0], [])}))
    onnx.helper.set_model_props(model, {"llpp": json.dumps(facts().to_json())})
    onnx.save(model, tmp_path / "model.onnx")
    with pytest.raises(DataError, match="does not fit its description"):
        OnnxPredictor(tmp_path / "model.onnx")


@pytest.mark.slow
def test_a_damaged_or_missing_file_is_a_sentence(bright, tmp_path):
    cut = tmp_path / "cut.onnx"
    cut.write_bytes(bright.read_bytes()[:-100])
    with pytest.raises(DataError, match=r"cut\.onnx cannot be used by onnxruntime"):
        OnnxPredictor(cut)
    with pytest.raises(DataError, match=r"none\.onnx cannot be read: No such file"):
        OnnxPredictor(tmp_path / "none.onnx")


@pytest.mark.parametrize("device", ["tpu", "cuda:", "cuda:x", "cudax"])
def test_a_device_of_an_unknown_name_is_a_sentence(tmp_path, device):
    with pytest.raises(ConfigError, match="is invalid for an ONNX file; expected auto, cpu, cuda or cuda:1"):
        OnnxPredictor(tmp_path / "model.onnx", device=device)


def test_a_gpu_that_onnxruntime_was_not_built_for_is_a_sentence():
    choose = onnx_model._choose_provider
    with pytest.raises(ConfigError, match=r"which offers CPUExecutionProvider; install onnxruntime-gpu in its place"):
        choose("cuda:1", ["CPUExecutionProvider"])
    assert choose("auto", ["CPUExecutionProvider"]) == ("CPUExecutionProvider", {})
    both = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    assert choose("auto", both) == ("CUDAExecutionProvider", {})
    assert choose("cuda:1", both) == ("CUDAExecutionProvider", {"device_id": "1"})


def test_packages_that_are_not_installed_are_named(tmp_path, monkeypatch):
    for module in (export, onnx_model):
        monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"needs onnx, onnxscript, onnxruntime; pip install 'llpp\[export\]'"):
        export.check_format("onnx")
    with pytest.raises(ConfigError, match=r"onnxruntime, which is not installed; pip install 'llpp\[export\]'"):
        OnnxPredictor(tmp_path / "model.onnx")
    export.check_format("torch")


@pytest.mark.parametrize(
    ("arguments", "error", "sentence"),
    [
        (["runs/none", "tensorflow"], ConfigError, "the format 'tensorflow' is not known; expected onnx or torch"),
        (["runs/none", "torch", "--output", "model.onnx"], ConfigError, r"expected one that ends with \.pt2"),
        (["runs/none", "torch"], StateError, "runs/none is not a folder; give a run directory"),
        ([str(Path(__file__).parent), "torch"], StateError, "prediction is no run directory, .*; give a run"),
    ],
)
def test_a_wrong_command_is_a_sentence(arguments, error, sentence):
    with pytest.raises(error, match=sentence):
        run_export_command(arguments)


@pytest.mark.slow
def test_a_run_without_a_round_is_a_sentence(finished, tmp_path):
    (tmp_path / "config.yaml").write_text((finished / "config.yaml").read_text())
    with pytest.raises(StateError, match="has no finished round; run its `llpp run` command again"):
        run_export_command([str(tmp_path), "torch"])


def test_images_that_cannot_be_read_are_passed_over_and_few_are_repeated(monkeypatch):
    from llpp.data.person_crop import PersonCrop

    dataset = Grey()
    crops = export.cut_crops_to_compare(dataset, PersonCrop(SIZE))
    assert crops.shape == (export.CHECKED_CROPS, SIZE, SIZE, 3) and (crops[:, 8:24, 8:24] == 128).all()

    def load(row):
        raise DataError("it is gone")

    monkeypatch.setattr(dataset, "load", load)
    with pytest.raises(DataError, match="no image of dataset grey can be read, and exported files are compared"):
        export.cut_crops_to_compare(dataset, PersonCrop(SIZE))
