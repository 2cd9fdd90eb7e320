"""Core-set, agreement of precisions, and a whole round on a GPU."""

import csv
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, cast

import hydra
import numpy as np
import torch
from omegaconf import DictConfig
from torch import Tensor

from benchmarks.measure import Timing
from benchmarks.nets import silence_lightning
from benchmarks.nvidia_device import Sizes, print_row
from benchmarks.nvidia_networks import make_training_step
from llpp.acquisition.core_set import k_centre_greedy
from llpp.acquisition.core_set_on_device import k_centre_greedy_on_device, pick_centres
from llpp.config import build
from llpp.config.compose import conf_dir
from llpp.inference.loss_ranking import spearman
from llpp.rounds import loop
from llpp.types import Batch

DIMENSIONS = 256
SMALL_POOL = 20_000  # points of which the picks are compared with those of the CPU


class RowSkipped(Exception):
    """A row that cannot be measured here, and why."""


def measure_core_set(sizes: Sizes) -> None:
    """Seconds to pick from embeddings that are on the device, from those of the host, and agreement with the CPU."""
    points, centres = _draw_features(sizes, sizes.points), _draw_features(sizes, sizes.labelled)
    seconds = []
    for _ in range(4):
        start = time.perf_counter()
        pick_centres(points, centres, sizes.budget)
        seconds.append(time.perf_counter() - start)
    times, hosted = Timing(tuple(seconds[1:])), points.cpu().numpy()
    start = time.perf_counter()
    k_centre_greedy_on_device(sizes.device, hosted, centres.cpu().numpy(), sizes.budget)
    whole = time.perf_counter() - start
    few = hosted[: min(SMALL_POOL, sizes.points)]
    there = k_centre_greedy_on_device(sizes.device, few, centres.cpu().numpy(), sizes.budget)
    here = k_centre_greedy(few, centres.cpu().numpy(), sizes.budget)
    print_row(
        sizes, "core_set", times.seconds, "s", points=sizes.points, labelled=sizes.labelled, budget=sizes.budget,
        dimensions=DIMENSIONS, from_host_s=whole, compared_with_cpu=len(few),
        differing_positions=sum(a != b for a, b in zip(there, here, strict=True)),
        same_set=set(there) == set(here), **times.notes,
    )  # fmt: skip


def _draw_features(sizes: Sizes, count: int) -> Tensor:
    generator = torch.Generator(sizes.device).manual_seed(count)
    return torch.randn(count, DIMENSIONS, device=sizes.device, generator=generator).relu_()


def compose_config(*overrides: str) -> DictConfig:
    """The config of a run with these overrides."""
    silence_lightning()
    with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return hydra.compose("run", overrides=list(overrides))


