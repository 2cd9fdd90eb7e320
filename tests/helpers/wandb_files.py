"""Reads what W&B wrote offline.

The format is LevelDB's log: after a header of 7 bytes, blocks of 32 KiB with records of (checksum, length, kind),
each or several together a protocol buffer. W&B 0.31 has no reader of its own in Python.
"""

import json
import struct
from types import SimpleNamespace

BLOCK, HEADER = 32768, 7
FULL, LAST = 1, 4


def records(path):
    """Every record of a .wandb file."""
    from wandb.proto.wandb_internal_pb2 import Record

    content = path.read_bytes()
    assert content[:4] == b":W&B"
    place, found = HEADER, b""
    while place + HEADER <= len(content):
        if BLOCK - place % BLOCK < HEADER:  # no header fits any more: padding
            place += BLOCK - place % BLOCK
            continue
        _, length, kind = struct.unpack_from("<IHB", content, place)
        place += HEADER + length
        found += content[place - length : place]
        if kind in (FULL, LAST):
            yield Record.FromString(found)
            found = b""


def offline_runs(run_dir):
    """What each start of a run left, in order of time: id, group, job type, name, config, rows, axes, exit code."""
    import wandb

    wandb.teardown()  # its service may still be writing
    return [_read(path) for path in sorted(run_dir.glob("wandb/offline-run-*/run-*.wandb"))]


def _read(path):
    run = SimpleNamespace(path=path, files=path.parent / "files", rows=[], axes={}, exit_code=None)
    for record in records(path):
        kind = record.WhichOneof("record_type")
        if kind == "run":
            found = record.run
            run.id, run.group, run.job_type, run.name = (
                found.run_id,
                found.run_group,
                found.job_type,
                found.display_name,
            )
            run.config = {item.key: json.loads(item.value_json) for item in found.config.update}
        elif kind == "history":
            row = {}
            for item in record.history.item:
                *parents, name = item.nested_key or [item.key]
                place = row
                for parent in parents:
                    place = place.setdefault(parent, {})
                place[name] = json.loads(item.value_json)
            run.rows.append(row)
        elif kind == "metric":
            run.axes[record.metric.glob_name or record.metric.name] = record.metric.step_metric
        elif kind == "exit":
            run.exit_code = record.exit.exit_code
    return run
