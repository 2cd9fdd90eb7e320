"""Time of each loss head beside that of the pose network whose features it reads, 2 stacks × 256 channels."""

from collections.abc import Callable
from functools import partial
from typing import cast

import torch

from benchmarks.measure import make_parser, print_result, time_variants
from benchmarks.nets import METHOD, PUBLISHED, make_batch, make_module
from llpp.heads.base import LossHead

HEADS = {"multiscale_conv": 0.05, "gap_fc": 0.01, "gap_multilevel": 0.02}  # share that it may take
PRECISIONS = ("fp32", "bf16")


def main() -> None:
    """Measure all heads on the same features, forward only."""
    parser = make_parser(__doc__, rounds=9)
    parser.add_argument("--size", type=int, default=256, help="pixels, a multiple of 64; the claim is about 256")
    parser.add_argument("--batch", type=int, default=8, help="images")
    given = parser.parse_args()
    made = {
        name: make_module(*PUBLISHED.overrides, *METHOD, f"head={name}", size=given.size).eval() for name in HEADS
    }
    pose = made["gap_fc"]
    batch = make_batch(given.batch, given.size)
    image = pose.prepare_images(batch)
    for precision in PRECISIONS:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            features = pose.backbone(image).features
            variants: dict[str, Callable[[], object]] = {"pose": partial(pose.backbone, image)}
            variants |= {name: partial(cast(LossHead, net.head), features) for name, net in made.items()}
            times = time_variants(variants, given.rounds, warm_up=2)
        for name, most in HEADS.items():
            share = times[name].seconds / times["pose"].seconds
            print_result(
                f"head_{name}_{precision}", 100 * share, "% of the pose network's time", at_most=100 * most,
                head_ms_per_image=1e3 * times[name].seconds / given.batch, batch=given.batch, size=given.size,
                pose_ms_per_image=1e3 * times["pose"].seconds / given.batch, threads=torch.get_num_threads(),
                **times[name].notes,
            )  # fmt: skip


if __name__ == "__main__":
    main()
