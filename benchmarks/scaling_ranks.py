"""What one, two or four processes of one thread each cost each other, with gloo between them.

Bytes are those that the kernel has received on these processes' own connections (TCP_INFO), so nobody else's count.
Run as a module this is one of the processes; `several` starts them.
"""

import json
import os
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import hydra
import numpy as np
import pytorch_lightning as pl
import torch
import torch.distributed as dist
from torch import nn

from benchmarks.nets import silence_lightning
from llpp.config import build
from llpp.config.compose import conf_dir
from llpp.distributed import collectives, sync_batchnorm
from llpp.inference.evaluation import evaluate

PER_RANK, LABELLED, POOL, EPOCHS = 16, 256, 512, 3  # images per batch, of both parts; epoch 0 warms up
HAND_OVER_SIZES = (2**20, 2**22, 2**24, 2**26, 2**27)  # float32 values of each rank
ALL_REDUCE_SIZES = (64, 10_000, 1_000_000, 7_655_649)  # float32 values; the last: parameters of the published network
IDS = (1_000, 10_000, 100_000)
Lines = list[dict[str, Any]]


def run_processes(count: int) -> Lines:
    """What `count` processes measured together."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {
        "WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count), "GROUP_RANK": "0", "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port), "TORCHELASTIC_RUN_ID": "scaling", "OMP_NUM_THREADS": "1",
        "GLOO_SOCKET_IFNAME": "lo",
    }  # fmt: skip
    command = [sys.executable, "-m", "benchmarks.scaling_ranks"]
    with tempfile.TemporaryDirectory() as folder:
        processes = [
            subprocess.Popen(
                [*command, folder], env={**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
                stdout=subprocess.PIPE, text=True,
            )
            for rank in range(count)
        ]  # fmt: skip
        told = [process.communicate()[0] for process in processes]
    if any(process.returncode for process in processes):
        raise RuntimeError(f"one of {count} processes failed")
    return [json.loads(line) for line in told[0].splitlines() if line.startswith("{")]


class Meter:
    """Seconds and received bytes since it was made, at a moment when all ranks are there."""

    def __init__(self) -> None:
        self.bytes = _count_received_bytes()
        self.since = time.perf_counter()

    def read(self) -> tuple[float, int]:
        """Both, as soon as all ranks are there again."""
        collectives.all_gather_objects(None)
        return time.perf_counter() - self.since, _count_received_bytes() - self.bytes


class EpochMeter(pl.Callback):
    """Seconds and bytes of each training epoch, without its checkpoint."""

    def __init__(self) -> None:
        self.found: list[tuple[float, int]] = []

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin."""
        self.meter = Meter()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """End with the last batch."""
        if batch_idx + 1 == trainer.num_training_batches:
            self.found.append(self.meter.read())


def _count_received_bytes() -> int:
    """Bytes that all ranks have received from others so far."""
    total = 0
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208  # Path would open one more meanwhile
        try:
            if not os.readlink(f"/proc/self/fd/{name}").startswith("socket:"):  # noqa: PTH115
                continue
            with socket.socket(fileno=os.dup(int(name))) as own:
                if own.family in (socket.AF_INET, socket.AF_INET6) and own.type == socket.SOCK_STREAM:
                    info = own.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
                    total += int(struct.unpack_from("Q", info, 128)[0])
        except OSError:  # it listens, or has been closed since
            continue
    return sum(collectives.all_gather_objects(total))


def print_line(name: str, value: float, unit: str, **sizes: float) -> None:
    """One line for the process that started this one."""
    if collectives.get_rank() == 0:
        print(json.dumps({"name": name, "value": value, "unit": unit, "sizes": sizes}), flush=True)


