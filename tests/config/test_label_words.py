"""llpp label: short names, values that Hydra reads as they were typed, and settings that hold for later starts."""

import json

import pytest

from llpp.config.compose import compose_config
from llpp.config.label_words import (
    KeptWords,
    list_words_for_once,
    merge_words,
    quote_value,
    read_kept_words,
    translate_words,
)
from llpp.errors import ConfigError


def test_short_names_are_settings_of_a_run():
    words = ["tool=cvat", "joints=coco17", "boxes=image", "labels=a.json", "labelling=out", "budget=20"]
    assert translate_words(words) == [
        "oracle=cvat",
        "dataset.joints='coco17'",
        "dataset.boxes='image'",
        "label.labels='a.json'",
        "dataset.labelling='out'",
        "budget=20",
    ]


@pytest.mark.slow
def test_joints_are_a_file_or_a_list_of_names():
    words = translate_words(["joints=[nose,left ear]", "boxes=[a].json"])
    cfg = compose_config(["experiment=label", *words])
    assert list(cfg.dataset.joints) == ["nose", "left ear"] and cfg.dataset.boxes == "[a].json"


@pytest.mark.parametrize(
    "path", ["mice", "my mice/a=b", "Mäuse #1", "it's", "a,b", "{c}", "[d]", 'say "e"', "back\\slash", "ends\\"]
)
def test_a_path_reaches_the_config_as_it_was_typed(path):
    cfg = compose_config(["experiment=label", f"dataset.root={quote_value(path)}"])
    assert cfg.dataset.root == path


def test_settings_of_the_first_start_hold_for_later_ones_but_those_about_one_start():
    first = merge_words(KeptWords(()), ["oracle=coco", "crop.size=64", "budget=20", "label.enough=0.5"])
    assert first == ["oracle=coco", "crop.size=64", "budget=20"]
    typed = ["label.enough=0.2", "oracle=coco"]
    assert merge_words(KeptWords(first, "runs/mice"), typed) == first
    assert list_words_for_once(typed) == ["label.enough=0.2"]


def test_settings_that_decide_no_result_hold_until_they_are_given_again():
    kept = KeptWords(("oracle=coco", "budget=20", "label.test=50"), "runs/mice")
    assert merge_words(kept, ["label.test=80"]) == ["oracle=coco", "budget=20", "label.test=80"]
    assert merge_words(kept, ["label.annotators=2"])[-1] == "label.annotators=2"


def test_another_tool_is_refused_from_the_first_start_on():
    with pytest.raises(ConfigError, match="tool was coco at earlier starts of this project and is cvat now"):
        merge_words(KeptWords(("oracle=coco",)), ["oracle=cvat"])


def test_what_decides_training_may_change_until_a_run_has_begun():
    assert merge_words(KeptWords(("oracle=coco",)), ["crop.size=64"]) == ["oracle=coco", "crop.size=64"]
    assert merge_words(KeptWords(("crop.size=32",)), ["crop.size=64"]) == ["crop.size=64"]
    begun = KeptWords(("crop.size=32",), "runs/mice/seed0")
    remedy = "delete runs/mice/seed0, and a new run is trained with the same labels"
    with pytest.raises(ConfigError, match=f"crop.size was 32 at earlier starts .* and is 64 now; .*, or {remedy}"):
        merge_words(begun, ["crop.size=64"])
    with pytest.raises(ConfigError, match=r"optimizer\.lr was not set at earlier starts .* and is 0\.1 now"):
        merge_words(begun, ["optimizer.lr=0.1"])


def test_another_choice_of_a_group_takes_the_settings_of_the_earlier_one_along():
    kept = KeptWords(("logger=wandb", "logger.wandb.offline=true", "budget=20"), "runs/mice")
    assert merge_words(kept, ["logger=none"]) == ["logger=none", "budget=20"]
    assert merge_words(kept, ["logger=wandb"]) == list(kept.words)
    both = ["logger=csv", "logger.wandb.offline=true"]
    assert merge_words(kept, both) == ["logger=csv", "budget=20", "logger.wandb.offline=true"], "typed again"
    epochs = KeptWords(("trainer.max_epochs=9",))
    assert merge_words(epochs, ["trainer=ddp_cpu"]) == ["trainer.max_epochs=9", "trainer=ddp_cpu"]
    assert merge_words(kept, ["logger.csv.x=1", "logger=csv"]) == ["logger=csv", "budget=20", "logger.csv.x=1"]


def test_a_project_remembers_its_settings_wherever_its_labels_are(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    content = {
        "llpp_project": 1,
        "name": "mice",
        "root": "/mice",
        "joints": ["nose"],
        "edges": [],
        "grouping": "image",
        "segment": 60.0,
        "boxes": "image",
        "salt": "s",
        "test_cut": 0.2,
        "films": [],
        "words": ["oracle=sleap"],
    }
    names = ("elsewhere", "it's", "ends\\")
    for folder in (tmp_path / "labelling/mice", *(tmp_path / name for name in names)):
        folder.mkdir(parents=True)
        (folder / "project.json").write_text(json.dumps({**content, "words": [f"name={folder.name}"]}))
    root = tmp_path / "images/mice"
    root.mkdir(parents=True)
    assert read_kept_words(root, []) == KeptWords(["name=mice"])
    for name in names:
        assert read_kept_words(root, translate_words([f"labelling={name}"])).words == [f"name={name}"]
    assert read_kept_words(root, ["dataset.labelling='new'"]) == KeptWords(())
    assert read_kept_words(root, ["dataset.labelling=null"]).words == ["name=mice"]
    assert read_kept_words(root, ["dataset.labelling=[a"]) == KeptWords(())