def measure_agreement(sizes: Sizes) -> None:
    """How bf16 orders predicted losses beside fp32, after some training on drawn figures."""
    shape = [f"backbone.{name}={getattr(sizes, name)}" for name in ("stacks", "channels", "depth")]
    count = sizes.figures
    cfg = compose_config(
        "name=agreement", "backbone=hourglass", *shape, f"crop.size={sizes.size}", "crop.resample=device",
        f"dataset.size={max(48, sizes.size)}", f"dataset.initial={count}", "dataset.pool=8", "dataset.val=4",
        f"dataset.test={count}", f"initial={count}", "budget=2", "rounds=2", "logger=none", "callbacks=none",
        f"data.batch_size={min(32, count)}", f"data.workers={0 if sizes.rehearsal else 12}",
    )  # fmt: skip
    made = build.experiment(cfg)
    data = made.make_data(made.dataset.records.select_rows("train")[:count].tolist(), [], 0)
    net = made.make_module(0, "joint").to(sizes.device).train()
    current: dict[str, Tensor] = {}
    step = make_training_step(net, cast(Batch, current), sizes)
    for epoch in range(1 if sizes.rehearsal else 8):
        data.sampler.set_epoch(epoch)
        for batch in data.train_dataloader():
            current.update({name: value.to(sizes.device) for name, value in batch.items()})
            step()
    net.watch.check()
    test = list(data.make_rows_loader(made.dataset.records.select_rows("test")))
    found: dict[bool, Any] = {}
    for low in (False, True):
        found[low] = np.concatenate([_predict_losses(net.eval(), batch, sizes, low) for batch in test])
    order = spearman(found[True], found[False])
    if not np.isfinite(order):
        raise RowSkipped("all images have got one predicted loss, which has no order")
    best = max(1, count // 10)
    top = [set(np.argsort(-values, kind="stable")[:best].tolist()) for values in found.values()]
    print_row(
        sizes, "agreement_bf16", order, "Spearman over fp32 without TF32", images=count,
        top=best, top_overlap=len(top[0] & top[1]) / best, spread=float(found[False].std()),
        largest_difference=float(np.abs(found[True] - found[False]).max()),
    )  # fmt: skip


@torch.inference_mode()
def _predict_losses(net: Any, batch: Any, sizes: Sizes, low: bool) -> Any:
    there = {name: value.to(sizes.device) for name, value in batch.items()}
    exact = torch.backends.cudnn.flags(enabled=True, benchmark=False, allow_tf32=False)
    with exact, torch.autocast(sizes.device.type, dtype=torch.bfloat16, enabled=low):
        return net.predict_step(there, 0)["predicted_loss"].cpu().numpy()


def measure_round(sizes: Sizes, *settings: str) -> None:
    """A round of `llpp run dataset=lspet_shift`: train, test, score the pool, select; drawn figures in a rehearsal.

    `settings` are of the dataset.
    """
    with tempfile.TemporaryDirectory() as folder:
        command = [
            *_list_overrides(sizes),
            *settings,
            f"run_dir={folder}/run",
            f"runs={folder}",
            f"cache_dir={folder}/cache",
        ]
        start = time.perf_counter()
        if sizes.rehearsal:
            loop.run(build.experiment(compose_config("name=rehearsal", *command)))
        else:
            line = [sys.executable, "-m", "llpp", "run", *command]
            subprocess.run(line, check=True, stdout=sys.stderr, env=os.environ | {"HYDRA_FULL_ERROR": "1"})
        seconds = time.perf_counter() - start
        with Path(folder, "run/rounds.csv").open() as file:
            rows = list(csv.DictReader(file))
    first = rows[0]
    laps = {name: float(value) for name, value in first.items() if name.startswith("seconds_")}
    print_row(
        sizes, "_".join(["round", *(s.removeprefix("dataset.").replace("=", "_") for s in settings)]),
        sum(laps.values()), "s", **laps, both_rounds_with_start_s=seconds, settings=command[:-3],
        labelled=int(first["labelled"]), pool=int(first["pool"]), test_pck=first["test_pck"],
        loss_spearman=first["loss_spearman"],
    )  # fmt: skip


def _list_overrides(sizes: Sizes) -> list[str]:
    shown = ["logger=none", "callbacks=none", "report.write=false", "base_models=null"]
    if sizes.rehearsal:
        drawn = ["dataset.size=48", "dataset.initial=8", "dataset.pool=8", "dataset.val=2", "dataset.test=4"]
        small = ["crop.size=32", "backbone.channels=8", "backbone.depth=1", "initial=8", "budget=4", "rounds=2"]
        return [
            *drawn,
            *small,
            "data.batch_size=4",
            "trainer.max_epochs=1",
            "trainer.check_val_every_n_epoch=1",
            *shown,
        ]
    return [
        "dataset=lspet_shift", f"data_root={_find_data_root()}", "trainer=gpu", "backbone=hourglass", "crop.size=256",
        "rounds=2", "initial=1000", "budget=500", "trainer.max_epochs=10", "data.batch_size=64",
        "data.eval_batch_size=128", f"data.workers={min(14, os.cpu_count() or 1)}", *shown,
    ]  # fmt: skip


def _find_data_root() -> Path:
    """The folder with LSPET's."""
    here = Path(__file__).resolve().parents[1]
    for root in (Path(os.environ.get("LLPP_DATA", "data")), here / "shared/data", here.parent / "shared/data"):
        if (root / "lspet/joints.mat").is_file():
            return root.resolve()
    raise RowSkipped("there is no LSPET here; set LLPP_DATA to the folder that holds lspet/joints.mat")
