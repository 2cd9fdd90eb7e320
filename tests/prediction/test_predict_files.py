"""`llpp predict`: from images and films to tables, whatever is wrong with some of them."""

import csv
import json
import multiprocessing
import os
import signal
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
from helpers.project_folders import FILM_SIZE, decode_film, save, write_film
from helpers.spot_predictor import SpotPredictor, draw_spots, make_calibration, make_facts

from llpp.errors import ConfigError, DataError, OccupiedError
from llpp.prediction.failure_flags import Wish
from llpp.prediction.predict_files import Request, predict_files
from llpp.prediction.predictor import ModelFacts
from llpp.prediction.summary import format_summary
from llpp.reliability.rankers import Ranker, Term

SPOTS = {"a.png": ((20, 30), (70, 12)), "sub/b.png": ((50, 40), (10, 10))}


def make_folder(root):
    for name, (red, green) in SPOTS.items():
        save(root / name, draw_spots(red, green))
    return root


def predict(folder, *inputs, predictor=None, **wanted):
    request = Request(inputs=[str(path) for path in inputs], out=folder / "out", **wanted)
    return predict_files(request, lambda: predictor or SpotPredictor(), lambda *_: None)


def read_csv(result):
    with result.table.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def read_problems(folder):
    with (folder / "out/problems.csv").open(encoding="utf-8") as file:
        return {row["image"]: row["reason"] for row in csv.DictReader(file)}


def write_huge_png(path):
    """A PNG that says that it has 20,000 × 20,000 pixels, and has none."""
    head = b"IHDR" + struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)
    parts = [struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head))]
    for kind in (b"IDAT", b"IEND"):
        parts.append(struct.pack(">I", 0) + kind + struct.pack(">I", zlib.crc32(kind)))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))


def test_joints_are_in_pixels_of_the_image(tmp_path):
    found = read_csv(predict(tmp_path, make_folder(tmp_path / "new")))
    assert [row["image"] for row in found] == list(SPOTS)
    for row, (red, green) in zip(found, SPOTS.values(), strict=True):
        place = [float(row[name]) for name in ("red_x", "red_y", "green_x", "green_y")]
        # The crop of 64 pixels shows 96: half of one of its pixels is 0.75 of the image's.
        assert place == pytest.approx([*red, *green], abs=0.75)
        assert (row["person"], row["flag"], row["p_fail"], row["box_x"]) == ("1", "unknown", "", "")


def test_frames_of_a_film_are_numbered_in_order_and_follow_the_images(tmp_path):
    root = make_folder(tmp_path / "new")
    frames = [draw_spots((10 + 3 * n, 20), (60, 40), FILM_SIZE)[..., ::-1] for n in range(7)]
    write_film(root / "day 1/clip.mp4", [np.ascontiguousarray(frame) for frame in frames])
    result = predict(tmp_path, root)
    found = [row for row in read_csv(result) if "clip" in row["image"]]
    assert [row["image"] for row in found] == [f"day 1/clip.mp4#{n:06d}" for n in range(7)]
    assert [float(row["red_x"]) for row in found] == pytest.approx([10 + 3 * n for n in range(7)], abs=2)
    assert (result.summary["images"], result.summary["films"], result.summary["read"]) == (2, 1, 9)


def test_names_are_paths_below_the_folder_that_all_inputs_share(tmp_path):
    root = make_folder(tmp_path / "new")
    result = predict(tmp_path, root / "sub", root / "a.png", root / "sub/b.png")
    assert [row["image"] for row in read_csv(result)] == ["sub/b.png", "a.png"]


