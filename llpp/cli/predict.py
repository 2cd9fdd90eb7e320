"""The verb `llpp predict`."""

import argparse
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from llpp.cli.package_names import split_package_names
from llpp.cli.run_spelling import accept_run_spelling
from llpp.errors import ConfigError, DataError

if TYPE_CHECKING:
    from llpp.prediction.predictor import Predictor

ONNX = ".onnx"
OPTIONS = ("boxes", "risk", "fail", "confidence", "format", "out", "batch_size", "device", "trusted_packages")
DEFAULTS = ("overlay=false", "page=true")  # which need no flag
LINE_SECONDS = 10.0  # between lines of progress in a file
TERMINAL_SECONDS = 0.5  # between changes of the line in a terminal
EPILOG = """\
Options may also be written as for llpp run: boxes=FILE risk=0.1 out=FOLDER. The same command resumes after an
interruption. docs/predict.md explains the columns and the promise.
"""


def run_predict_command(arguments: list[str]) -> int:
    """Predict joints, and say which predictions are likely to be wrong."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # What FFmpeg prints about damaged films would hide the sentences that problems.csv has for them.
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # nothing
    os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")
    chosen = _parse_arguments(arguments)
    _check_model(chosen.model)

    from llpp.prediction.failure_flags import Wish
    from llpp.prediction.predict_files import Request, predict_files
    from llpp.prediction.summary import describe_no_image, format_summary

    request = Request(
        inputs=chosen.inputs,
        out=chosen.out,
        boxes=chosen.boxes,
        wish=Wish(chosen.risk, chosen.fail, chosen.confidence),
        format=chosen.format,
        overlay=chosen.overlay,
        page=chosen.page,
        batch_size=chosen.batch_size,
    )
    progress = ProgressLine()
    names = split_package_names(chosen.trusted_packages)
    result = predict_files(request, lambda: _load_predictor(chosen.model, chosen.device, names), progress.report)
    progress.finish()
    if not result.summary["read"]:
        raise DataError(describe_no_image(result.problems, result.folder))
    for line in format_summary(result.summary):
        print(line)
    print(result.table)
    if result.page is not None:
        print(result.page)
    return 0


def _parse_arguments(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="llpp predict", description=run_predict_command.__doc__, epilog=EPILOG)
    parser.add_argument(
        "model", type=Path, metavar="RUN", help="a run directory, or a model that was exported as .onnx"
    )
    parser.add_argument("inputs", nargs="+", metavar="INPUT", help="images, films, and folders of them")
    parser.add_argument(
        "--boxes",
        default="image",
        metavar="FILE",
        help="boxes around persons: a COCO file, or a CSV table (default: image, one person in each)",
    )
    parser.add_argument(
        "--risk", type=float, default=0.2, help="share of failures among predictions flagged ok (default: 0.2)"
    )
    parser.add_argument(
        "--fail", type=float, default=0.5, help="an image whose PCK is below is a failure (default: 0.5)"
    )
    parser.add_argument(
        "--confidence", type=float, default=0.9, help="how often the promise about the risk is kept (default: 0.9)"
    )
    parser.add_argument("--format", default="csv", metavar="NAME", help="csv, parquet or coco (default: csv)")
    parser.add_argument("--overlay", action="store_true", help="draw the predictions on the images and films")
    parser.add_argument(
        "--no-page", dest="page", action="store_false", help="leave out page.html, for which images are read again"
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FOLDER",
        help="where results go (default: predictions/NAME, after the first input)",
    )
    parser.add_argument("--batch-size", type=int, default=32, metavar="N", help="crops at once (default: 32)")
    parser.add_argument(
        "--device", default="auto", help="cpu, cuda or cuda:1 (default: auto, a GPU where there is one)"
    )
    parser.add_argument(
        "--trusted-packages",
        default="",
        metavar="NAMES",
        help="packages, separated by commas, whose classes the run's config.yaml may name besides llpp's own",
    )
    words = [_turn_into_flag(argument) for argument in arguments if argument.lower() not in DEFAULTS]
    return parser.parse_intermixed_args(words)


def _turn_into_flag(argument: str) -> str:
    """Turn an option in the spelling of `llpp run` into a flag: `risk=0.1`."""
    name, _, value = argument.partition("=")
    if name == "overlay" and value.lower() == "true":
        return "--overlay"
    if name == "page" and value.lower() == "false":
        return "--no-page"
    return accept_run_spelling(argument, OPTIONS)


def _check_model(model: Path) -> None:
    if model.suffix.lower() == ONNX or model.is_dir():
        if not model.exists():
            raise DataError(
                f"there is no file {model}; give a run directory, or a model that llpp export has written"
            )
        return
    raise ConfigError(
        f"{model} is neither a run directory nor an .onnx file; give one of these, and then the images: "
        "llpp predict RUN IMAGES"
    )


def _load_predictor(model: Path, device: str, trusted_packages: list[str]) -> "Predictor":
    """The model; of an exported one without torch."""
    if model.suffix.lower() == ONNX:
        from llpp.prediction.onnx_model import OnnxPredictor

        return OnnxPredictor(model, device)
    from llpp.config.run_predictor import load_run_predictor

    return load_run_predictor(model, device, trusted_packages)


class ProgressLine:
    """How far a pass is, how fast, and when it will be done: one line that changes, or a line now and then."""

    def __init__(self) -> None:
        self.in_terminal = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self.work = ""
        self.started = 0.0
        self.shown = 0.0
        self.has_line = False

    def report(self, work: str, done: int, total: int, before: int) -> None:
        """Show that `done` of `total` images are done, `before` of them by an earlier command."""
        now = time.monotonic()
        if work != self.work:
            self.work = work
            self.started = now
            self.shown = now
        interval = TERMINAL_SECONDS if self.in_terminal else LINE_SECONDS
        if now - self.shown < interval:
            return
        self.shown = now
        self._show(describe_progress(work, done, total, done - before, now - self.started))

    def _show(self, text: str) -> None:
        start, end = ("\r", "\033[K") if self.in_terminal else ("", "\n")
        print(f"{start}{text}", end=end, file=sys.stderr, flush=True)
        self.has_line = self.in_terminal

    def finish(self) -> None:
        """Leave the line that changes."""
        if self.has_line:
            print(file=sys.stderr)


def describe_progress(work: str, done: int, total: int, own: int, seconds: float) -> str:
    """How far a pass is; `own` of the images were done in these seconds."""
    rate = own / max(seconds, 1e-9)
    known_total = max(total, done)
    text = f"{work} {done:,} of {known_total:,} · {rate:,.1f} images/s"
    left = known_total - done
    if rate > 0 and left:
        text += f" · {left / rate:,.0f} s left"
    return text
