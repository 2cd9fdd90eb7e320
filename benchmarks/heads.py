"""Time of the convolutional loss head, as a share of the pose network's whose features it reads."""

from dataclasses import replace
from functools import partial
from typing import cast

import torch

from benchmarks.measure import parse_net_options, print_result, time_variants
from benchmarks.nets import PUBLISHED, make_autocast
from llpp.heads.base import LossHead

MAX_PERCENT = 5  # the claim


def main() -> None:
    """Measure the head forward only, in both precisions."""
    options = parse_net_options(__doc__, rounds=9)
    net = replace(PUBLISHED, size=options.size, batch=options.batch)
    module = net.make_module().eval()
    head = cast(LossHead, module.head)
    image = module.prepare_images(net.make_batch())
    for precision in ("fp32", "bf16"):
        with torch.inference_mode(), make_autocast("cpu", precision == "bf16"):
            features = module.backbone(image).features
            variants = {"pose": partial(module.backbone, image), "head": partial(head, features)}
            times = time_variants(variants, options.rounds, warm_up=2)
        share = times["head"].seconds / times["pose"].seconds
        print_result(
            f"head_multiscale_conv_{precision}", 100 * share, "% of the pose network's time", at_most=MAX_PERCENT,
            batch=net.batch, size=net.size, threads=torch.get_num_threads(), **times["head"].notes,
        )  # fmt: skip


if __name__ == "__main__":
    main()