def test_boxes_of_a_file_say_who_is_where(tmp_path):
    root = make_folder(tmp_path / "new")
    save(root / "none.png", draw_spots((5, 5), (9, 9)))
    lines = ["image,x,y,width,height", "a.png,10,20,20,20", "a.png,60,2,20,20", "b.png,40,30,500,20"]
    lines += ["b.png,900,900,5,5", "elsewhere.png,1,1,5,5"]
    (tmp_path / "boxes.csv").write_text("\n".join(lines))
    result = predict(tmp_path, root, boxes=str(tmp_path / "boxes.csv"))
    found = read_csv(result)
    assert [(row["image"], row["person"]) for row in found] == [("a.png", "1"), ("a.png", "2"), ("sub/b.png", "1")]
    # Each crop of 20 pixels is enlarged to 64: the red spot is in the first, the green one in the second.
    assert [float(found[0][n]) for n in ("red_x", "red_y")] == pytest.approx([20, 30], abs=0.25)
    assert [float(found[1][n]) for n in ("green_x", "green_y")] == pytest.approx([70, 12], abs=0.25)
    # What is beyond the image is cut off.
    assert [float(found[2][f"box_{n}"]) for n in ("x", "y", "width", "height")] == [40, 30, 56, 20]
    said = "\n".join(result.summary["remarks"])
    assert result.summary["without_box"] == 1
    assert "1 boxes outside of their image, or without an area, are left out: [900, 900, 5, 5] in sub/b.png" in said
    assert "1 images of the file of boxes are not among those to predict: 'elsewhere.png'" in said


def test_boxes_of_frames_are_found_by_their_number(tmp_path):
    write_film(tmp_path / "new/clip.mp4", [np.ascontiguousarray(draw_spots((20, 30), (70, 12), FILM_SIZE))] * 3)
    (tmp_path / "boxes.csv").write_text("image,x,y,width,height\nclip.mp4#000001,10,20,20,20\n")
    result = predict(tmp_path, tmp_path / "new/clip.mp4", boxes=str(tmp_path / "boxes.csv"))
    assert [row["image"] for row in read_csv(result)] == ["clip.mp4#000001"] and result.summary["without_box"] == 2


def test_what_cannot_be_read_is_listed_in_a_sentence_and_passed_over(tmp_path):
    root = make_folder(tmp_path / "new")
    (root / "broken.jpg").write_bytes(b"\xff\xd8 no more")
    (root / "empty.png").write_bytes(b"")
    (root / "no_film.mp4").write_bytes(b"no film" * 100)
    save(root / "dot.png", np.zeros((1, 1, 3), np.uint8))
    write_huge_png(root / "huge.png")
    scenes = [np.ascontiguousarray(draw_spots((20, 30), (70, 12), FILM_SIZE))] * 20
    whole = write_film(root / "early.avi", scenes, codec="MJPG").read_bytes()
    (root / "early.avi").write_bytes(whole[: len(whole) // 2])
    result = predict(tmp_path, root)
    problems = read_problems(tmp_path)
    frames = len(decode_film(root / "early.avi"))
    assert problems == {
        "broken.jpg": f"image {root}/broken.jpg is truncated: the JPEG has no end",
        "empty.png": f"image {root}/empty.png is empty",
        "no_film.mp4": f"film {root}/no_film.mp4 cannot be opened: it is damaged or no film; convert it to H.264 in "
        "an .mp4 file",
        "dot.png": f"image {root}/dot.png has 1 × 1 pixels, too few to show anything; expected 8 × 8 or more",
        "huge.png": f"image {root}/huge.png has 20,000 × 20,000 pixels, more than the 134,217,728 that are read; "
        "shrink it, or cut it into parts",
        "early.avi": f"film {root}/early.avi ends after {frames} of the 20 frames that it should have; they are used",
    }
    assert result.summary["passed_over"] == 6 and 0 < frames < 20
    assert result.summary["predictions"] == len(SPOTS) + frames


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        (None, b"", "there is no file or folder .*; give images, films, or a folder of them"),
        ("notes.txt", b"x", "notes.txt is neither an image nor a film; expected a file that ends in jpg"),
        ("empty/notes.txt", b"x", "there is no image and no film in"),
    ],
)
def test_inputs_without_an_image_are_a_sentence(tmp_path, name, content, sentence):
    given = tmp_path / "nothing"
    if name:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        given = path.parent if "/" in name else path
    with pytest.raises(DataError, match=sentence):
        predict(tmp_path, given)


