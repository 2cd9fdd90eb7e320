"""Pixels and joints move together, and what is random is a function of (seed, round, epoch, id)."""

import albumentations
import cv2
import numpy as np
import pytest
import torch
from helpers.crops import AUGMENTED, Warp, crop_dataset, cut_person, evaluate, figures, same, train
from helpers.run_dirs import pose_task
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from llpp.data.augmentation import NUMBERS, Augmentation, build_warp_matrices
from llpp.data.crop_dataset import CropPipeline
from llpp.data.datamodule import EpochSampler, PoolDataModule
from llpp.data.device_resampling import resample
from llpp.data.person_crop import PersonCrop
from llpp.data.pixel_augmentation import PixelAugmentations
from llpp.datasets.images import read_image, read_reduced
from llpp.datasets.pose import compute_torso_lengths
from llpp.errors import ConfigError
from llpp.geometry import build_crop_matrix, move_points
from llpp.seeds import Stream, make_rng
from llpp.settings import LoaderSettings

SIZE = 64
WORKER, DEVICE = PersonCrop(SIZE), PersonCrop(SIZE, margin=1.5)
BOX = np.array([40, 20, 50, 80], dtype=np.float32)  # of a 120 × 160 image; the crop's side is 100 image pixels
WHOLE = np.full(4, np.nan, dtype=np.float32)
LABELLED = np.array([2], dtype=np.uint8)

warps = st.builds(
    Warp,
    rotation=st.floats(-180, 180),
    scale=st.floats(0.7, 1.5),
    shift=st.tuples(st.floats(-0.15, 0.15), st.floats(-0.15, 0.15)),
    flip=st.booleans(),
)
shares = st.tuples(st.floats(0.2, 0.8), st.floats(0.2, 0.8))


