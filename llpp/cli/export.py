"""The verb `llpp export`."""

import argparse
from pathlib import Path

from llpp.cli.package_names import split_package_names
from llpp.cli.run_spelling import accept_run_spelling

OPTIONS = ("output", "trusted_packages")
MIB = 1 << 20


def run_export_command(arguments: list[str]) -> int:
    """Write a finished run's network, with all that is needed to use it, into one file for other programs."""
    chosen = _parse_arguments(arguments)
    trusted = split_package_names(chosen.trusted_packages)

    from llpp.prediction import export

    export.check_format(chosen.format)
    path = chosen.output or chosen.run / f"model{export.SUFFIXES[chosen.format]}"
    export.check_path(path, chosen.format)

    from llpp.config.load_run import LoadedRun
    from llpp.config.run_predictor import read_model_facts
    from llpp.errors import ConfigError
    from llpp.prediction.pose_network import PoseNetwork
    from llpp.tasks.pose.task import PoseTask

    run = LoadedRun(chosen.run, "cpu", trusted)
    if not isinstance(run.task, PoseTask):
        raise ConfigError(
            f"{chosen.run} has learned {run.task.name}, and llpp export writes networks that find joints; use "
            "llpp.load(RUN).predict(images) in Python"
        )
    network = PoseNetwork(run.backbone, run.head, run.task, run.ranker)
    crops = export.cut_crops_to_compare(run.task.dataset, run.crop)
    comparison = export.export_network(network, read_model_facts(run), chosen.format, path, crops)
    print(f"compared with torch on {len(crops)} crops: {comparison.describe()}")
    print(f"{path} ({path.stat().st_size / MIB:.1f} MiB)")
    return 0


def _parse_arguments(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="llpp export", description=run_export_command.__doc__)
    parser.add_argument("run", type=Path, metavar="RUN", help="a run directory with at least one committed round")
    parser.add_argument("format", metavar="onnx|torch", help="ONNX, or a program of torch.export (.pt2)")
    parser.add_argument("--output", type=Path, metavar="FILE", help="default: RUN/model.onnx or RUN/model.pt2")
    parser.add_argument(
        "--trusted-packages",
        default="",
        metavar="NAMES",
        help="packages, separated by commas, whose classes the run's config.yaml may name in addition to llpp's own",
    )
    return parser.parse_args([accept_run_spelling(argument, OPTIONS) for argument in arguments])