def test_a_file_of_boxes_for_other_images_is_a_sentence(tmp_path):
    (tmp_path / "boxes.csv").write_text("image,x,y,width,height\nother.png,1,1,5,5\n")
    with pytest.raises(DataError, match=r"has boxes for 1 images, 'other\.png' among them, and none of these"):
        predict(tmp_path, make_folder(tmp_path / "new"), boxes=str(tmp_path / "boxes.csv"))


class MortalPredictor(SpotPredictor):
    """The process is killed when it predicts for the third time."""

    def predict(self, crops):
        if self.seen == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().predict(crops)


def test_after_a_kill_the_same_command_predicts_only_what_is_missing(tmp_path):
    root = make_folder(tmp_path / "new")
    frames = [draw_spots((10 + 3 * n, 20), (60, 40), FILM_SIZE) for n in range(5)]
    write_film(root / "clip.mp4", [np.ascontiguousarray(frame) for frame in frames])
    undisturbed = predict(tmp_path / "whole", root)
    wanted = {"batch_size": 1, "shard_seconds": 0}
    process = multiprocessing.get_context("fork").Process(
        target=predict, args=(tmp_path / "killed", root), kwargs={"predictor": MortalPredictor(), **wanted}
    )
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert not (tmp_path / "killed/out/summary.json").exists()
    predictor = SpotPredictor()
    resumed = predict(tmp_path / "killed", root, predictor=predictor, **wanted)
    assert predictor.seen == 7 - 2
    assert resumed.table.read_bytes() == undisturbed.table.read_bytes()
    assert resumed.summary == undisturbed.summary


def test_a_damaged_shard_and_those_after_it_are_made_again(tmp_path):
    root = make_folder(tmp_path / "new")
    before = predict(tmp_path, root, shard_seconds=0)
    table = before.table.read_bytes()
    shard = tmp_path / "out/shards/000001.parquet"
    shard.write_bytes(shard.read_bytes()[:-9])
    predictor = SpotPredictor()
    assert predict(tmp_path, root, predictor=predictor, shard_seconds=0).table.read_bytes() == table
    assert predictor.seen == 1


def test_another_risk_needs_no_prediction_and_another_model_or_image_another_folder(tmp_path):
    root = make_folder(tmp_path / "new")
    predict(tmp_path, root)
    predictor = SpotPredictor(calibration=make_calibration())
    assert {row["flag"] for row in read_csv(predict(tmp_path, root, predictor=predictor))} == {"ok"}
    assert predictor.seen == 0
    with pytest.raises(OccupiedError, match=r"of another command \(its model differ\); give another out="):
        predict(tmp_path, root, predictor=SpotPredictor(run_digest="e" * 64))
    save(root / "c.png", draw_spots((20, 20), (40, 40)))
    with pytest.raises(OccupiedError, match="its images differ"):
        predict(tmp_path, root)


def test_an_image_that_was_replaced_by_one_of_its_size_is_not_taken_for_it(tmp_path):
    image = save(tmp_path / "new/a.bmp", draw_spots((20, 30), (70, 12)))
    predict(tmp_path, tmp_path / "new")
    size = image.stat().st_size
    save(image, draw_spots((60, 40), (10, 10)))
    os.utime(image, (1, 1))
    assert image.stat().st_size == size
    with pytest.raises(OccupiedError, match="its images differ"):
        predict(tmp_path, tmp_path / "new")


def test_a_folder_of_other_files_is_left_alone(tmp_path):
    root = make_folder(tmp_path / "new")
    mine = save(tmp_path / "out/overlay/mine.jpg", draw_spots((20, 20), (40, 40)))
    with pytest.raises(OccupiedError, match=r"holds other files \(overlay\), and results need a folder of their own"):
        predict(tmp_path, root, overlay=True)
    assert mine.is_file() and not (tmp_path / "out/predict.json").exists()