def dot(x, y, shape=(120, 160), sigma=2.5):
    """A bright round dot on black whose centroid is (x, y)."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    blob = 250 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * sigma**2))
    return np.repeat(np.round(blob).astype(np.uint8)[..., None], 3, axis=2)


def centroid(pixels):
    """(x, y) centre of the brightness of (3, h, w) pixels."""
    grey = np.asarray(pixels, dtype=np.float64).mean(axis=0)
    rows, columns = np.mgrid[: grey.shape[0], : grey.shape[1]]
    return np.array([(grey * columns).sum(), (grey * rows).sum()]) / grey.sum()


def cut(crop, image, warp=Warp(), box=BOX, joints=None, visible=LABELLED, flip_order=(0,)):  # noqa: B008  # frozen
    joints = np.zeros((len(visible), 2), np.float32) if joints is None else np.asarray(joints, dtype=np.float32)
    return cut_person(crop, image, box, joints, visible, warp, list(flip_order))


def final_pixels(crop):
    """(3, size, size) as the network gets them, from either mode."""
    if crop.warp is None:
        return crop.image.transpose(2, 0, 1).astype(np.float64)
    return resample(torch.from_numpy(crop.image)[None], torch.from_numpy(crop.warp)[None], SIZE)[0].numpy()


def well_inside(point, low, high):
    return (np.asarray(point) > low).all() and (np.asarray(point) < high).all()


@pytest.mark.parametrize("crop", [WORKER, DEVICE], ids=["worker", "device"])
@settings(deadline=None, max_examples=40)
@given(warp=warps, share=shares)
def test_a_dot_ends_where_its_joint_ends(crop, warp, share):
    point = BOX[:2] + BOX[2:] * share
    found = cut(crop, dot(*point), warp, joints=[point])
    assume(well_inside(found.joints[0], 9, SIZE - 10))
    assume(well_inside(move_points(point, build_crop_matrix(BOX, SIZE, 1.25)), -8, SIZE + 7))  # what the margin holds
    assert np.linalg.norm(centroid(final_pixels(found)) - found.joints[0]) < 0.1


@pytest.mark.parametrize("crop", [WORKER, DEVICE], ids=["worker", "device"])
@pytest.mark.parametrize("shape", [(512, 640), (517, 611), (1200, 900)])
def test_averaging_before_a_large_reduction_does_not_move_joints(crop, shape):
    for share in ((0.3, 0.4), (0.61, 0.33), (0.5, 0.77)):
        point = np.array(shape[::-1]) * share
        warp = Warp(rotation=20.0, scale=0.9, flip=True)
        found = cut(crop, dot(*point, shape, sigma=max(shape) / 30), warp, box=WHOLE, joints=[point])
        assert np.linalg.norm(centroid(final_pixels(found)) - found.joints[0]) < 0.1


@pytest.mark.parametrize("shape", [(480, 640), (723, 641)])
@pytest.mark.parametrize(("side", "factor"), [(100, 1), (200, 2), (300, 4), (630, 8)])
def test_a_photograph_that_is_decoded_smaller_gives_the_same_crop(tmp_path, shape, side, factor):
    """A crop of 64 pixels: the box's side times 1.25, by 64, is 1.95, 3.9, 5.9 and 12.3."""
    coarse = np.random.default_rng(0).integers(0, 60, (shape[0] // 16, shape[1] // 16, 3), np.uint8)
    texture = cv2.resize(coarse, shape[::-1], interpolation=cv2.INTER_LINEAR)
    image = dot(330, 250, shape, sigma=side / 10) // 2 + texture
    cv2.imwrite(str(tmp_path / "photo.jpg"), image)
    cv2.imwrite(str(tmp_path / "drawing.png"), image)
    box = np.array([330 - side / 2, 250 - side / 2, side, side / 2], dtype=np.float32)
    small, by = read_reduced(tmp_path / "photo.jpg", WORKER.compute_reduction(box))
    assert by == factor and small.shape == (-(-shape[0] // by), -(-shape[1] // by), 3)
    whole, less = (DEVICE.cut_upright(read_image(tmp_path / "photo.jpg"), box), DEVICE.cut_upright(small, box, by))
    assert np.abs(whole.astype(float) - less).mean() < 1, "of 255"
    assert read_reduced(tmp_path / "drawing.png", 8)[1] == 1 == read_reduced(tmp_path / "photo.jpg", 1)[1]
    assert WORKER.compute_reduction(WHOLE) == 1


def test_a_reduction_by_two_is_the_mean_of_each_block():
    image = np.random.default_rng(0).integers(0, 256, (128, 128, 3)).astype(np.uint8)
    blocks = image.reshape(64, 2, 64, 2, 3).mean(axis=(1, 3))
    found = cut(PersonCrop(SIZE, padding=1.0), image, box=WHOLE).image
    assert np.abs(found - blocks).max() <= 1


def test_fine_patterns_average_out_instead_of_aliasing():
    board = (np.indices((480, 480)).sum(axis=0) % 2 * 255).astype(np.uint8)
    found = cut(WORKER, np.repeat(board[..., None], 3, axis=2), box=np.array([90, 90, 300, 300], np.float32)).image
    assert np.abs(found.astype(float) - 127.5).max() < 10  # blocks of 5 × 5 have one white cell more or less: 5.1


@settings(deadline=None, max_examples=30)
@given(warp=warps)
def test_worker_and_device_give_the_same_smooth_picture(warp):
    rows, columns = np.mgrid[:120, :160]
    wave = np.stack([np.sin(columns / 9), np.cos(rows / 8), np.sin((rows + columns) / 11)], axis=-1)
    image, white = np.round(127 + 100 * wave).astype(np.uint8), np.full((120, 160, 3), 255, dtype=np.uint8)
    worker, device = (final_pixels(cut(crop, image, warp)) for crop in (WORKER, DEVICE))
    covered = [final_pixels(cut(crop, white, warp)) > 254.5 for crop in (WORKER, DEVICE)]
    interior = covered[0] & covered[1]
    assert interior.mean() > 0.3
    assert np.abs(worker - device)[interior].max() < 4


@settings(deadline=None, max_examples=30)
@given(warp=warps)
def test_worker_and_device_move_joints_alike(warp):
    joints, visible = np.array([[50, 60], [70.5, 33.25]]), np.array([2, 1], dtype=np.uint8)
    both = [cut(c, dot(50, 60), warp, joints=joints, visible=visible, flip_order=(1, 0)) for c in (WORKER, DEVICE)]
    assert np.array_equal(both[0].joints, both[1].joints) and np.array_equal(both[0].visible, both[1].visible)
    assert np.array_equal(both[0].matrix, both[1].matrix)
    assert both[0].image.shape == (64, 64, 3) and both[1].image.shape == (96, 96, 3)


def test_a_box_becomes_a_centred_square_crop():
    """Box (10, 20) + (30, 50): centre (25, 45), side 50 · 1.25 = 62.5 image pixels on 100 crop pixels: 1.6."""
    matrix = build_crop_matrix(np.array([10, 20, 30, 50], dtype=np.float32), 100, 1.25)
    points = np.array([[25, 45], [25 + 31.25, 45], [25, 45 - 31.25], [10, 20]], dtype=np.float32)
    expected = [[49.5, 49.5], [99.5, 49.5], [49.5, -0.5], [49.5 - 24, 49.5 - 40]]
    assert move_points(points, matrix) == pytest.approx(np.array(expected), abs=1e-4)


def test_a_box_without_size_still_gives_a_crop():
    matrix = build_crop_matrix(np.array([10, 20, 0, 0], dtype=np.float32), 64, 1.25)
    assert np.isfinite(matrix).all() and np.linalg.det(matrix) > 0


@pytest.mark.parametrize("margin", [None, 1.5])
def test_the_whole_image_at_its_own_size_comes_back_as_it_was(margin):
    image = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3)).astype(np.uint8)
    found = cut(PersonCrop(SIZE, padding=1.0, margin=margin), image, box=WHOLE, joints=[[12.25, 40.5]])
    assert final_pixels(found) == pytest.approx(image.transpose(2, 0, 1), abs=0.02)
    assert found.joints.tolist() == [[12.25, 40.5]]


def test_a_whole_image_that_is_not_square_is_centred_with_black_bars():
    """80 × 40 pixels at 0.8 fill the rows 16 … 47 of 64."""
    found = cut(PersonCrop(SIZE, padding=1.0), np.full((40, 80, 3), 200, np.uint8), box=WHOLE, joints=[[39.5, 19.5]])
    assert found.joints.tolist() == [[31.5, 31.5]]
    filled = found.image[..., 0].astype(float)
    assert (filled[17:47, 1:-1] == 200).all() and not filled[:15].any() and not filled[49:].any()


@pytest.mark.parametrize(
    ("warp", "expected"),
    [
        (Warp(), (41.5, 31.5)),
        (Warp(rotation=90.0), (31.5, 41.5)),  # clockwise: what was right of the centre is below it
        (Warp(scale=2.0), (51.5, 31.5)),
        (Warp(shift=(0.25, -0.125)), (57.5, 23.5)),
        (Warp(flip=True), (21.5, 31.5)),
        (Warp(rotation=90.0, scale=2.0, shift=(0.25, 0.0), flip=True), (47.5, 11.5)),  # mirror, turn, shift
    ],
)
def test_warps_by_hand(warp, expected):
    point = np.array([[41.5, 31.5]], dtype=np.float32)  # 10 pixels right of the centre of 64
    assert move_points(point, warp.matrix(SIZE)) == pytest.approx(np.array([expected]), abs=1e-4)


def test_a_flip_swaps_left_and_right_by_name_and_by_visibility():
    joints, visible = [[20, 30], [50, 40], [32, 10]], np.array([1, 2, 2], dtype=np.uint8)  # left, right, nose
    image = np.zeros((SIZE, SIZE, 3), dtype=np.uint8)
    image[28:33, 18:23] = 90
    image[38:43, 48:53] = 210
    crop = PersonCrop(SIZE, padding=1.0)
    found = cut(crop, image, Warp(flip=True), WHOLE, joints, visible, flip_order=(1, 0, 2))
    assert found.joints.tolist() == [[63 - 50, 40], [63 - 20, 30], [63 - 32, 10]]
    assert found.visible.tolist() == [2, 1, 2]
    assert found.image[40, 13, 0] == 210 and found.image[30, 43, 0] == 90


@settings(deadline=None, max_examples=30)
@given(warp=warps)
def test_unlabelled_joints_stay_unknown_and_inputs_stay_as_they_are(warp):
    joints = np.array([[np.nan, np.nan], [50, 40]], dtype=np.float32)
    visible, image = np.array([0, 2], dtype=np.uint8), dot(50, 40)
    before = joints.copy(), visible.copy(), image.copy()
    found = cut_person(WORKER, image, BOX, joints, visible, warp, [1, 0])
    assert np.isnan(found.joints).all(axis=1).tolist() == (found.visible == 0).tolist()
    assert np.isfinite(found.joints).all(axis=1).sum() == 1
    for now, then in zip((joints, visible, image), before, strict=True):
        assert np.array_equal(now, then, equal_nan=now.dtype == np.float32)


@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 2**31))
def test_draws_are_within_their_ranges(seed):
    numbers = torch.from_numpy(np.random.default_rng(seed).random((NUMBERS, 20)))
    warps = Augmentation(rotation=30.0, scale=0.25, shift=0.1, flip=0.5).make_warps(numbers)
    assert (warps.rotation.abs() <= 30).all() and ((warps.scale >= 0.8) & (warps.scale <= 1.25)).all()
    assert warps.shift.shape == (20, 2) and (warps.shift.abs() <= 0.1).all() and warps.flip.dtype == torch.bool
    still = build_warp_matrices(Augmentation().make_warps(numbers), SIZE)
    assert torch.equal(still, torch.eye(3, dtype=torch.float64).expand(20, 3, 3))
    assert Augmentation(flip=1.0).make_warps(numbers).flip.all()


