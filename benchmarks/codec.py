"""Time to make and to read 16 heatmaps of 64×64 per image, in batches of 64, on one thread."""

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.measure import make_parser, print_result, time_variants
from llpp.tasks.pose.heatmaps import HeatmapCodec

BATCH, JOINTS, SIDE = 64, 16, 64
CODEC = HeatmapCodec(sigma=1.5, peak=1.0, stride=4)
Array = NDArray[np.float32]


def encode_full(joints: Array) -> Array:
    """Joint by joint, the Gaussian at every cell."""
    maps = np.zeros((*joints.shape[:2], SIDE, SIDE), dtype=np.float32)
    x = np.arange(SIDE, dtype=np.float32)
    y = x[:, None]
    for image in range(len(joints)):
        for joint, (cx, cy) in enumerate((joints[image] + 0.5) / CODEC.stride - 0.5):
            maps[image, joint] = np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * CODEC.sigma**2))
    return maps


def encode_window(joints: Array) -> Array:
    """Joint by joint, only the cells within three sigma, as pose code commonly does."""
    maps = np.zeros((*joints.shape[:2], SIDE, SIDE), dtype=np.float32)
    reach = int(np.ceil(3 * CODEC.sigma))
    for image in range(len(joints)):
        for joint, (cx, cy) in enumerate((joints[image] + 0.5) / CODEC.stride - 0.5):
            left, top = max(0, int(cx) - reach), max(0, int(cy) - reach)
            x = np.arange(left, min(SIDE, int(cx) + reach + 1), dtype=np.float32)
            y = np.arange(top, min(SIDE, int(cy) + reach + 1), dtype=np.float32)[:, None]
            patch = np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * CODEC.sigma**2))
            maps[image, joint, top : top + len(y), left : left + len(x)] = patch
    return maps


def decode_loop(maps: Array) -> Array:
    """Joint by joint: the maximum, and the log-parabola through it and its neighbours on each axis."""
    joints = np.zeros((*maps.shape[:2], 2), dtype=np.float32)
    for image in range(len(maps)):
        for joint, heatmap in enumerate(maps[image]):
            y, x = divmod(int(heatmap.argmax()), SIDE)
            floor = max(float(heatmap[y, x]), 1e-12) * 1e-6
            cx, cy = min(max(x, 1), SIDE - 2), min(max(y, 1), SIDE - 2)
            across, down = heatmap[y, cx - 1 : cx + 2], heatmap[cy - 1 : cy + 2, x]
            px = min(max(cx + _find_vertex_offset(across, floor), x - 0.5), x + 0.5)
            py = min(max(cy + _find_vertex_offset(down, floor), y - 0.5), y + 0.5)
            joints[image, joint] = (px + 0.5) * CODEC.stride - 0.5, (py + 0.5) * CODEC.stride - 0.5
    return joints


def _find_vertex_offset(values: Array, floor: float) -> float:
    low, middle, high = np.log(np.maximum(values, floor)).tolist()
    curvature = low - 2 * middle + high
    return 0.5 * (low - high) / curvature if curvature < -1e-9 else 0.0


def main() -> None:
    """Measure and compare."""
    options = make_parser(__doc__, rounds=9).parse_args()
    torch.set_num_threads(1)
    joints = np.random.default_rng(0).uniform(0, SIDE * CODEC.stride - 1, (BATCH, JOINTS, 2)).astype(np.float32)
    ours, visible = torch.from_numpy(joints), torch.ones(BATCH, JOINTS)
    maps = CODEC.encode(ours, visible, (SIDE, SIDE))
    decoded, _ = CODEC.decode(maps)
    encode_error = float(np.abs(maps.numpy() - encode_full(joints)).max())
    window_error = float(np.abs(maps.numpy() - encode_window(joints)).max())
    decode_error = float(np.abs(decoded.numpy() - decode_loop(maps.numpy())).max())
    round_trip = float((decoded - ours).abs().max())
    if max(encode_error, decode_error) > 1e-2 or round_trip > 1e-2:
        raise RuntimeError(f"results differ: encode {encode_error}, decode {decode_error} px, both {round_trip} px")
    times = time_variants(
        {
            "encode": lambda: CODEC.encode(ours, visible, (SIDE, SIDE)),
            "full": lambda: encode_full(joints),
            "window": lambda: encode_window(joints),
            "decode": lambda: CODEC.decode(maps),
            "loop": lambda: decode_loop(maps.numpy()),
        },
        options.rounds,
    )
    each = {name: 1e6 * timing.seconds / BATCH for name, timing in times.items()}
    shape = {"batch": BATCH, "joints": JOINTS, "side": SIDE, "threads": 1}
    print_result(
        "codec_encode", each["encode"], "µs/image", "numpy loop over joints, 3-sigma window",
        each["window"] / each["encode"], **shape, window_us=each["window"], full_map_loop_us=each["full"],
        max_difference_full=encode_error, max_difference_window=window_error, **times["encode"].notes,
    )  # fmt: skip
    print_result(
        "codec_decode", each["decode"], "µs/image", "numpy loop over joints, same formula",
        each["loop"] / each["decode"], **shape, loop_us=each["loop"], max_difference_px=decode_error,
        error_on_perfect_maps_px=round_trip, **times["decode"].notes,
    )  # fmt: skip


if __name__ == "__main__":
    main()
