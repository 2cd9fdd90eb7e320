"""Crops that are cut once: the same pixels, whatever happens to the files or to who builds them."""

import logging
import os
import pickle
import signal
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from helpers import forked
from helpers.crops import AUGMENTED, Warp, crop_dataset, cut_person, evaluate, figures, same, train
from helpers.experiments import FIGURES, config, rows, tiny
from helpers.lsp_folders import folder
from helpers.rank_processes import on_ranks
from helpers.rank_work import prepared
from helpers.run_dirs import pose_task

from llpp.cli.main import run_data_command as command
from llpp.config import build
from llpp.data.crop_cache.blocks import ROWS_PER_BLOCK, Store
from llpp.data.crop_cache.cache import SPOT_CHECKS, CropCache
from llpp.data.crop_dataset import CropPipeline, to_tensors
from llpp.data.datamodule import LoaderSettings, PoolDataModule
from llpp.data.image_preparation import ImagePreparation
from llpp.data.person_crop import PersonCrop
from llpp.datasets.base import Records
from llpp.datasets.images import read_image
from llpp.datasets.pose import LSP_SKELETON, PoseDataset, PoseLabels
from llpp.errors import ConfigError, DataError, OccupiedError, StateError
from llpp.rounds import loop
from llpp.training.module import RoundPart

CROP = PersonCrop(16, 1.25, 1.5)
COUNT = 150  # three blocks, the last one short


class Photographs(PoseDataset):
    """Notes each image that it reads in a file, for all processes."""

    name, skeleton = "photographs", LSP_SKELETON

    def __init__(self, root, splits=("train",) * (COUNT - 2) + ("val", "test"), whole=False):
        self.root, self.paths = root, [root / f"images/im{n + 1:05d}.jpg" for n in range(COUNT)]
        ids = [path.stem for path in self.paths]
        boxes = np.random.default_rng(0).uniform(10, 40, (COUNT, 4)).astype(np.float32)
        joints, visible = np.full((COUNT, 14, 2), 20, np.float32), np.full((COUNT, 14), 2, np.uint8)
        boxes[: whole * COUNT] = np.nan
        starts = np.ones(COUNT, dtype=bool)
        labels = PoseLabels(LSP_SKELETON, joints, visible)
        self.records = Records(ids, ids, np.array(splits), boxes, "annotation", starts, labels)

    def load(self, row):
        with (self.root / "read").open("a") as file:
            file.write(f"{row}\n")
        return read_image(self.paths[row])


@pytest.fixture
def photographs(tmp_path):
    folder(tmp_path / "lsp", COUNT)
    return tmp_path / "lsp"


def cache(root, dataset=None, crop=CROP):
    return CropCache(root.parent / "caches", dataset or Photographs(root), crop)


def built(root, crop=CROP):
    """An open cache, and which rows were read to build it."""
    (root / "read").write_text("")
    made = cache(root, crop=crop)
    made.open(made.prepare(lambda _: None))
    return made, [int(row) for row in (root / "read").read_text().split()]


@pytest.mark.parametrize("shape", [(60, 80), (300, 260)])
@pytest.mark.parametrize("box", [[10, 15, 40, 31], [-20, 3, 50, 80], [np.nan] * 4])
@pytest.mark.parametrize("crop", [CROP, PersonCrop(17, 1.1, 1.3), PersonCrop(64, 0.9, 2.0), PersonCrop(16, 1.0, 1.0)])
def test_the_middle_of_a_kept_crop_is_the_crop_itself_bit_by_bit(shape, box, crop):
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    box = np.array(box, dtype=np.float32)
    none = np.zeros((1, 2), np.float32), np.zeros(1, np.uint8)
    direct = cut_person(PersonCrop(crop.size, crop.padding), image, box, *none, Warp(), [0]).image
    kept = crop.cut_upright(image, box)
    assert kept.shape == (crop.side, crop.side, 3)
    assert np.array_equal(kept[crop.border : crop.border + crop.size, crop.border : crop.border + crop.size], direct)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """Figures, and their cache."""
    dataset = figures()
    made = CropCache(tmp_path_factory.mktemp("drawn"), dataset, PersonCrop(32, 1.25, 1.5), "figures")
    made.open(made.prepare())
    return dataset, made


def crops(dataset, cut=None, margin=None, resident=False):
    cropping = CropPipeline(PersonCrop(32, 1.25, margin), AUGMENTED, None, cut, resident)
    return crop_dataset(dataset, cropping)


