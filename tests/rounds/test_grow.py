"""Data that change between two starts of a run: what changed is told, and a pool may grow."""

import os
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
from helpers.experiments import rows, tiny
from helpers.interruptions import Stopped, flip_a_bit, stop_in, stopped
from helpers.run_dirs import CLASSES, Grey, GreyClasses, class_task, pose_task

from llpp.datasets.classes import UNKNOWN
from llpp.datasets.synthetic.dataset import SyntheticFigures
from llpp.errors import ConfigError, DataError
from llpp.report.collect import collect
from llpp.report.facts import list_settings
from llpp.rounds import loop, pool_growth, records
from llpp.run_dir import state

SHORT = ("trainer.max_epochs=1", "rounds=2")
GROW = ("pool.grow=true",)
MORE = "dataset.pool=30"  # six figures more


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """A run of one round, to be extended."""
    run_dir = tmp_path_factory.mktemp("begun")
    loop.run_rounds(tiny(run_dir, "trainer.max_epochs=1", "rounds=1"))
    return run_dir


def copied(begun, folder):
    """Its directory again."""
    for path in begun.rglob("*"):
        if path.is_file() and path.name != "lock":
            target = folder / path.relative_to(begun)
            target.parent.mkdir(parents=True, exist_ok=True)
            os.link(path, target)
    return folder


def pools(run_dir):
    return [row["pool"] for row in rows(run_dir)]


def refusal(run_dir, *overrides):
    before = (run_dir / "state.json").read_bytes()
    with pytest.raises(ConfigError) as caught:
        loop.run_rounds(tiny(run_dir, *SHORT, *overrides))
    assert (run_dir / "state.json").read_bytes() == before
    return str(caught.value)


@pytest.mark.slow
def test_ids_that_were_added_are_counted_and_the_remedy_told(begun):
    assert refusal(begun, MORE) == (
        f"{begun} was started with other data (dataset.pool: 24 → 30; 6 ids were added to train "
        "('synthetic/pool-00024' among them)); start with pool.grow=true to let the pool grow, or choose another "
        "name=…"
    )


@pytest.mark.parametrize(
    ("override", "difference"),
    [
        ("dataset.pool=20", "4 of 48 ids vanished ('synthetic/pool-00020' among them)"),
        ("dataset.val=5", "1 ids were added to val ('synthetic/val-00004' among them)"),
        ("dataset.box=joints", "48 of 48 records changed ('synthetic/initial-00000' among them)"),
    ],
)
def test_what_does_not_only_add_to_the_pool_is_refused_even_if_it_may_grow(override, difference, begun):
    found = refusal(begun, override, *GROW)
    assert difference in found and "a run resumes only with what it began with and more training records" in found


@pytest.mark.slow
def test_settings_beside_the_data_are_told_as_ever(begun):
    assert "different config (dataset.digest: " in refusal(begun, MORE, "training.head_weight=0.5", *GROW)
    assert "pool.grow='maybe' is invalid" in refusal(begun, "pool.grow=maybe")


@pytest.mark.slow
def test_a_grown_pool_is_selected_from_and_the_run_says_so(begun, tmp_path):
    run_dir = copied(begun, tmp_path)
    loop.run_rounds(tiny(run_dir, *SHORT, MORE, *GROW))
    loop.run_rounds(tiny(run_dir, *SHORT, MORE, "rounds=3"))  # nothing new: it needs no permission
    found = state.load_state(run_dir / "state.json")
    (grew,) = found.grown
    assert (grew.round, grew.added) == (0, 6) and found.result_settings["dataset.pool"] == 30
    # 36 training figures of which 12 are labelled; six came before the first selection
    assert pools(run_dir) == ["30", "24", "18"]
    scored = pq.read_table(run_dir / "round_00/scores.parquet")["id"].to_pylist()
    assert len(scored) == 30 and "synthetic/pool-00029" in scored
    (section,) = collect([run_dir]).sections
    shown = dict(list_settings(section, None, 0))
    assert shown["the pool grew"].startswith("by 6 images before round 0 of ")
    assert "6 of 54 ids vanished" in refusal(run_dir, "rounds=3", *GROW), "it cannot shrink again"


@pytest.mark.slow
def test_a_round_that_was_interrupted_goes_on_when_the_pool_has_grown(tmp_path, monkeypatch):
    stopped(monkeypatch, tmp_path, 1, 1, "rounds=2")
    with monkeypatch.context() as patch:
        stop_in(patch, 1, 0)  # comes by only if the round begins anew
        loop.run_rounds(tiny(tmp_path, "rounds=2", MORE, *GROW))
    assert pools(tmp_path) == ["24", "24"] and state.load_state(tmp_path / "state.json").grown[0].round == 1


