"""Run the usual measurements, or the named ones, each in a fresh process; see README.md."""

import argparse
import os
import subprocess
import sys
import time

# Together they take less than a quarter of an hour on 2 cores: `make bench`.
USUAL = (
    "start", "pck", "codec", "augmentation", "core_set", "data_pipeline", "heads", "scoring", "training_step",
    "run_step",
)  # fmt: skip
OTHERS = (
    "agreement", "peak_memory", "bookkeeping", "demo", "growth", "scaling", "export", "acquisitions", "side_by_side",
)  # fmt: skip


def run_script(name: str) -> bool:
    """Run one script, print its seconds to standard error, and return whether it succeeded."""
    start = time.perf_counter()
    environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE"}
    done = subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], env=environment, check=False)
    print(f"{name}: {time.perf_counter() - start:.0f} s", file=sys.stderr)
    return done.returncode == 0


def main() -> int:
    """Return exit status 1 if any script failed; the others still run."""
    if "--nvidia" in sys.argv[1:]:
        # Importing torch counts among the seconds of the whole command.
        start = time.monotonic()
        from benchmarks import nvidia

        return nvidia.main([argument for argument in sys.argv[1:] if argument != "--nvidia"], start)

    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    names_help = f"of {', '.join(USUAL)} (without a name: all of these), {', '.join(OTHERS)}"
    parser.add_argument("names", nargs="*", metavar="name", help=names_help)
    parser.add_argument("--nvidia", action="store_true", help="measure a GPU instead; --nvidia --help lists its rows")
    names: list[str] = parser.parse_args().names
    unknown = [name for name in names if name not in USUAL + OTHERS]
    if unknown:
        parser.error(f"unknown {', '.join(unknown)}; expected some of {', '.join(USUAL + OTHERS)}")

    failed = [name for name in names or USUAL if not run_script(name)]
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