def test_evaluation_sees_the_same_with_and_without_the_cache(drawn):
    dataset, made = drawn
    keys = [evaluate(row) for row in range(len(dataset.records.ids))]
    assert same(crops(dataset).__getitems__(keys), crops(dataset, made).__getitems__(keys))


def test_augmented_crops_agree_within_the_margin(drawn):
    dataset, made = drawn
    keys = [train(row, epoch) for row in range(len(dataset.records.ids)) for epoch in range(8)]
    direct, kept = crops(dataset).__getitems__(keys), crops(dataset, made).__getitems__(keys)
    assert all(same({k: direct[k]}, {k: kept[k]}) for k in direct if k != "image"), "geometry is the same"
    light, twice = (batch["image"].astype(float) for batch in (direct, kept))
    there = (twice > 0).any(axis=3)
    assert (there.sum() / (light > 0).any(axis=3).sum()) > 0.95, (
        "of what the images have, the margin holds nearly all"
    )
    # resampled twice, edges lie a little otherwise: on figures of 48 pixels, all edges, by 5 of 255 grey levels
    assert np.abs(light - twice)[there].mean() < 5


@pytest.mark.slow
@pytest.mark.parametrize("where", ["worker", "device"])
def test_fine_detail_survives_the_second_resampling(drawn, tmp_path, where):
    dataset, made = drawn
    keys = [train(row, epoch) for row in range(len(dataset.records.ids)) for epoch in range(8)]
    once = crops(dataset).__getitems__(keys)["image"]
    batch = to_tensors(crops(dataset, made, 1.5 if where == "device" else None).__getitems__(keys))
    images = ImagePreparation(32)
    cfg = config(tmp_path, "backbone.channels=4")
    module = build.build_module(cfg, dataset, pose_task(dataset), images, RoundPart(0)).train()
    pixels = module.prepare_images(batch)
    twice = ((pixels + 1) * 127.5).permute(0, 2, 3, 1).contiguous().numpy().round().astype(np.uint8)

    def detail(images):
        return np.median([cv2.Laplacian(cv2.cvtColor(i, cv2.COLOR_RGB2GRAY), cv2.CV_64F).var() for i in images])

    assert detail(twice) > 0.75 * detail(once), "0.54 of it would be left of the worker's crops without sharpening"


def test_batches_from_the_cache_do_not_depend_on_workers(drawn):
    dataset, made = drawn

    def batches(workers):
        cropping = CropPipeline(PersonCrop(32, 1.25), AUGMENTED, None, made)
        task = pose_task(dataset)
        data = PoolDataModule(dataset, task, range(9), [9, 10], cropping, LoaderSettings(4, 2, workers), 0, 0)
        return [{k: v.numpy() for k, v in batch.items()} for batch in data.train_dataloader()]

    assert all(same(one, other) for one, other in zip(batches(0), batches(1), strict=True))


def test_a_cache_is_read_by_a_process_that_got_it_as_bytes(drawn):
    _, made = drawn
    assert made.all_pixels.size
    there = pickle.dumps(made)
    assert len(there) < 10**6
    assert np.array_equal(pickle.loads(there).get_pixels(3), made.get_pixels(3))


def test_a_cache_is_built_once_and_read_ever_after(photographs):
    made, read = built(photographs)
    assert sorted(read) == list(range(COUNT))
    again, read = built(photographs)
    assert len(read) == SPOT_CHECKS and again.name == made.name
    image = Photographs(photographs).load(77)
    assert np.array_equal(again.get_pixels(77), CROP.cut_upright(image, Photographs(photographs).records.boxes[77]))
    assert again.shapes[77].tolist() == [60, 80]


def test_datasets_with_the_same_images_share_a_cache_and_neither_empties_it(photographs):
    made, _ = built(photographs)
    sentences = []
    same_images = Photographs(photographs)
    same_images.name = "photographs_shift"
    other = cache(photographs, same_images)
    other.open(other.prepare(sentences.append))
    assert other.name == made.name
    assert sentences == []  # nothing to cut, nothing to wait for
    third = cache(photographs)
    third.open(made.name)
    assert all(third.get_pixels(row).any() for row in range(COUNT))


