"""`page.html` of `llpp predict`: which predictions it shows, and with what."""

import json
import re

import numpy as np
import pytest
from helpers.project_folders import FILM_SIZE, save, write_film
from helpers.spot_predictor import SpotPredictor, draw_spots, make_calibration

from llpp.prediction import result_page
from llpp.prediction.predict_files import Request, predict_files
from llpp.prediction.result_page import choose_rows


def read_page(path):
    html = path.read_text(encoding="utf-8")
    (text,) = re.findall(r'<script type="application/json">(.*?)</script>', html, flags=re.DOTALL)
    return html, json.loads(text)


def choose_images(losses):
    """Each is an image of its own."""
    return choose_rows(losses, np.arange(len(losses)), np.zeros(len(losses), dtype=np.int64))


def test_a_bad_moment_of_a_film_is_shown_once_and_all_persons_of_a_frame_are():
    # Two films of 3,000 frames with two persons each; the first one's losses rise.
    frames = np.tile(np.repeat(np.arange(3000), 2), 2)
    origins = np.repeat([4, 9], 6000)
    losses = np.concatenate([np.arange(6000), np.full(6000, -1)]).astype(np.float32)
    rows = choose_rows(losses, origins, frames).rows
    worst = rows[(origins[rows] == 4) & (frames[rows] > 2000)]
    # The last frame with both persons, then every twelfth before it: 998 frames have 84 of them.
    expected = {frame for frame in range(2999, 2000, -12)}
    assert expected <= set(frames[worst].tolist())
    assert sum(frames[worst] == 2999) == sum(frames[worst] == 2987) == 2


def test_all_of_few_predictions_are_shown_and_of_many_the_worst_and_a_share_of_the_others():
    assert choose_images(np.array([0.3], dtype=np.float32)).sentence == "The only prediction is shown."
    few = choose_images(np.array([0.3, 0.1, 0.2], dtype=np.float32))
    assert few.rows.tolist() == [0, 1, 2] and few.sentence == "All 3 predictions are shown."
    losses = np.arange(2000, dtype=np.float32)
    losses[7] = np.nan
    many = choose_images(losses)
    assert len(set(many.rows.tolist())) == 500
    # A loss that is no number is the first to look at; then come the 349 highest.
    assert set(many.rows.tolist()) > {7, *range(1651, 2000)}
    others = many.rows[(many.rows < 1651) & (many.rows != 7)]
    # 150 of 1650 others: from the first to the last, one of some eleven.
    assert others[0] == 0 and others[-1] == 1650 and np.diff(others).max() <= 13 and np.diff(others).min() >= 11
    assert many.sentence.startswith("500 of 2,000 predictions are shown: 350 with the highest failure score, and")


@pytest.mark.slow
def test_pictures_have_the_numbers_of_the_table_and_films_are_read_again(tmp_path, monkeypatch):
    for number, brightness in enumerate((250, 240)):
        save(tmp_path / f"new/still {number}.png", draw_spots((20, 30), (70, 12), brightness=brightness))
    frames = [draw_spots((20, 30), (70, 12), FILM_SIZE, brightness=60 + 40 * n)[..., ::-1] for n in range(4)]
    write_film(tmp_path / "new/clip.mp4", [np.ascontiguousarray(frame) for frame in frames])
    monkeypatch.setattr(result_page, "MOST_PICTURES", 3)
    monkeypatch.setattr(result_page, "WORST", 2)
    monkeypatch.setattr(result_page, "GAP", 1)
    request = Request(inputs=[str(tmp_path / "new")], out=tmp_path / "out", format="coco")
    predictor = SpotPredictor(calibration=make_calibration(100, 40))
    result = predict_files(request, lambda: predictor, lambda *_: None)
    rows = {row["file_name"]: row for row in json.loads(result.table.read_text())}
    html, data = read_page(result.page)
    # The darker, the higher the score; of the four others the one in the first rank stands for all.
    worst = sorted(rows, key=lambda name: -rows[name]["failure_score"])
    assert [picture["id"] for picture in data["pictures"]] == worst[:3] == [f"clip.mp4#{n:06d}" for n in range(3)]
    for picture in data["pictures"]:
        row = rows[picture["id"]]
        wanted = [row["failure_score"], row["predicted_loss"], row["p_fail"], row["score"]]
        assert picture["numbers"] == pytest.approx(wanted, rel=1e-4)
        assert picture["words"] == [row["flag"], "clip.mp4"]
        assert np.array(picture["points"][0]).reshape(2, 2) == pytest.approx(
            np.array(row["keypoints"]).reshape(2, 3)[:, :2], abs=0.01
        )
    assert "3 of 6 predictions are shown" in html and result.summary["promise"][1:] in html


@pytest.mark.slow
def test_persons_of_an_image_are_pictures_of_their_own_and_a_page_can_be_left_out(tmp_path):
    save(tmp_path / "new/a.png", draw_spots((20, 30), (70, 12)))
    (tmp_path / "boxes.csv").write_text("image,x,y,width,height\na.png,10,20,20,20\na.png,60,2,20,20\n")
    request = Request(inputs=[str(tmp_path / "new")], out=tmp_path / "out", boxes=str(tmp_path / "boxes.csv"))
    result = predict_files(request, SpotPredictor, lambda *_: None)
    _, data = read_page(result.page)
    assert sorted(picture["id"] for picture in data["pictures"]) == ["a.png · 1", "a.png · 2"]
    # Without a page there is no old one either, whose flags might be others than the table's.
    without = Request(inputs=request.inputs, out=request.out, boxes=request.boxes, page=False)
    assert predict_files(without, SpotPredictor, lambda *_: None).page is None
    assert not result.page.exists()


@pytest.mark.slow
def test_images_that_are_deleted_while_it_runs_are_counted(tmp_path):
    for name in ("a.png", "b.png"):
        save(tmp_path / "new" / name, draw_spots((20, 30), (70, 12)))

    def delete_one(phase, done, total, before):
        if (phase, done) == ("predicted", 2):
            (tmp_path / "new/a.png").unlink()

    request = Request(inputs=[str(tmp_path / "new")], out=tmp_path / "out")
    html, data = read_page(predict_files(request, SpotPredictor, delete_one).page)
    assert [picture["id"] for picture in data["pictures"]] == ["b.png"]
    assert "All 2 predictions are shown. Of these, 1 is missing" in html
