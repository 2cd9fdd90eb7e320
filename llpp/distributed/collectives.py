"""The processes of one job, one per device: what they agree on, hand over and share out. Alone, nothing is sent.

The first (rank 0) reads and writes the run directory, the others get its results. What travels between the processes
of a job are arrays and pickled values; nothing from outside comes this way.
"""

import datetime
import math
import os
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray

from llpp.errors import LlppError, RankError

T = TypeVar("T")
HEARTBEAT_SECONDS = 5.0  # seconds between signs of life
CHUNK_SIZE = 2**26  # bytes sent at once: bounds the copies that a transfer needs


def get_world_size() -> int:
    """Number of processes in this job."""
    return dist.get_world_size() if _is_connected() else 1


def get_rank() -> int:
    """Place of this process among them, from 0."""
    return dist.get_rank() if _is_connected() else 0


def get_process_name() -> str:
    """How messages call this process."""
    return f"rank {os.environ.get('RANK', '0')} on {socket.gethostname()}"


def _is_connected() -> bool:
    return dist.is_available() and dist.is_initialized()


def count_launched() -> int:
    """Number of processes that torchrun started for this job; 0 if it was not torchrun that started this one."""
    return int(os.environ.get("WORLD_SIZE", "0")) if "TORCHELASTIC_RUN_ID" in os.environ else 0


def connect(cuda: bool, timeout: float) -> None:
    """Connect the processes that torchrun started; does nothing without it, or a second time.

    `timeout`: seconds after which a process that waits for another gives up.
    """
    if count_launched() < 2 or _is_connected():
        return
    if cuda:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    backend = "cpu:gloo,cuda:nccl" if cuda else "gloo"
    dist.init_process_group(backend, timeout=datetime.timedelta(seconds=timeout))


def disconnect() -> None:
    """The last thing that a process does whose job has succeeded; without it gloo sometimes aborts at exit."""
    if _is_connected():
        dist.destroy_process_group()


def shard(items: Sequence[T]) -> Sequence[T]:
    """Every n-th of `items`, beginning with the rank's: all ranks together have each once."""
    return items[get_rank() :: get_world_size()]


def all_gather_objects(value: T) -> list[T]:
    """The values of all ranks, in their order."""
    if get_world_size() == 1:
        return [value]
    values: list[Any] = [None] * get_world_size()
    dist.all_gather_object(values, value)
    return values


def on_rank_zero(work: Callable[[], T]) -> T:
    """Let rank 0 `work`; all ranks get its result, or raise its LlppError.

    The others may wait for longer than the connection's timeout: they hear from rank 0 while it works.
    """
    if get_world_size() == 1:
        return work()
    outcome: list[Any] = [None, None]
    if get_rank() == 0:
        outcome = _run_with_heartbeat(work)
    else:
        while _broadcast_wait(False):
            pass
    dist.broadcast_object_list(outcome, src=0)
    if outcome[1] is not None:
        raise outcome[1]
    result: T = outcome[0]
    return result


def _run_with_heartbeat(work: Callable[[], Any]) -> list[Any]:
    """Result and LlppError of `work`, with a word to the other ranks now and then."""
    done = threading.Event()

    def send_heartbeats() -> None:
        while not done.wait(HEARTBEAT_SECONDS):
            _broadcast_wait(True)

    teller = threading.Thread(target=send_heartbeats, daemon=True)
    teller.start()
    try:
        outcome: list[Any] = [work(), None]
    except LlppError as error:
        outcome = [None, error]
    finally:
        done.set()
        teller.join()
    _broadcast_wait(False)
    return outcome


def _broadcast_wait(wait: bool) -> bool:
    flag = torch.tensor([int(wait)])
    dist.broadcast(flag, src=0)
    return bool(flag)


def check_equal_across_ranks(what: str, facts: Mapping[str, Any], remedy: str) -> None:
    """Raise RankError on every rank, naming the facts, unless all have the same `facts` about `what`."""
    found = all_gather_objects(dict(facts))
    for other, theirs in enumerate(found):
        if theirs == found[0]:
            continue
        names = [k for k in sorted({*found[0], *theirs}) if found[0].get(k) != theirs.get(k)]
        shown = ", ".join(f"{k}: {found[0].get(k)!r} ≠ {theirs.get(k)!r}" for k in names[:3])
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        raise RankError(f"ranks 0 and {other} do not have the same {what} ({shown}{more}); {remedy}")


def all_gather_batch(values: torch.Tensor) -> torch.Tensor:
    """(B,) of every rank as (B · ranks,) in the order of one process's batch, without gradients; float32 at least."""
    own = values.detach().to(torch.promote_types(values.dtype, torch.float32)).contiguous()
    parts = [torch.empty_like(own) for _ in range(get_world_size())]
    dist.all_gather(parts, own)
    return torch.stack(parts, dim=1).flatten()


def send_to_rank_zero(
    sender: int, part: NDArray[np.float32], length: int, into: Callable[[slice, NDArray[np.float32]], None]
) -> None:
    """Hand `sender`'s `part` (length, …) to rank 0, which calls `into(rows, values)` for each piece of it.

    The two call it together, and others may; rank 0 passes a `part` of the same trailing shape.
    """
    step = max(1, CHUNK_SIZE // max(1, math.prod(part.shape[1:]) * part.itemsize))
    for low in range(0, length, step):
        piece = slice(low, min(low + step, length))
        if sender == get_rank() == 0:
            into(piece, part[piece])
        elif get_rank() == 0:
            received = torch.empty((piece.stop - piece.start, *part.shape[1:]), dtype=torch.float32)
            dist.recv(received, src=sender)
            into(piece, received.numpy())
        elif get_rank() == sender:
            dist.send(torch.from_numpy(np.ascontiguousarray(part[piece])), dst=0)
