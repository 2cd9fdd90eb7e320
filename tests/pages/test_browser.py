"""The pages of `llpp report` and `llpp predict` in a browser: what readers see, click and type."""

import numpy as np
import pytest
from helpers.browser import open_page, start_browser
from helpers.project_folders import save
from helpers.run_dirs import pose_task
from helpers.spot_predictor import SpotPredictor, draw_spots, make_calibration

from llpp.datasets.synthetic.dataset import SyntheticFigures
from llpp.inference.evaluation import Evaluation
from llpp.prediction.predict_files import Request, predict_files
from llpp.report.page import write_report
from llpp.rounds.records import write_scores
from llpp.run_dir.state import Round, RunState, save_state

pytestmark = pytest.mark.slow

METHODS = ("learned", "random")
SELECTED = 6  # images of a selection
SETTINGS = {
    "seed": 0, "training.head_weight": 1.0, "dataset._target_": "llpp.datasets.synthetic.dataset.SyntheticFigures",
    "head._target_": "llpp.heads.gap_fc.GapFCHead", "objective._target_": "llpp.objectives.kl.KLObjective",
    "pck.threshold": 0.2,
}  # fmt: skip


@pytest.fixture(scope="module")
def browser():
    with start_browser() as found:
        yield found


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """The report of two methods with two selections each, and the columns of all 24 selected images."""
    folder = tmp_path_factory.mktemp("report")
    task = pose_task(SyntheticFigures(size=64, initial=2, pool=4 * SELECTED, val=2, test=2))
    records = task.dataset.records
    rng = np.random.default_rng(0)
    rows = records.select_rows("train")[2:]
    columns = {}
    for place, method in enumerate(METHODS):
        rounds = []
        for number in range(2):
            start = (2 * place + number) * SELECTED
            chosen = rows[start : start + SELECTED]
            ids = [records.ids[row] for row in chosen]
            joints = records.labels.joints[chosen] + rng.normal(0, 6, (SELECTED, 14, 2)).astype(np.float32)
            found = {
                "predicted_loss": rng.random(SELECTED).astype(np.float32),
                "true_loss": rng.random(SELECTED).astype(np.float32),
                "quality": rng.random(SELECTED).astype(np.float32),
                "joints": joints,
            }
            write_scores(folder / method / f"round_{number:02d}/predictions.parquet", ids, Evaluation(found, {}))
            values = {"labelled": 10 + number, "test_pck": 0.5, "selected": SELECTED, "selected_pck": 0.4}
            rounds.append(Round(number, {"round": number, **values}, tuple(ids)))
            for index, name in enumerate(ids):
                columns[name] = {key: value[index] for key, value in found.items()}
                columns[name] |= {"row": chosen[index], "method": method, "round": number}
        settings = {**SETTINGS, "acquisition._target_": f"llpp.acquisition.{method}.Some"}
        save_state(RunState(settings, (records.ids[rows[-1]],), {}, tuple(rounds)), folder / method / "state.json")
        (folder / method / "config.yaml").write_text(f"name: {method}\nseed: 0\nrounds: 2\n")
    return write_report([folder], folder, lambda _: task), columns, task


def list_names(page):
    return page.locator(".card > b").all_text_contents()


def choose(page, name, title):
    page.locator(f"select[name='{name}']").select_option(title)


def rank(columns, value, most=True):
    """Names of the selected images by a value, as captions have them."""
    order = sorted(columns, key=lambda name: value(columns[name]), reverse=most)
    return [name.split("/")[-1] for name in order]


def test_thumbnails_open_large_with_layers_that_can_be_switched(browser, report):
    path, _, _ = report
    with open_page(browser, path) as page:
        images = page.locator(".card img")
        assert images.count() == 24
        for image in images.all():
            image.scroll_into_view_if_needed()
            page.wait_for_function("(image) => image.naturalWidth > 30", arg=image.element_handle())
        page.locator(".card > button").first.click()
        large = page.locator("dialog .stage")
        assert large.locator("img").bounding_box()["width"] > 500
        assert page.locator("dialog .place").inner_text() == "1 of 24"
        title = page.locator("dialog h3").inner_text()
        truth, prediction = large.locator("[data-layer=truth]"), large.locator("[data-layer=prediction]")
        assert truth.is_visible() and prediction.is_visible()
        page.keyboard.press("t")
        assert not truth.is_visible() and prediction.is_visible()
        page.get_by_role("dialog").get_by_role("button", name="prediction").click()
        assert not prediction.is_visible()
        page.keyboard.press("ArrowRight")
        # What is switched off stays so, in the next picture and in the thumbnails.
        assert page.locator("dialog h3").inner_text() != title and not truth.is_visible()
        page.keyboard.press("Escape")
        assert not page.get_by_role("dialog").is_visible()
        assert not page.locator(".card [data-layer=truth]").first.is_visible()
        second = page.locator(".card > button").nth(1)
        assert second.evaluate("button => button === document.activeElement")