def test_flags_and_probabilities_follow_the_failure_score(tmp_path):
    root = tmp_path / "new"
    for number, brightness in enumerate((255, 140, 60)):
        save(root / f"{number}.png", draw_spots((50, 30), (70, 12), brightness=brightness))
    # Of 100 images with losses from 0 to 1, the 40 with the largest fail. Thresholds accept 5, 10, … of them; 65
    # with 5 failures are certified (45 are needed), 70 with 10 are not (75).
    predictor = SpotPredictor(calibration=make_calibration(100, 40))
    result = predict(tmp_path, root, predictor=predictor)
    found = read_csv(result)
    # Predicted losses are some 0, 0.45 and 0.76.
    assert [row["flag"] for row in found] == ["ok", "ok", "check"]
    assert [float(row["p_fail"]) for row in found] == [0, 0, 1]
    certificate = result.summary["certificate"]
    assert (certificate["accepted"], certificate["failures"]) == (65, 5)
    assert result.summary["coverage"] == pytest.approx(2 / 3)
    assert result.summary["promise"].startswith("certified with 90 % confidence: at most the share 0.2 of the")


class GreenRanked(SpotPredictor):
    """Its ranker trusts the brightness of the green spot, its head that of the red one."""

    def score_failures(self, losses, height):
        return 1 - height[:, 1]


def test_flags_probabilities_and_orders_follow_the_failure_score_where_it_is_not_the_loss(tmp_path):
    for number, green in enumerate((60, 140, 255)):
        pixels = draw_spots((50, 30), (70, 12), brightness=255 - 80 * number)
        pixels[..., 1] = np.where(pixels[..., 1] > 0, green, 0)
        save(tmp_path / f"new/{number}.png", pixels)
    ranker = Ranker("distinctness", (Term("distinctness", 0.5, -1.0),), 0.5)
    predictor = GreenRanked(
        calibration=make_calibration(100, 40), ranker=ranker, ranker_origin="as the run's settings say"
    )
    result = predict(tmp_path, tmp_path / "new", predictor=predictor)
    found = read_csv(result)
    assert [float(row["failure_score"]) for row in found] == pytest.approx([1 - 60 / 255, 1 - 140 / 255, 0], abs=0.02)
    assert [row["flag"] for row in found] == ["check", "ok", "ok"] and float(found[0]["p_fail"]) == 1
    # The head would have said the opposite.
    assert float(found[2]["predicted_loss"]) > float(found[0]["predicted_loss"])
    html = result.page.read_text()
    assert html.index("0.png") < html.index("1.png") < html.index("2.png")
    line = "flags by distinctness (as the run's settings say)"
    assert line in format_summary(result.summary) and result.summary["ranker"]["name"] == "distinctness"
    entries = json.loads(predict(tmp_path, tmp_path / "new", predictor=predictor, format="coco").table.read_text())
    table = pq.read_table(predict(tmp_path, tmp_path / "new", predictor=predictor, format="parquet").table)
    assert [entry["failure_score"] for entry in entries] == table["failure_score"].to_pylist()
    # COCO's own score stays the confidence: the higher the better.
    assert entries[0]["score"] == pytest.approx((1 + 60 / 255) / 2, abs=0.02)


def test_five_calibration_images_promise_nothing(tmp_path):
    predictor = SpotPredictor(calibration=make_calibration(5))
    result = predict(tmp_path, make_folder(tmp_path / "new"), predictor=predictor)
    assert {(row["flag"], row["p_fail"]) for row in read_csv(result)} == {("unknown", "")}
    assert result.summary["promise"] == (
        "not certified: 5 random labelled images cannot show that at most the share 0.2 of any predictions are "
        "failures (PCK@0.2 (torso) of the image below 0.5); about 6 more random labels are needed, if none of them "
        "fails"
    )
    assert result.summary["coverage"] is None and not result.summary["promise_holds"]