def test_draws_use_all_of_their_ranges():
    numbers = torch.from_numpy(np.random.default_rng(0).random((NUMBERS, 2000)))
    drawn = Augmentation(rotation=30.0, scale=0.25, shift=0.1, flip=0.25).make_warps(numbers)
    for values, limit in ((drawn.rotation, 30.0), (drawn.shift[:, 0], 0.1), (drawn.scale.log(), np.log(1.25))):
        assert values.min() < -0.98 * limit and values.max() > 0.98 * limit and abs(values.mean()) < 0.05 * limit
    assert abs(drawn.flip.double().mean() - 0.25) < 0.03


def cropping(pixel=None, margin=None):
    return CropPipeline(PersonCrop(32, margin=margin), AUGMENTED, pixel)


def noise():
    return PixelAugmentations([albumentations.GaussNoise(p=1.0), albumentations.RandomBrightnessContrast(p=1.0)])


def crops(seed=0, round_number=0, dataset=None, pixel=None):
    dataset = dataset or figures()
    return crop_dataset(dataset, cropping(pixel), seed, round_number)


def epoch_batches(workers, pixel=None, epochs=(0, 1), margin=None):
    """Training batches of some epochs and one pass over the validation rows."""
    loading = LoaderSettings(batch_size=4, eval_batch_size=2, workers=workers)
    dataset = figures()
    validation = dataset.records.select_rows("val").tolist()
    data = PoolDataModule(
        dataset,
        pose_task(dataset),
        range(9),
        validation,
        cropping(pixel, margin),
        loading,
        0,
        round_number=1,
    )
    train, batches = data.train_dataloader(), []
    for epoch in epochs:
        data.sampler.set_epoch(epoch)
        batches += list(train)
    return batches + list(data.val_dataloader())