@pytest.mark.slow
def test_new_images_are_looked_at_before_they_join(begun, tmp_path, monkeypatch):
    load, skip = SyntheticFigures.load, "pool.on_bad_image=skip"

    def load_or_not(self, row):
        if self.records.ids[row] == "synthetic/pool-00025":
            raise DataError("pool-00025 is no image")
        return load(self, row)

    loop.run_rounds(tiny(tmp_path, "trainer.max_epochs=1", "rounds=1", skip))
    monkeypatch.setattr(SyntheticFigures, "load", load_or_not)
    with pytest.raises(DataError, match=r"pool-00025 is no image; fix or remove it, or set pool.on_bad_image=skip"):
        loop.run_rounds(tiny(begun, *SHORT, MORE, *GROW))
    found = loop.run_rounds(tiny(tmp_path, *SHORT, MORE, *GROW, skip))
    assert found.skipped == {"synthetic/pool-00025": "pool-00025 is no image"} and found.grown[0].added == 5
    assert pools(tmp_path) == ["29", "23"]


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["before the records", "between records and state", "after the state"])
def test_a_crash_while_the_pool_grows_leaves_a_run_that_goes_on(moment, begun, tmp_path, monkeypatch):
    run_dir, begin = copied(begun, tmp_path), records.write_initial_files

    def crash(*arguments):
        if moment == "after the state":
            begin(*arguments)
        raise Stopped

    with monkeypatch.context() as patch, pytest.raises(Stopped):
        patch.setattr(
            *((pool_growth, "replace_file") if moment == "before the records" else (records, "write_initial_files")),
            crash,
        )
        loop.run_rounds(tiny(run_dir, *SHORT, MORE, *GROW))
    if moment != "after the state":  # the data may as well be those of before
        stopped(monkeypatch, run_dir, 1, 0, *SHORT)
        assert pools(run_dir) == ["24"]
        assert "6 ids were added to train" in refusal(run_dir, MORE)
    loop.run_rounds(tiny(run_dir, *SHORT, MORE, *GROW))
    assert len(state.load_state(run_dir / "state.json").grown) == 1
    assert pools(run_dir) == (["30", "24"] if moment == "after the state" else ["24", "24"])


def listing(**changes):
    """Of Grey's six persons: four to train with, one each to validate and test."""
    data = Grey()
    labels = {name: changes.pop(name) for name in ("joints", "visible") if name in changes}
    data.records = replace(data.records, labels=replace(data.records.labels, **labels), **changes)
    return pool_growth.RecordTable.from_records(data.records, pose_task(data))


def test_a_difference_names_every_kind_of_change():
    table, before = Grey().records, listing()
    same = pool_growth.compare_records(before, listing())
    assert same.describe() == ["the same records stand in another order"] and not same.is_growth
    joints, visible, boxes, split = (
        v.copy() for v in (table.labels.joints, table.labels.visible, table.boxes, table.split)
    )
    joints[0, 0, 1] = np.nextafter(joints[0, 0, 1], np.float32(99))
    visible[1, 2], boxes[2, 3], split[3] = 1, 41, "val"
    for changes in ({"joints": joints}, {"visible": visible}, {"boxes": boxes}, {"split": split}):
        (sentence,) = pool_growth.compare_records(before, listing(**changes)).describe()
        assert sentence.startswith("1 of 6 records changed ('grey/"), changes
    (sentence,) = pool_growth.compare_records(before, listing(may_start=np.zeros(6, dtype=bool))).describe()
    assert sentence.startswith("6 of 6 records changed")
    others = [f"grey/{i}" for i in (0, 1, 2, 9, 4, 8)]
    assert pool_growth.compare_records(before, listing(ids=others, images=others)).describe() == [
        "2 of 6 ids vanished ('grey/3' among them)",
        "1 ids were added to train ('grey/9' among them)",
        "1 ids were added to test ('grey/8' among them)",
    ]


def test_another_normaliser_is_another_record_and_a_task_without_one_has_none():
    """What PCK divides by is part of a person's record; a class has nothing of the kind."""
    data = Grey()
    by_torso = pool_growth.RecordTable.from_records(data.records, pose_task(data))
    by_box = pool_growth.RecordTable.from_records(data.records, pose_task(data, normaliser="box"))
    (sentence,) = pool_growth.compare_records(by_torso, by_box).describe()
    assert sentence.startswith("6 of 6 records changed")

    before = pool_growth.RecordTable.from_records(GreyClasses().records, class_task())
    others = GreyClasses(replace(CLASSES, index=np.array([0, 1, 1, 1, 0, UNKNOWN])))
    after = pool_growth.RecordTable.from_records(others.records, class_task(others))
    assert pool_growth.compare_records(before, after).describe() == ["1 of 6 records changed ('grey/2' among them)"]


def test_a_row_has_a_digest_of_its_own_content_and_place():
    """Of 9 bytes in two words, by the same arithmetic in Python's whole numbers."""
    values = np.array([[1, 2], [2, 1]], dtype=np.float32), np.array([7, 7], dtype=np.uint8)

    def expected(first, second, third):
        found = 0x9E3779B97F4A7C15
        for word in (int.from_bytes(np.array([first, second], dtype="<f4").tobytes(), "little"), third):
            found = (found ^ word) * 0xBF58476D1CE4E5B9 % 2**64
            found ^= found >> 29
        return found

    assert pool_growth.hash_rows(*values).tolist() == [expected(1, 2, 7), expected(2, 1, 7)]
    many = np.arange(200_000, dtype=np.float32)  # in several pieces
    assert len(np.unique(pool_growth.hash_rows(many))) == 200_000


def test_records_that_cannot_be_read_are_refused_like_other_settings(begun, tmp_path):
    run_dir = copied(begun, tmp_path)
    (run_dir / "records.parquet").unlink()
    loop.run_rounds(tiny(run_dir, "trainer.max_epochs=1", "rounds=1"))
    assert (
        pool_growth.read_records(run_dir / "records.parquet", 0).ids
        == pool_growth.read_records(begun / "records.parquet", 0).ids
    )
    flip_a_bit(run_dir / "records.parquet")
    assert pool_growth.read_records(run_dir / "records.parquet", 0) is None
    assert "different config (dataset.digest: " in refusal(run_dir, MORE, *GROW)
