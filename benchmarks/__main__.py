"""Run the named measurements, or the usual ones, each in a process of its own; see README.md."""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

# glibc keeps large blocks instead of returning them to the system at every step
TUNED = {
    "MALLOC_MMAP_THRESHOLD_": str(4 * 2**30),
    "MALLOC_TRIM_THRESHOLD_": str(32 * 2**30),
    "MALLOC_TOP_PAD_": str(64 * 2**20),
}
ENVIRONMENTS: Sequence[Mapping[str, str]] = ({}, TUNED)


@dataclass(frozen=True)
class Script:
    """A module of this package, and how it is run."""

    variables: Sequence[Mapping[str, str]] = ({},)  # one run for each of these additions to the environment
    usual: bool = (
        True  # with the first of them part of `make bench`, a quarter of an hour; others when they are named
    )


SCRIPTS = {
    "start": Script(),
    "pck": Script(),
    "codec": Script(),
    "core_set": Script(),
    "data_pipeline": Script(),
    "heads": Script(),
    "agreement": Script(usual=False),
    "peak_memory": Script(usual=False),
    "bookkeeping": Script(usual=False),
    "scoring": Script(ENVIRONMENTS),
    "training_step": Script(ENVIRONMENTS),
    "demo": Script(usual=False),
    "growth": Script(usual=False),
    "scaling": Script(usual=False),
}


def run_script(name: str, usual: bool = False) -> bool:
    """Whether a script succeeded, with every environment or the usual one; its seconds go to standard error."""
    start, succeeded = time.perf_counter(), True
    for variables in SCRIPTS[name].variables[: 1 if usual else None]:
        environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE", **variables}
        done = subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], env=environment, check=False)
        succeeded = succeeded and done.returncode == 0
    print(f"{name}: {time.perf_counter() - start:.0f} s", file=sys.stderr)
    return succeeded


def main() -> int:
    """Exit status 1 if any script failed; the others still run."""
    if "--nvidia" in sys.argv[1:]:
        from benchmarks import nvidia

        return nvidia.main([argument for argument in sys.argv[1:] if argument != "--nvidia"])
    usual, named = ([n for n, s in SCRIPTS.items() if s.usual == kind] for kind in (True, False))
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="name", help=f"of {', '.join(usual)} (none: all of these), {', '.join(named)}"
    )
    parser.add_argument(
        "--nvidia", action="store_true", help="what a GPU does instead; --nvidia --help lists its rows"
    )
    names: list[str] = parser.parse_args().names
    if unknown := [name for name in names if name not in SCRIPTS]:
        parser.error(f"unknown {', '.join(unknown)}; expected some of {', '.join(SCRIPTS)}")
    failed = [name for name in names or usual if not run_script(name, usual=not names)]
    if failed:
        print(f"failed: {', '.join(dict.fromkeys(failed))}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
