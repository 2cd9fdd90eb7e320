"""Time of the convolutional loss heads, as a share of the pose network's whose features and heatmaps they read."""

from dataclasses import replace
from functools import partial
from typing import cast

import torch

from benchmarks.measure import parse_net_options, print_result, time_variants
from benchmarks.nets import JOINTS, PUBLISHED, make_autocast
from llpp.heads.base import FeatureSpec, LossHead
from llpp.heads.heatmap_conv import HeatmapConvHead

MAX_PERCENT = 5  # the claim


def main() -> None:
    """Measure the forward passes of the heads only, in both precisions."""
    options = parse_net_options(__doc__, rounds=9)
    net = replace(PUBLISHED, size=options.size, batch=options.batch)
    module = net.make_module().eval()
    spec = FeatureSpec({}, module.backbone.penultimate_channels, net.size, JOINTS)
    heads = {
        "multiscale_conv": cast(LossHead, module.head),
        "heatmap_conv": HeatmapConvHead(spec).eval(),
    }
    image = module.prepare_images(net.make_batch())
    for precision in ("fp32", "bf16"):
        with torch.inference_mode(), make_autocast("cpu", precision == "bf16"):
            features = module.backbone(image).features
            variants = {"pose": partial(module.backbone, image)}
            for name, head in heads.items():
                variants[name] = partial(head, features)
            times = time_variants(variants, options.rounds, warm_up=2)
        for name in heads:
            share = times[name].seconds / times["pose"].seconds
            print_result(
                f"head_{name}_{precision}", 100 * share, "% of the pose network's time", at_most=MAX_PERCENT,
                batch=net.batch, size=net.size, threads=torch.get_num_threads(), **times[name].notes,
            )  # fmt: skip


if __name__ == "__main__":
    main()