def test_a_pointer_at_a_joint_names_it_and_its_error(browser, report):
    path, columns, task = report
    name, found = max(columns.items(), key=lambda item: item[1]["true_loss"])
    joint = task.part_names.index("r_wrist")
    box = task.dataset.records.boxes[found["row"]]
    assert np.isfinite(box).all()
    with open_page(browser, path, "#images1.group=") as page:
        page.locator(".card > button").first.click()
        assert page.locator("dialog h3").inner_text().startswith(name)
        # Where the browser has drawn the joint: the only dot of the layer at these coordinates.
        at = page.evaluate(
            """(joint) => {
                const data = JSON.parse(document.querySelector(".viewer script").textContent);
                const svg = document.querySelector(".stage svg");
                const title = document.querySelector("dialog h3").textContent;
                const points = data.pictures.find((picture) => picture.id === title).points[0];
                const point = new DOMPoint(points[2 * joint], points[2 * joint + 1]);
                const { x, y } = point.matrixTransform(svg.getScreenCTM());
                return [x, y];
            }""",
            joint,
        )
        page.keyboard.press("p")
        page.mouse.move(*at)
        true = task.labels.joints[found["row"]]
        error = np.linalg.norm(found["joints"][joint] - true[joint]) / task.normaliser[found["row"]]
        words, value = page.locator(".tip").inner_text().split("\n")
        assert words == "r_wrist · truth" and value.startswith("error / torso ")
        assert float(value.split()[-1]) == pytest.approx(error, rel=0.01)


def test_pictures_are_sorted_by_numbers_and_by_the_error_of_a_joint(browser, report):
    path, columns, task = report

    def compute_error(found, joint=0):
        true = task.labels.joints[found["row"], joint]
        return np.linalg.norm(found["joints"][joint] - true) / task.normaliser[found["row"]]

    with open_page(browser, path) as page:
        choose(page, "group", "nothing")
        assert list_names(page) == rank(columns, lambda found: found["true_loss"])
        choose(page, "sort", "predicted loss")
        assert list_names(page) == rank(columns, lambda found: found["predicted_loss"])
        choose(page, "order", "best first")
        assert list_names(page) == rank(columns, lambda found: found["predicted_loss"], most=False)
        # A low PCK is a bad one.
        choose(page, "order", "worst first")
        choose(page, "sort", "PCK")
        assert list_names(page) == rank(columns, lambda found: found["quality"], most=False)
        choose(page, "joint", task.part_names[0])
        assert list_names(page) == rank(columns, compute_error)
        shown = [float(text) for text in page.locator(".card .joint dd").all_text_contents()]
        assert shown == pytest.approx(sorted(map(compute_error, columns.values()), reverse=True), rel=0.01)


def test_filters_count_what_is_left_and_a_link_opens_the_same_view(browser, report):
    path, columns, _ = report
    low = [name for name, found in columns.items() if found["quality"] <= 0.5]
    both = [name for name in low if columns[name]["method"] == "random" and columns[name]["round"] == 1]
    assert 0 < len(both) < 6 < len(low) < 24
    with open_page(browser, path) as page:
        count = page.locator("output[name=count]")
        assert count.inner_text() == "24 pictures"
        choose(page, "word.method", "random (12)")
        assert count.inner_text() == "12 of 24 pictures"
        choose(page, "word.round", "2 (12)")
        assert count.inner_text() == "6 of 24 pictures"
        page.get_by_label("PCK, at most").fill("0.5")
        assert count.inner_text() == f"{len(both)} of 24 pictures"
        assert sorted(list_names(page)) == sorted(name.split("/")[-1] for name in both)
        (heading,) = page.locator(".group h3").all_text_contents()
        assert heading.startswith(f"selection 2 · random {len(both)} · PCK 0.40 over all 6 selected")
        page.locator(".card > button").first.click()
        title = page.locator("dialog h3").inner_text()
        address = page.evaluate("location.hash")
        page.keyboard.press("Escape")
        page.get_by_role("button", name="show all").click()
        assert page.locator(".card").count() == 24
        assert page.evaluate("location.hash") == ""
    with open_page(browser, path, address) as page:
        assert page.locator("output[name=count]").inner_text() == f"{len(both)} of 24 pictures"
        assert page.locator("dialog h3").inner_text() == title and page.get_by_role("dialog").is_visible()