def test_images_unlike_the_calibration_images_end_the_promise(tmp_path):
    # Their spots are so dark that all predicted losses are above 0.75, and those of the calibration are from 0 to 1.
    for number in range(25):
        spots = draw_spots((40, 30), (70, 12), brightness=45 + number % 7)
        save(tmp_path / f"new/{number:02d}.png", spots)
    result = predict(tmp_path, tmp_path / "new", predictor=SpotPredictor(calibration=make_calibration()))
    assert result.summary["drift"]["has_drifted"] and not result.summary["promise_holds"]
    assert "no promise about failures holds for them any longer" in result.summary["drift"]["sentence"]


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Wish(risk=0), r"risk=0 is invalid; expected a share above 0 and below 1: no number of labels can"),
        (lambda: Wish(risk=float("nan")), "risk=nan is invalid"),
        (lambda: Wish(fail=0), "fail=0 is invalid; expected the quality below which"),
        (lambda: Wish(confidence=1), "confidence=1 is invalid"),
        (lambda: Request(inputs=["x"], format="xml"), "format='xml' is invalid; expected one of csv, parquet, coco"),
        (lambda: Request(inputs=["x"], batch_size=0), "batch_size=0 is invalid"),
    ],
)
def test_impossible_wishes_are_a_sentence(make, sentence):
    with pytest.raises(ConfigError, match=sentence):
        make()


def test_parquet_and_coco_say_what_the_csv_says(tmp_path):
    root = make_folder(tmp_path / "new")
    predictor = SpotPredictor(calibration=make_calibration())
    rows = read_csv(predict(tmp_path, root, predictor=predictor))
    table = pq.read_table(predict(tmp_path, root, predictor=predictor, format="parquet").table)
    assert table.schema.names == list(rows[0])
    entries = json.loads(predict(tmp_path, root, predictor=predictor, format="coco").table.read_text())
    for row, line, entry in zip(rows, table.to_pylist(), entries, strict=True):
        assert line["image"] == entry["file_name"] == row["image"]
        assert line["flag"] == entry["flag"] == row["flag"] == "ok" and line["box_x"] is None
        assert line["predicted_loss"] == entry["predicted_loss"] == pytest.approx(float(row["predicted_loss"]))
        joints = [line[f"{name}_{axis}"] for name in ("red", "green") for axis in ("x", "y", "score")]
        assert entry["keypoints"] == joints
        assert joints == pytest.approx([float(row[name]) for name in list(row)[-6:]], abs=1e-3)
        assert entry["bbox"] == [0, 0, 96, 64]
    assert [entry["image_id"] for entry in entries] == [1, 2]


def test_results_have_the_image_ids_of_a_coco_file_of_boxes_so_that_coco_can_score_them(tmp_path):
    pytest.importorskip("pycocotools")
    from pycocotools.coco import COCO

    root = make_folder(tmp_path / "new")
    images = [{"id": 700 - place, "file_name": name, "width": 96, "height": 64} for place, name in enumerate(SPOTS)]
    annotations = []
    for image in images:
        box = {"bbox": [0, 0, 96, 64], "area": 6144, "iscrowd": 0, "category_id": 1}
        annotations.append({"id": image["id"], "image_id": image["id"], **box})
    truth = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "person"}]}
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    found = predict(tmp_path, root, boxes=str(tmp_path / "truth.json"), format="coco").table
    loaded = COCO(str(tmp_path / "truth.json")).loadRes(str(found))  # it refuses ids that it does not know
    names = {image["id"]: image["file_name"] for image in images}
    assert len(loaded.anns) == len(SPOTS)
    assert all(names[entry["image_id"]] == entry["file_name"] for entry in loaded.anns.values())