def test_a_cache_that_was_emptied_after_it_was_built_is_refused_instead_of_read(photographs):
    made, _ = built(photographs)
    first_crop = made.get_pixels(0).copy()
    store = made.get_store(made.name)
    store.create(made._describe(made.name), np.fromfile(store.home / "rows.id", np.uint8).reshape(COUNT, 16))
    with pytest.raises(DataError, match="emptied or removed the crop cache"):
        cache(photographs).open(made.name)
    in_new_process = pickle.loads(pickle.dumps(made))
    with pytest.raises(DataError, match="emptied or removed the crop cache"):
        in_new_process.get_pixels(0)
    assert np.array_equal(made.get_pixels(0), first_crop)  # who had it open still sees it


def kill_after_a_block(root):
    write = Store.write_block

    def last(self, block, *arrays):
        write(self, block, *arrays)
        if block == 1:
            os.kill(os.getpid(), signal.SIGKILL)

    Store.write_block = last
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # one thread: block 0 is done, and 2 is not
    built(root)


@pytest.mark.slow
def test_a_killed_build_goes_on_with_the_blocks_that_are_left(photographs):
    process = forked.context().Process(target=kill_after_a_block, args=(photographs,))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    made, read = built(photographs)
    assert (
        sorted(set(read))
        and set(range(2 * ROWS_PER_BLOCK, COUNT)) <= set(read)
        and len(read) == COUNT - 2 * ROWS_PER_BLOCK + SPOT_CHECKS
    )
    assert all(made.get_pixels(row).any() for row in range(COUNT))


@pytest.mark.slow
def test_of_two_that_want_the_same_cache_one_builds_it(photographs):
    (photographs / "read").write_text("")
    processes = [forked.context().Process(target=_ready, args=(photographs,)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    assert len((photographs / "read").read_text().split()) == COUNT + SPOT_CHECKS


def _ready(root):
    cache(root).prepare()


@pytest.mark.slow
def test_ranks_share_one_cache(tmp_path):
    first, second = on_ranks(2, prepared, tmp_path)
    assert first == second and first[1] > 0


def test_a_flipped_bit_is_noticed_and_its_block_cut_again(photographs, caplog):
    made, _ = built(photographs)
    whole = made.get_pixels(100).copy()
    path = made.get_store(made.name).home / "crops.u8"
    with path.open("r+b") as file:
        file.seek(100 * whole.nbytes + 5)
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 1]))
    assert not np.array_equal(made.get_pixels(100), whole)
    again, read = built(photographs)
    assert "1 of 3 blocks of the crop cache" in caplog.text and "damaged" in caplog.text
    assert np.array_equal(again.get_pixels(100), whole)
    assert len(read) == ROWS_PER_BLOCK + SPOT_CHECKS and set(range(ROWS_PER_BLOCK, 2 * ROWS_PER_BLOCK)) <= set(read)


@pytest.mark.parametrize("name", ["cache.json", "crops.u8", "shapes.i32", "blocks.sha256"])
def test_a_cache_with_a_truncated_file_is_built_anew(photographs, name):
    made, _ = built(photographs)
    whole, path = made.get_pixels(3).copy(), made.get_store(made.name).home / name
    path.write_bytes(path.read_bytes()[:-7])
    again, read = built(photographs)
    assert sorted(read) == list(range(COUNT)) and np.array_equal(again.get_pixels(3), whole)


def test_a_cache_that_does_not_look_like_its_images_is_cut_again(photographs, caplog):
    """As one of a program that cut otherwise would."""
    made, _ = built(photographs)
    store, whole = made.get_store(made.name), made.get_pixels(3).copy()
    for block in range(3):
        arrays = [array[store.get_block_rows(block)] for array in store.open_arrays()]
        store.write_block(block, arrays[0][:, ::-1].copy(), arrays[1])
    assert not np.array_equal(made.get_pixels(3), whole)
    again, _ = built(photographs)
    assert "does not match its images" in caplog.text and np.array_equal(again.get_pixels(3), whole)


def test_a_name_follows_from_images_boxes_and_settings(photographs):
    def name(crop=CROP, **settings):
        return cache(photographs, Photographs(photographs, **settings), crop).prepare(lambda _: None)

    first = name()
    others = [name(PersonCrop(16, 1.25, 1.25)), name(PersonCrop(16, 1.3, 1.5)), name(PersonCrop(24, 1.25, 1.5))]
    others.append(name(whole=True))
    os.utime(photographs / "images/im00007.jpg", (1, 1))
    others.append(name())
    assert len({first, *others}) == 6
    assert name(splits=["train"] * COUNT) == others[-1], "other splits need no other crops"
    photographs.rename(photographs.parent / "moved")
    assert cache(photographs.parent / "moved").prepare() == others[-1]


