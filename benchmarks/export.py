"""Exported networks against the same network in torch: the time of one crop, and the images/s of a batch."""

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

import llpp
from benchmarks.measure import make_parser, print_result, time_variants
from benchmarks.nets import PUBLISHED, SMALL, Net, NoiseDataset, count_parameters, make_pose_task
from llpp.heads.base import LossHead
from llpp.prediction.export import CHECKED_CROPS, export_network, load_program
from llpp.prediction.onnx_model import OnnxPredictor
from llpp.prediction.pose_network import PoseNetwork
from llpp.prediction.predictor import CropPredictions, ModelFacts

Predict = Callable[[NDArray[np.uint8]], CropPredictions]


def make_network(net: Net) -> PoseNetwork:
    """Build it as `llpp.load` does, with random weights."""
    module = net.make_module()
    head = cast(LossHead, module.head)
    return PoseNetwork(module.backbone, head, make_pose_task(NoiseDataset(1, net.size)))


def export_to(folder: Path, network: PoseNetwork, size: int) -> dict[str, Predict]:
    """Export to all formats, and return what predicts from each file."""
    skeleton = NoiseDataset.skeleton
    facts = ModelFacts(
        joints=skeleton.joints,
        edges=skeleton.edges,
        flip_pairs=skeleton.flip_pairs,
        crop_size=size,
        padding=1.25,
        metric="",
        upright=True,
        white=None,
        background=None,
        calibration=None,
        no_calibration="the weights are random",
        name="benchmark",
        round=0,
        run_digest="",
        version=llpp.__version__,
    )
    crops = make_crops(CHECKED_CROPS, size)
    for name, file in (("onnx", "model.onnx"), ("torch", "model.pt2")):
        export_network(network, facts, name, folder / file, crops)
    return {"onnx": OnnxPredictor(folder / "model.onnx").predict, "torch": load_program(folder / "model.pt2")}


def make_crops(count: int, size: int) -> NDArray[np.uint8]:
    """Draw crops of noise."""
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def main() -> None:
    """Print the latency of one crop and the rate of a batch, for each format and network."""
    options = make_parser(__doc__, rounds=15).parse_args()
    for net in (*SMALL, PUBLISHED):
        network = make_network(net)
        with tempfile.TemporaryDirectory() as folder:
            files = export_to(Path(folder), network, net.size)
        details: dict[str, Any] = {
            "batch": net.batch,
            "size": net.size,
            "parameters": count_parameters(network),
            "threads": torch.get_num_threads(),
        }
        predictors = {"eager": network.predict, **files}
        for measured, batch in (("latency", 1), ("rate", net.batch)):
            crops = make_crops(batch, net.size)
            variants = {name: partial(predict, crops) for name, predict in predictors.items()}
            times = time_variants(variants, options.rounds, warm_up=3)
            eager = times["eager"].seconds
            details |= {
                "eager_s": eager,
                "eager_best_s": times["eager"].best,
                "eager_quiet": times["eager"].notes["quiet"],
            }
            for name in files:
                seconds = times[name].seconds
                value, unit = (1000 * seconds, "ms") if measured == "latency" else (batch / seconds, "images/s")
                print_result(
                    f"export_{name}_{measured}{net.name}",
                    value,
                    unit,
                    "the same network in torch, eager",
                    eager / seconds,
                    **details,
                    **times[name].notes,
                )


if __name__ == "__main__":
    main()
