"""Time to make 16 target heatmaps of 64×64 per image, in batches of 64, on one thread."""

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.measure import make_parser, print_result, time_variants
from llpp.tasks.pose.heatmaps import HeatmapCodec

BATCH = 64
JOINTS = 16
SIDE = 64  # cells
CODEC = HeatmapCodec(sigma=1.5, peak=1.0, stride=4)


def draw_gaussians(cells: NDArray[np.float32], sigma: float, side: int) -> NDArray[np.float32]:
    """Draw one map per joint, only the cells within three sigma, as pose code commonly does.

    `cells` (K, 2) are joints in heatmap cells; a joint that is NaN or outside gets an empty map.
    """
    maps = np.zeros((len(cells), side, side), dtype=np.float32)
    reach = int(np.ceil(3 * sigma))
    for joint, (cx, cy) in enumerate(cells):
        if not (-0.5 <= cx < side and -0.5 <= cy < side):
            continue
        left = max(0, int(cx) - reach)
        top = max(0, int(cy) - reach)
        x = np.arange(left, min(side, int(cx) + reach + 1), dtype=np.float32)
        y = np.arange(top, min(side, int(cy) + reach + 1), dtype=np.float32)[:, None]
        patch = np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * sigma**2))
        maps[joint, top : top + len(y), left : left + len(x)] = patch
    return maps


def encode_with_loop(joints: NDArray[np.float32]) -> NDArray[np.float32]:
    """Draw the maps of a batch, image by image and joint by joint."""
    cells = (joints + 0.5) / CODEC.stride - 0.5
    return np.stack([draw_gaussians(image, CODEC.sigma, SIDE) for image in cells])


def main() -> None:
    """Measure, and fail if the maps differ where the loop draws."""
    rounds = make_parser(__doc__, rounds=9).parse_args().rounds
    torch.set_num_threads(1)
    joints = np.random.default_rng(0).uniform(0, SIDE * CODEC.stride - 1, (BATCH, JOINTS, 2)).astype(np.float32)
    tensor = torch.from_numpy(joints)
    visible = torch.ones(BATCH, JOINTS)
    expected = encode_with_loop(joints)
    maps = CODEC.encode(tensor, visible, (SIDE, SIDE)).numpy()
    difference = float(np.abs(maps - expected)[expected > 0].max())
    if difference > 1e-4:
        raise RuntimeError(f"the maps differ by {difference}")
    variants = {
        "codec": lambda: CODEC.encode(tensor, visible, (SIDE, SIDE)),
        "loop": lambda: encode_with_loop(joints),
    }
    times = time_variants(variants, rounds)
    microseconds = 1e6 * times["codec"].seconds / BATCH
    ratio = times["loop"].seconds / times["codec"].seconds
    print_result(
        "codec_encode", microseconds, "µs/image", "numpy loop over joints, 3-sigma window", ratio,
        batch=BATCH, joints=JOINTS, side=SIDE, threads=1, max_difference=difference, **times["codec"].notes,
    )  # fmt: skip


if __name__ == "__main__":
    main()
