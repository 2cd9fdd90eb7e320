"""Run the named measurements, or all, each in a process of its own; see README.md."""

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence

# glibc keeps large blocks instead of returning them to the system at every step
TUNED = {
    "MALLOC_MMAP_THRESHOLD_": str(4 * 2**30),
    "MALLOC_TRIM_THRESHOLD_": str(32 * 2**30),
    "MALLOC_TOP_PAD_": str(64 * 2**20),
}
BOTH: Sequence[dict[str, str]] = ({}, TUNED)
SCRIPTS: dict[str, Sequence[dict[str, str]]] = {
    "bookkeeping": ({},),
    "pck": ({},),
    "codec": ({},),
    "core_set": ({},),
    "data_pipeline": ({},),
    "scaling": ({},),
    "heads": ({},),
    "agreement": ({},),
    "peak_memory": ({},),
    "scoring": BOTH,
    "training_step": BOTH,
}


def main() -> int:
    """Exit status 1 if any script failed; the others still run."""
    if "--nvidia" in sys.argv[1:]:
        from benchmarks import nvidia

        return nvidia.main([argument for argument in sys.argv[1:] if argument != "--nvidia"])
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=f"of {', '.join(SCRIPTS)}; none: all")
    parser.add_argument(
        "--nvidia", action="store_true", help="what a GPU does instead; --nvidia --help lists its rows"
    )
    names: list[str] = parser.parse_args().names
    if unknown := [name for name in names if name not in SCRIPTS]:
        parser.error(f"unknown {', '.join(unknown)}; expected some of {', '.join(SCRIPTS)}")
    failed = []
    for name in names or SCRIPTS:
        for variables in SCRIPTS[name]:
            environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE", **variables}
            done = subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], env=environment, check=False)
            if done.returncode:
                failed.append(name)
    if failed:
        print(f"failed: {', '.join(dict.fromkeys(failed))}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
