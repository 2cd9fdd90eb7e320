"""Several ranks at once, each a real process with gloo between them; what runs in them is imported by name."""

import os
import socket
import traceback

import torch
from helpers import forked


def on_ranks(count, work, *arguments, fails=False):
    """What `work(*arguments)` returns on each rank; its exceptions, if it `fails` on all."""
    context = forked.context()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    pipes, processes = [], []
    for rank in range(count):
        ours, theirs = context.Pipe()
        process = context.Process(target=_run, args=(theirs, rank, count, port, work, arguments))
        process.start()
        theirs.close()
        pipes.append(ours)
        processes.append(process)
    results = [pipe.recv() if pipe.poll(120) else (None, "silence") for pipe in pipes]
    for process in processes:
        process.join(10)
        process.kill()
    errors = [error for _, error in results]
    if fails:
        return errors
    assert errors == [None] * count, "\n".join(map(str, errors))
    return [result for result, _ in results]


def _run(pipe, rank, count, port, work, arguments):
    os.environ |= {
        "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count),
        "GROUP_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "TORCHELASTIC_RUN_ID": "test",
    }  # fmt: skip
    from llpp.distributed import collectives
    from llpp.errors import LlppError

    torch.set_num_threads(1)
    try:
        collectives.connect(cuda=False, timeout=60)
        result = work(*arguments)
        pipe.send((result, None))
        collectives.disconnect()
    except LlppError as error:
        pipe.send((None, str(error)))
    except Exception:
        pipe.send((None, traceback.format_exc()))