def measure_network(folder: Path) -> None:
    """Train and score with the small network, by the same objects as `llpp run`."""
    count = collectives.get_world_size()
    names = ("trainer=ddp_cpu", f"trainer.devices={count}", f"trainer.max_epochs={EPOCHS}", "callbacks=none",
             "logger=none", f"run_dir={folder}", "base_models=null", f"data.batch_size={PER_RANK * count}",
             f"dataset.initial={LABELLED}", f"dataset.pool={POOL}", "dataset.val=64", "dataset.test=64", "threads=1",
             "trainer.check_val_every_n_epoch=1000", "name=scaling")  # fmt: skip
    with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
        experiment = build.experiment(hydra.compose("run", overrides=list(names)))
    rows = experiment.dataset.records.select_rows("train")
    data = experiment.make_data(rows[:LABELLED].tolist(), rows[:1].tolist(), 0)
    module, trainer, epochs = (
        experiment.make_module(0, "joint"),
        experiment.make_trainer(folder, "", False),
        EpochMeter(),
    )
    norms = [m.num_features for m in module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    if count > 1:
        sync_batchnorm.synchronise(module, cuda=False)
    trainer.callbacks.append(epochs)  # type: ignore[attr-defined]  # the stub lacks it
    trainer.fit(module, data)
    steps, parameters = LABELLED // (PER_RANK * count), sum(p.numel() for p in module.parameters())
    print_line("train_image", median(s for s, _ in epochs.found[1:]) / LABELLED, "s/image", R=count, batch=PER_RANK)
    # each of R ranks sends 2 (R - 1) / R of what is summed, and a whole part to each other of what is gathered
    summed = 4 * (parameters + 4 * sum(norms))
    counted = 2 * (count - 1) * summed + 2 * 4 * count * (count - 1) * PER_RANK
    print_line("train_bytes", median(b for _, b in epochs.found[1:]) / steps, "bytes/step", R=count, counted=counted)
    found = []
    for _ in range(3):
        meter = Meter()
        evaluate(trainer, module, data, rows, frozenset({"embedding"}))
        found.append(meter.read())
    width = 3 + module.backbone.penultimate_channels
    weights = 4 * parameters + sum(
        b.numel() * b.element_size() for b in module.buffers()
    )  # Lightning sends them again
    print_line("score_image", min(s for s, _ in found[1:]) / len(rows), "s/image", R=count)
    print_line("score_bytes", min(b for _, b in found[1:]), "bytes", R=count, N=len(rows),
        counted=4 * width * len(rows) * (count - 1) / count + (count - 1) * weights)  # fmt: skip


def measure_hand_over() -> None:
    """One value per row: the rows of rank 1 travel to rank 0, which puts all of them in their places."""
    for length in HAND_OVER_SIZES:
        table, own = np.empty(2 * length, dtype=np.float32), np.ones(length, dtype=np.float32)
        places = np.arange(2 * length).reshape(-1, 2, 64).swapaxes(0, 1).reshape(2, length)

        def hand_over(own: Any = own, length: int = length, table: Any = table, places: Any = places) -> None:
            for sender in range(2):

                def store_piece(piece: slice, values: Any, sender: int = sender) -> None:
                    table[places[sender][piece]] = values

                collectives.send_to_rank_zero(sender, own, length, store_piece)

        took, sent = measure_best(hand_over)
        print_line("hand_over", took, "s", bytes=4 * length)
        print_line("hand_over_bytes", sent, "bytes", counted=4 * length)


def measure_all_reduce() -> None:
    """All-reduces, as gradients and BatchNorm's statistics travel; ten at a time."""
    for length in ALL_REDUCE_SIZES:
        values = torch.zeros(length)
        took, sent = measure_best(lambda values=values: [dist.all_reduce(values) for _ in range(10)])  # type: ignore[misc]
        counted = 2 * (collectives.get_world_size() - 1) * 4 * length
        print_line("sum", took / 10, "s", bytes=4 * length, R=collectives.get_world_size())
        print_line("sum_bytes", sent / 10, "bytes", R=collectives.get_world_size(), counted=counted)


def measure_broadcast() -> None:
    """Ids from the first rank to the other, as selections and states travel."""
    for length in IDS:
        ids = [f"pool/im{row:08d}" for row in range(length)]
        took, sent = measure_best(lambda ids=ids: collectives.on_rank_zero(lambda: ids))  # type: ignore[misc]
        print_line("tell_ids", took, "s", ids=length, R=collectives.get_world_size())
        print_line(
            "tell_bytes",
            sent,
            "bytes",
            ids=length,
            R=collectives.get_world_size(),
            copies=collectives.get_world_size() - 1,
        )


def measure_best(work: Callable[[], object], repeats: int = 3) -> tuple[float, int]:
    """The fewest seconds and bytes of some runs: both grow with what else goes on."""
    found = []
    for _ in range(repeats):
        meter = Meter()
        work()
        found.append(meter.read())
    return min(s for s, _ in found), min(b for _, b in found)


def main() -> None:
    """Be one of the processes."""
    silence_lightning()
    torch.set_num_threads(1)
    collectives.connect(cuda=False, timeout=300)
    if collectives.get_world_size() <= 2:
        measure_network(Path(sys.argv[1]))
    if collectives.get_world_size() == 2:
        measure_hand_over()
    if collectives.get_world_size() > 1:
        measure_all_reduce()
        measure_broadcast()
    collectives.disconnect()


if __name__ == "__main__":
    main()