@pytest.mark.parametrize("margin", [None, 1.5])
def test_the_number_of_workers_changes_nothing(margin):
    alone, two = (epoch_batches(workers, noise(), margin=margin) for workers in (0, 2))
    assert [len(b["row"]) for b in alone] == [4, 4, 4, 4, 2, 1]
    for one, other in zip(alone, two, strict=True):
        assert same({k: v.numpy() for k, v in one.items()}, {k: v.numpy() for k, v in other.items()})


def test_a_crop_does_not_depend_on_what_was_cut_before():
    fresh, used = crops(), crops()
    for key in (train(4, epoch=1), train(2), evaluate(3), train(5)):
        used[key]
    assert same(fresh[train(3)], used[train(3)])


def test_a_crop_belongs_to_an_id_and_not_to_a_row():
    small, large = figures(pool=2), figures(pool=5)
    name = small.records.ids[-1]
    rows = small.records.ids.index(name), large.records.ids.index(name)
    assert rows[0] != rows[1]
    one, other = crops(dataset=small)[train(rows[0], epoch=7)], crops(dataset=large)[train(rows[1], epoch=7)]
    assert np.array_equal(one["image"], other["image"]) and np.array_equal(one["matrix"], other["matrix"])


def test_augmentation_differs_between_epochs_rounds_seeds_and_images():
    matrices = [
        crops()[train(3)],
        crops()[train(3, epoch=1)],
        crops(round_number=1)[train(3)],
        crops(seed=1)[train(3)],
        crops()[train(4)],
    ]
    # without the box's part of the matrix: the turning angle and the sign of the mirroring
    angles = {tuple(np.round(m["matrix"][0, :2] / np.linalg.norm(m["matrix"][0, :2]), 5)) for m in matrices}
    assert len(angles) == len(matrices)