def test_what_another_cache_has_is_not_cut_again(photographs):
    first, _ = built(photographs)
    image = photographs / "images/im00003.jpg"
    cv2.imwrite(str(image), np.full((60, 80, 3), 200, np.uint8))
    second, read = built(photographs)
    assert read[0] == 2 and len(read) == 1 + SPOT_CHECKS and first.name != second.name
    assert second.get_pixels(2).max() == 200 and np.array_equal(first.get_pixels(149), second.get_pixels(149))


def test_unreadable_images_are_what_they_are_without_a_cache(photographs):
    for number, content in ((5, b""), (70, b"no picture")):
        (photographs / f"images/im{number:05d}.jpg").write_bytes(content)
    (photographs / "images/im00009.jpg").unlink()
    expected = Photographs(photographs).find_bad_images(range(COUNT))
    assert sorted(expected) == [4, 8, 69]
    for _ in range(2):
        made, _ = built(photographs)
        assert made.bad_rows == expected
    (made.get_store(made.name).home / "bad.json").unlink()
    assert sorted(built(photographs)[0].bad_rows) == [4, 8, 69]


def test_a_disk_that_is_too_small_is_told_before_anything_is_written(photographs):
    """24 TB a crop."""
    huge = cache(photographs, crop=PersonCrop(1024, 1.25, 2800))
    with pytest.raises(
        ConfigError, match=r"crops of 2867200 × 2867200 pixels, .* GiB, does not fit into .*caches.*"
    ) as refused:
        huge.prepare()
    assert "another paths.cache_dir=…, lower crop.size or crop.margin" in str(refused.value)
    assert not list((photographs.parent / "caches").rglob("crops.u8"))


def test_a_folder_that_cannot_be_used_is_one_sentence(photographs):
    (photographs.parent / "caches").write_text("a file")
    with pytest.raises(ConfigError, match=r"cannot be built: .*; fix that, choose another paths.cache_dir=…"):
        cache(photographs).prepare()


@pytest.mark.slow
def test_the_command_builds_lists_and_removes(tmp_path, capsys):
    where = f"paths.cache_dir={tmp_path / 'caches'}"
    build = ["cache", "build", *FIGURES, where]
    assert command([*build, "crop.size=16"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0].startswith("crop cache of 48 crops of 24 × 24 pixels, 81.0 KiB, 81.0 KiB of it to be cut with ")
    home = Path(told[-1])
    assert home.parent == tmp_path / "caches" and (home / "crops.u8").stat().st_size == 48 * 24 * 24 * 3
    command([*build, "crop.size=24"])
    capsys.readouterr()
    assert command(["cache", "list", where]) == 0
    shown = capsys.readouterr().out
    assert f"{home.name}  synthetic: 48 crops of 24 × 24 pixels, " in shown and "100% built" in shown
    assert shown.splitlines()[-1].startswith("2 crop caches in ")
    assert command(["cache", "remove", home.name[:8], where]) == 0
    assert capsys.readouterr().out == f"removed {home}\n" and not home.exists()
    assert command(["cache", "remove", "all", where]) == 0
    assert list(home.parent.iterdir()) == []


def test_a_cache_in_use_is_not_removed(photographs):
    made, _ = built(photographs)
    where = f"paths.cache_dir={photographs.parent / 'caches'}"
    with pytest.raises(StateError, match="is in use by another process; wait for it or stop it"):
        command(["cache", "remove", "all", where])
    del made
    assert command(["cache", "remove", "all", where]) == 0


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[1]",
        '{"dataset": "\\u001b[2J", "count": 5, "side": 7}',
        '{"count": -1, "side": true}',
        "[" * 10**5,
        '{"count": 1e999}',
    ],
)
def test_whatever_lies_in_a_caches_folder_can_be_listed_and_removed(tmp_path, capsys, content):
    (tmp_path / "caches/somebody").mkdir(parents=True)
    (tmp_path / "caches/somebody/cache.json").write_text(content)
    where = f"paths.cache_dir={tmp_path / 'caches'}"
    assert command(["cache", "list", where]) == command(["cache", "remove", "some", where]) == 0
    shown = capsys.readouterr().out
    assert "0% built" in shown and "\x1b" not in shown and not list((tmp_path / "caches").iterdir())


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["build", "crop.margin=wide"], "crop.margin='wide' is invalid; expected null, or a factor of 1 or more"),
        (["build", "crop.margin=null"], "crop.margin=None is invalid; expected a factor of 1 or more"),
        (
            ["remove", "abc", "paths.cache_dir=/nowhere"],
            r"no crop cache in /nowhere has a name that begins with 'abc' \(caches found: none\)",
        ),
    ],
)
def test_wrong_input_is_one_sentence(arguments, sentence):
    with pytest.raises(ConfigError, match=sentence) as refused:
        command(["cache", *arguments, *(FIGURES if arguments[0] == "build" else ())])
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["crop.cache=maybe"], "crop.cache='maybe' is invalid; expected true or false"),
        (["crop.resident=card"], "crop.resident='card' is invalid; expected null or device"),
        (["crop.resident=device"], "does not go with crop.cache=false: set it to true"),
        (
            ["crop.resident=device", "crop.cache=true", "crop.resample=worker"],
            "not go with crop.resample=worker",
        ),
        (
            [
                "crop.resident=device",
                "crop.cache=true",
                "pixel={_target_: llpp.data.pixel_augmentation.PixelAugmentations}",
            ],
            "not go with a pixel augmentation",
        ),
    ],
)
def test_settings_that_do_not_go_together_are_refused(tmp_path, overrides, sentence):
    with pytest.raises(ConfigError, match=sentence):
        tiny(tmp_path, *overrides)