def test_overlays_show_the_joints_and_the_flag(tmp_path):
    root = make_folder(tmp_path / "new")
    write_film(root / "clip.mp4", [np.ascontiguousarray(draw_spots((20, 30), (70, 12), FILM_SIZE))] * 4)
    predict(tmp_path, root, predictor=SpotPredictor(calibration=make_calibration()), overlay=True)
    picture = cv2.imread(str(tmp_path / "out/overlay/a.png.jpg"))
    # 96 × 64 pixels are enlarged to 320 × 212, and the green border of ok images is 3 pixels wide.
    assert picture.shape == (212, 320, 3)
    blue, green, red = picture[150, 1].tolist()
    assert green > 120 and red < 60 and blue < 160
    drawn = decode_film(tmp_path / "out/overlay/clip.mp4.mp4")
    assert len(drawn) == 4 and drawn[0].shape[1] == 320
    # Of another promise, the flags are others.
    predict(tmp_path, root, overlay=True)
    blue, green, red = cv2.imread(str(tmp_path / "out/overlay/a.png.jpg"))[150, 1].tolist()
    assert max(blue, green, red) - min(blue, green, red) < 30


def test_facts_of_a_model_survive_json():
    ranker = Ranker("confidence", (Term("confidence", 0.25, -2.0),), 1.5)
    facts = make_facts(calibration=make_calibration(7, 2), no_calibration="", ranker=ranker, ranker_origin="why")
    content = json.loads(json.dumps(facts.to_json()))
    again = ModelFacts.from_json(content, "model.onnx")
    assert json.dumps(again.to_json()) == json.dumps(facts.to_json())
    assert again.edges == ((0, 1),) and again.calibration.quality.dtype == np.float32
    assert again.ranker == ranker
    with pytest.raises(DataError, match=r"model\.onnx was exported as version 99, and this llpp reads up to 2"):
        ModelFacts.from_json({**content, "llpp_model": 99}, "model.onnx")
    with pytest.raises(DataError, match=r"model\.onnx has no complete description"):
        ModelFacts.from_json({**content, "calibration": {"score": [1]}}, "model.onnx")


@pytest.mark.parametrize(
    "wrong",
    [
        {"padding": "1.25"},
        {"padding": 0},
        {"padding": float("nan")},
        {"edges": [[0, 7]]},
        {"joints": ["red", 5]},
        {"white": "bright"},
        {"background": ["a", "b", "c"]},
        {"ranker": None},
        {"ranker": {"name": "head", "terms": [], "offset": 0}},
        {"ranker": {"name": "x", "terms": [{"column": "confidence", "centre": 0, "weight": 1e999}], "offset": 0}},
        {"ranker_origin": None},
        {"calibration": {"score": [float("nan")], "quality": [1], "group": ["a"], "grid": None, "has_groups": True}},
        {"surprise": 1},
    ],
)
def test_facts_that_no_model_has_are_a_sentence(wrong):
    content = json.loads(json.dumps(make_facts().to_json()))
    with pytest.raises(DataError, match=r"model\.onnx has no complete description of its model; export it again"):
        ModelFacts.from_json({**content, **wrong}, "model.onnx")


@pytest.mark.slow
def test_predictions_need_neither_torch_nor_lightning_nor_hydra(tmp_path):
    make_folder(tmp_path / "new")
    code = (
        "import sys\n"
        f"sys.path.insert(0, {str(Path(__file__).parents[1])!r})\n"
        "from helpers.spot_predictor import SpotPredictor\n"
        "from llpp.prediction.predict_files import Request, predict_files\n"
        "import llpp.cli.main, llpp.prediction.summary\n"
        "predict_files(Request(['new'], overlay=True), SpotPredictor, lambda *_: None)\n"
        "print(*{'torch', 'hydra', 'omegaconf', 'pytorch_lightning'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
    assert (tmp_path / "predictions/new/summary.json").is_file()