def test_evaluation_never_augments():
    plain = [crops(seed, number, pixel=noise())[evaluate(3)] for seed, number in ((0, 0), (0, 1), (1, 0))]
    assert same(plain[0], plain[1]) and same(plain[0], plain[2])
    assert plain[0]["matrix"][0, 1] == 0 and plain[0]["matrix"][0, 0] > 0


def test_joints_and_torso_are_in_pixels_of_the_crop():
    dataset = figures()
    for row in range(4):
        for key in (evaluate(row), train(row), train(row, epoch=1)):
            item = crops(dataset=dataset)[key]
            torso = compute_torso_lengths(item["joints"][None], item["visible"][None], dataset.skeleton.torso)
            assert float(item["normaliser"]) == pytest.approx(float(torso[0]), rel=1e-4)


def test_a_last_incomplete_training_batch_is_left_out_but_a_small_set_is_not():
    def sizes(count):
        data = PoolDataModule(
            figures(), pose_task(figures()), range(count), [], cropping(), LoaderSettings(batch_size=4), 0, 0
        )
        return [len(batch["row"]) for batch in data.train_dataloader()]

    assert sizes(9) == [4, 4] and sizes(3) == [3]


def order(rows=range(20), seed=0, round_number=0, epoch=0):
    sampler = EpochSampler(list(rows), 4, seed, round_number)
    sampler.set_epoch(epoch)
    return list(sampler)


def test_an_epoch_has_its_own_order_and_keeps_it():
    first = order(epoch=3)
    assert first == order(epoch=3)
    assert sorted(first) == [train(row, epoch=3) for row in range(20)]
    rows = set()
    for keys in (first, order(epoch=4), order(epoch=3, round_number=1), order(seed=1)):
        rows.add(tuple(key.row for key in keys))
    assert len(rows) == 4


def test_pixel_augmentation_is_seeded_by_its_sample():
    one, again, other_epoch = (crops(pixel=noise())[train(3, epoch)] for epoch in (0, 0, 1))
    assert same(one, again)
    image = np.full((16, 16, 3), 128, dtype=np.uint8)
    augment = noise()
    first, second = (augment(image, np.random.default_rng(seed)) for seed in (0, 1))
    assert not np.array_equal(first, second) and (image == 128).all()
    assert np.array_equal(first, augment(image, np.random.default_rng(0))), "whatever was drawn in between"
    assert not np.array_equal(one["image"], crops()[train(3)]["image"])
    assert np.array_equal(one["joints"], crops()[train(3)]["joints"]), "pixels change, geometry does not"
    assert not np.array_equal(one["image"], other_epoch["image"])


def test_pixel_augmentation_refuses_to_move_pixels():
    with pytest.raises(ConfigError, match=r"HorizontalFlip.*belong to augmentation"):
        PixelAugmentations([albumentations.GaussNoise(), albumentations.HorizontalFlip()])


def test_no_place_in_a_run_shares_its_random_numbers_with_another():
    places = [(), (0,), (1,), (0, 0), (0, 1), (1, 0), (0, 0, 0), (0, 1, 0)]
    keys = [(stream, seed, *place) for stream in Stream for seed in (0, 1) for place in places]
    first = {int(make_rng(*key).integers(2**62)) for key in keys}
    assert len(first) == len(keys)
    assert first == {int(make_rng(*key).integers(2**62)) for key in keys}


@settings(deadline=None)
@given(place=st.lists(st.integers(0, 2**70), max_size=4), seed=st.integers(0, 2**70))
def test_random_numbers_are_those_of_numpys_own_seeding(place, seed):
    expected = np.random.default_rng([seed, *place, int(Stream.SAMPLE)])
    assert make_rng(Stream.SAMPLE, seed, *place).integers(2**62) == expected.integers(2**62)