CACHED = ("crop.cache=true", "trainer.max_epochs=1", "rounds=1")


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A finished round from the cache, resampled on the device."""
    home = tmp_path_factory.mktemp("kept")
    loop.run_rounds(tiny(home / "run", *CACHED, "crop.resample=device", f"paths.cache_dir={home}/caches"))
    return home


@pytest.mark.slow
def test_crops_on_the_device_give_the_same_run_bit_by_bit(kept, tmp_path):
    resident = ("crop.resident=device", f"paths.cache_dir={kept}/caches")
    loop.run_rounds(tiny(tmp_path, *CACHED, *resident))
    assert rows(tmp_path) == rows(kept / "run")
    one, other = (
        torch.load(path / "round_00/last.ckpt", weights_only=True)["state_dict"] for path in (tmp_path, kept / "run")
    )
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
    data = tiny(tmp_path / "b", *CACHED, *resident).data
    data.open_crops()
    batch = next(iter(data.make_loaders([0, 1, 2, 3], [], 0).train_dataloader()))
    assert "image" not in batch and batch["warp"].shape == (4, 3, 3)


@pytest.mark.slow
def test_a_run_goes_on_from_the_cache_and_not_without_it(kept):
    caches = f"paths.cache_dir={kept}/caches"
    with pytest.raises(OccupiedError, match=r"different config \(crop.cache: True → None\)"):
        loop.run_rounds(tiny(kept / "run", "trainer.max_epochs=1", "rounds=2", "crop.resample=device"))
    loop.run_rounds(tiny(kept / "run", *CACHED, "rounds=2", "crop.resident=device", caches))
    assert [row["labelled"] for row in rows(kept / "run")] == ["12", "18"]


@pytest.mark.slow
def test_a_pool_grows_with_a_cache(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    cached = (*CACHED, f"paths.cache_dir={tmp_path}/caches")
    loop.run_rounds(tiny(tmp_path / "run", *cached))
    loop.run_rounds(tiny(tmp_path / "run", *cached, "rounds=2", "dataset.pool=30", "pool.grow=true"))
    assert [row["pool"] for row in rows(tmp_path / "run")] == ["30", "24"], "round 0 selects after all, out of more"
    assert len(list((tmp_path / "caches").glob("*/cache.json"))) == 2


@pytest.mark.slow
def test_a_finished_run_builds_no_cache(kept, tmp_path):
    loop.run_rounds(
        tiny(kept / "run", *CACHED, "rounds=2", "crop.resample=device", f"paths.cache_dir={tmp_path}/caches")
    )
    assert not (tmp_path / "caches").exists()


def test_a_cache_does_not_change_what_a_config_without_it_means(tmp_path):
    plain = build.build_run(config(tmp_path)).result_settings
    assert not any(name.startswith(("crop.cache", "crop.resident", "paths.")) for name in plain)
    assert tiny(tmp_path, "crop.cache=true").result_settings == {**plain, "crop.cache": True}