def test_a_limit_that_was_read_in_a_caption_includes_its_picture(browser, report):
    path, columns, _ = report
    captions = {name: f"{found['quality']:.2f}" for name, found in columns.items()}
    # One whose number was rounded up.
    text = next(text for name, text in captions.items() if columns[name]["quality"] < float(text))
    expected = [name for name in columns if float(captions[name]) >= float(text)]
    with open_page(browser, path) as page:
        page.get_by_label("PCK, at least").fill(text)
        assert sorted(list_names(page)) == sorted(name.split("/")[-1] for name in expected)


def test_a_keyboard_keeps_its_place(browser, report):
    path, _, _ = report
    with open_page(browser, path) as page:
        focus = "document.activeElement.localName + document.activeElement.className"
        page.locator(".card > button").nth(22).press("Enter")
        for _ in range(3):
            page.keyboard.press("Enter")
        # The last picture has no next one, which is no reason to lose the place.
        assert page.locator("dialog .place").inner_text() == "24 of 24"
        assert page.evaluate(focus) == "buttonnext"
        page.keyboard.press("Escape")
        page.get_by_role("searchbox").fill("0")
        page.get_by_role("button", name="show all").press("Enter")
        assert page.evaluate(focus) == "summary"


def test_a_phone_scrolls_down_only_and_swipes_and_a_dark_screen_gets_a_dark_page(browser, report):
    path, _, _ = report
    backgrounds = []
    for scheme in ("light", "dark"):
        viewport = {"width": 360, "height": 740}
        with open_page(browser, path, viewport=viewport, color_scheme=scheme, has_touch=True) as page:
            assert page.evaluate("document.documentElement.scrollWidth") == 360
            page.locator(".card > button").first.tap()
            box = page.get_by_role("dialog").bounding_box()
            assert (box["x"], box["width"]) == (0, 360) and box["height"] <= 740
            stage = page.locator(".stage")
            stage.dispatch_event("pointerdown", {"pointerType": "touch", "clientX": 300, "clientY": 200})
            stage.dispatch_event("pointerup", {"pointerType": "touch", "clientX": 100, "clientY": 210})
            assert page.locator("dialog .place").inner_text() == "2 of 24"
            backgrounds.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    light, dark = (sum(map(int, colour[4:-1].split(","))) for colour in backgrounds)
    assert light > 600 and dark < 150


def test_without_a_script_there_are_pictures_and_joints(browser, report):
    path, _, _ = report
    with open_page(browser, path, java_script_enabled=False) as page:
        assert page.locator(".card img").first.is_visible() and page.locator(".card").count() == 24
        assert page.locator(".card [data-layer=truth]").first.is_visible()
        assert not page.locator(".toolbar").is_visible() and not page.get_by_role("dialog").is_visible()


def test_a_page_of_predictions_has_its_flags_and_odd_names(browser, tmp_path):
    names = ['</script><img src=x onerror="alert(1)">.png', "a'b\"c & é.png", "plain.png"]
    for number, name in enumerate(names):
        # The larger the brightness, the smaller the predicted loss: 1 less the red's share.
        pixels = draw_spots((20, 30), (70, 12), brightness=250 - 100 * number)
        save(tmp_path / "new" / name.replace("/", "∕"), pixels)
    predictor = SpotPredictor(calibration=make_calibration(failures=30))
    request = Request(inputs=[str(tmp_path / "new")], out=tmp_path / "out")
    page_file = predict_files(request, lambda: predictor, lambda *_: None).page
    with open_page(browser, page_file) as page:
        assert list_names(page) == [names[2], names[1], names[0].replace("/", "∕")]
        assert page.locator(".card .layer").count() == 3
        choose(page, "word.flag", "check (1)")
        assert list_names(page) == [names[2]]
        choose(page, "word.flag", "ok (2)")
        page.get_by_role("searchbox").fill("É")
        assert list_names(page) == [names[1]]
