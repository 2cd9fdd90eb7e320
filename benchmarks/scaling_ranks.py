"""What two or four processes of one thread each send each other, with gloo between them.

Bytes are those that the kernel has received on these processes' own connections (TCP_INFO), of no other process.
"""

import os
import socket
import struct
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from benchmarks.measure import for_each, make_process_pool
from benchmarks.scaling_model import PARAMETERS
from benchmarks.scaling_parts import Sample
from llpp.distributed import collectives

HAND_OVER_SIZES = (2**20, 2**22, 2**24, 2**26, 2**27)  # float32 values of each rank
ALL_REDUCE_SIZES = (64, 10_000, 1_000_000, PARAMETERS)  # float32 values
CALLS = 10  # all-reduces in a row
IDS = (1_000, 10_000, 100_000)


def measure_ranks() -> Iterator[Sample]:
    """Measure two and four processes."""
    for count in (2, 4):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        with make_process_pool(count) as pool:
            ranks = [pool.submit(run_rank, rank, count, port) for rank in range(count)]
            yield from ranks[0].result()


def run_rank(rank: int, count: int, port: int) -> list[Sample]:
    """Be one of the processes; return what all of them measured together."""
    os.environ.update(
        RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(count), LOCAL_WORLD_SIZE=str(count), GROUP_RANK="0",
        MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), TORCHELASTIC_RUN_ID="scaling", GLOO_SOCKET_IFNAME="lo",
    )  # fmt: skip
    torch.set_num_threads(1)
    collectives.connect(cuda=False, timeout=300)
    samples: list[Sample] = []
    if count == 2:
        samples += measure_hand_over()
    samples += measure_all_reduce()
    samples += measure_broadcast()
    collectives.disconnect()
    return samples


def _count_received_bytes() -> int:
    """Return the bytes that all ranks have received from others so far."""
    total = 0
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208  # Path would open one more meanwhile
        try:
            if not os.readlink(f"/proc/self/fd/{name}").startswith("socket:"):  # noqa: PTH115
                continue
            with socket.socket(fileno=os.dup(int(name))) as connection:
                internet = connection.family in (socket.AF_INET, socket.AF_INET6)
                if internet and connection.type == socket.SOCK_STREAM:
                    info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
                    total += int(struct.unpack_from("Q", info, 128)[0])  # tcpi_bytes_received
        except OSError:  # it listens, or has been closed since
            continue
    return sum(collectives.all_gather_objects(total))


def measure_best(work: Callable[[], object], repeats: int = 3) -> tuple[float, int]:
    """Return the fewest seconds and bytes of some runs, each from and to a moment that all ranks share."""
    seconds = []
    received = []
    for _ in range(repeats):
        bytes_before = _count_received_bytes()
        start = time.perf_counter()
        work()
        collectives.all_gather_objects(None)
        seconds.append(time.perf_counter() - start)
        received.append(_count_received_bytes() - bytes_before)
    return min(seconds), min(received)


def measure_hand_over() -> Iterator[Sample]:
    """Measure a column of scores: the rows of rank 1 travel to rank 0, which puts all of them in their places."""
    for length in HAND_OVER_SIZES:
        column = np.empty(2 * length, dtype=np.float32)
        share = np.ones(length, dtype=np.float32)
        places = np.arange(2 * length).reshape(-1, 2, 64).swapaxes(0, 1).reshape(2, length)

        def store_piece(sender: int, piece: slice, values: Any, column: Any = column, places: Any = places) -> None:
            column[places[sender][piece]] = values

        def hand_over(share: Any = share, store: Any = store_piece) -> None:
            for sender in range(2):
                collectives.send_to_rank_zero(sender, share, len(share), partial(store, sender))

        seconds, received = measure_best(hand_over)
        yield "hand_over", seconds, "s", {"bytes": 4 * length}
        yield "hand_over_bytes", received, "bytes", {"counted": 4 * length}


def measure_all_reduce() -> Iterator[Sample]:
    """Measure all-reduces, as gradients and BatchNorm's statistics travel."""
    ranks = collectives.get_world_size()
    for length in ALL_REDUCE_SIZES:
        _, received = measure_best(for_each(dist.all_reduce, [torch.zeros(length)] * CALLS))
        yield "sum_bytes", received / CALLS, "bytes", {"R": ranks, "counted": 2 * (ranks - 1) * 4 * length}


def measure_broadcast() -> Iterator[Sample]:
    """Measure ids from the first rank to the others, as selections and states travel."""
    ranks = collectives.get_world_size()
    for length in IDS:
        ids = [f"pool/im{row:08d}" for row in range(length)]
        _, received = measure_best(lambda ids=ids: collectives.on_rank_zero(lambda: ids))  # type: ignore[misc]
        yield "tell_bytes", received, "bytes", {"ids": length, "R": ranks, "copies": ranks - 1}
