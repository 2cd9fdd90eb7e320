"""Communication between the processes (ranks) of one job, one per device; a single process sends nothing.

Rank 0 reads and writes the run directory, the others get its results. Ranks exchange arrays and pickled values among
themselves only, so nothing from outside the job is unpickled.
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
HEARTBEAT_SECONDS = 5.0  # between the signs of life that rank 0 sends while it works alone
CHUNK_SIZE = 2**26  # bytes sent at once, which bounds the copies that a transfer needs


def get_world_size() -> int:
    """Return the number of processes in this job."""
    return dist.get_world_size() if _is_connected() else 1


def get_rank() -> int:
    """Return the number of this process, from 0."""
    return dist.get_rank() if _is_connected() else 0


def get_process_name() -> str:
    """Return the name of this process for messages."""
    return f"rank {os.environ.get('RANK', '0')} on {socket.gethostname()}"


def _is_connected() -> bool:
    return dist.is_available() and dist.is_initialized()


def count_launched() -> int:
    """Return the number of processes that torchrun started for this job; 0 if torchrun did not start this one."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return 0
    return int(os.environ.get("WORLD_SIZE", "0"))


def connect(cuda: bool, timeout: float) -> None:
    """Connect the processes that torchrun started; do nothing without torchrun or if they are connected.

    A process that waits for another gives up after `timeout` seconds.
    """
    if count_launched() < 2 or _is_connected():
        return
    if cuda:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    backend = "cpu:gloo,cuda:nccl" if cuda else "gloo"
    dist.init_process_group(backend, timeout=datetime.timedelta(seconds=timeout))


def disconnect() -> None:
    """Disconnect at the end of a job that succeeded; without this gloo sometimes aborts at exit."""
    if _is_connected():
        dist.destroy_process_group()


def shard(items: Sequence[T]) -> Sequence[T]:
    """Return every n-th of `items` for n ranks, from the rank's own number on: together they have each item once."""
    return items[get_rank() :: get_world_size()]


def all_gather_objects(value: T) -> list[T]:
    """Return the values of all ranks, in the order of ranks."""
    if get_world_size() == 1:
        return [value]
    values: list[Any] = [None] * get_world_size()
    dist.all_gather_object(values, value)
    return values


def on_rank_zero(work: Callable[[], T]) -> T:
    """Call `work` on rank 0; all ranks return its result, or raise its LlppError.

    The work may take longer than the connection's timeout: rank 0 sends heartbeats to the waiting ranks.
    """
    if get_world_size() == 1:
        return work()
    outcome: list[Any] = [None, None]
    if get_rank() == 0:
        outcome = _run_with_heartbeat(work)
    else:
        # Each heartbeat ends one wait before it times out.
        while _broadcast_wait(False):
            pass
    dist.broadcast_object_list(outcome, src=0)
    result: T = outcome[0]
    error = outcome[1]
    if error is not None:
        raise error
    return result


def _run_with_heartbeat(work: Callable[[], Any]) -> list[Any]:
    """Return the result of `work` and its LlppError, one of which is None; send heartbeats in the meantime."""
    done = threading.Event()

    def send_heartbeats() -> None:
        while not done.wait(HEARTBEAT_SECONDS):
            _broadcast_wait(True)

    heartbeat = threading.Thread(target=send_heartbeats, daemon=True)
    heartbeat.start()
    try:
        outcome: list[Any] = [work(), None]
    except LlppError as error:
        outcome = [None, error]
    finally:
        # No broadcast may follow before the thread has ended: two at once would mix.
        done.set()
        heartbeat.join()
    _broadcast_wait(False)
    return outcome


def _broadcast_wait(wait: bool) -> bool:
    """Send from rank 0 whether the others must wait on; return what rank 0 sent."""
    flag = torch.tensor([int(wait)])
    dist.broadcast(flag, src=0)
    return bool(flag)


def check_equal_across_ranks(what: str, facts: Mapping[str, Any], remedy: str) -> None:
    """Raise RankError on every rank, naming what differs, unless all have the same `facts` about `what`."""
    facts_by_rank = all_gather_objects(dict(facts))
    first = facts_by_rank[0]
    for rank, other in enumerate(facts_by_rank):
        if other == first:
            continue
        names = sorted({*first, *other})
        different = [name for name in names if first.get(name) != other.get(name)]
        shown = ", ".join(f"{name}: {first.get(name)!r} ≠ {other.get(name)!r}" for name in different[:3])
        if len(different) > 3:
            shown += f" and {len(different) - 3} more"
        raise RankError(f"ranks 0 and {rank} do not have the same {what} ({shown}); {remedy}")


def all_gather_batch(values: torch.Tensor) -> torch.Tensor:
    """Gather (B,) of every rank as (B · ranks,), without gradients; float32 at least.

    The order is that of one process with the whole batch, whose images the ranks take in turn.
    """
    dtype = torch.promote_types(values.dtype, torch.float32)
    local = values.detach().to(dtype).contiguous()
    parts = [torch.empty_like(local) for _ in range(get_world_size())]
    dist.all_gather(parts, local)
    return torch.stack(parts, dim=1).flatten()


def send_to_rank_zero(
    sender: int, part: NDArray[np.float32], length: int, into: Callable[[slice, NDArray[np.float32]], None]
) -> None:
    """Send `sender`'s `part` (length, …) to rank 0, which calls `into(rows, values)` for each piece of it.

    Rank 0 and `sender` must call it together, other ranks may. On rank 0, `part` only gives the trailing shape unless
    rank 0 is the sender.
    """
    rank = get_rank()
    row_shape = part.shape[1:]
    row_bytes = math.prod(row_shape) * part.itemsize
    step = max(1, CHUNK_SIZE // max(1, row_bytes))
    for start in range(0, length, step):
        stop = min(start + step, length)
        piece = slice(start, stop)
        if rank == 0 and sender == 0:
            into(piece, part[piece])
        elif rank == 0:
            received = torch.empty((stop - start, *row_shape), dtype=torch.float32)
            dist.recv(received, src=sender)
            into(piece, received.numpy())
        elif rank == sender:
            values = np.ascontiguousarray(part[piece])
            dist.send(torch.from_numpy(values), dst=0)
