"""Runs on the disk → methods with their seeds, by dataset.

Runs that differ in nothing but the seed are one method; runs whose dataset or PCK settings differ stand in
different sections, because their numbers cannot be compared.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from llpp.errors import ConfigError, StateError
from llpp.report.failures import FAILURE_FILE, Failure, read_failure, summarise_failures
from llpp.report.files import read_columns
from llpp.report.labels import (
    FlatSettings,
    build_dataset_labels,
    build_method_labels,
    encode_settings,
    get_module_name,
)
from llpp.run_dir.config_file import read_config
from llpp.run_dir.state import Round, RunState, load_state

COMPARABLE_PREFIXES = ("dataset.", "pck.", "metric.")  # settings that must be equal for numbers to be compared


@dataclass(frozen=True)
class Run:
    """One run directory."""

    folder: Path
    state: RunState
    config: Mapping[str, Any]  # resolved
    text: str  # config.yaml as it is
    failure: Failure | None = None  # why its last start ended early, if it did

    @property
    def name(self) -> str:
        """The name its owner gave it, or the default one."""
        return str(self.config.get("name", self.folder.name))

    @property
    def seed(self) -> Any:
        """Its seed."""
        return self.config.get("seed")

    def get_plug_in(self, group: str) -> str:
        """The module that a group's choice comes from: `gap_fc` for llpp.heads.gap_fc.GapFCHead."""
        return get_module_name(str(self.state.science.get(f"{group}._target_", "none")))

    def get_round_path(self, number: int, name: str) -> Path:
        """A file of round `number`."""
        return self.folder / f"round_{number:02d}" / name

    def has_round_file(self, number: int, file: str) -> bool:
        """Whether round `number` left this file."""
        return file in self.state.rounds[number].files or self.get_round_path(number, file).exists()

    def read_round_columns(self, number: int, file: str, names: Sequence[str]) -> dict[str, Any] | None:
        """Columns of a table that round `number` left; None unless it is as the round left it and has them all."""
        digest = self.state.rounds[number].files.get(file)
        return read_columns(self.get_round_path(number, file), names, digest)


@dataclass(frozen=True)
class Cell:
    """One quantity of one method after one round."""

    mean: float
    std: float | None  # n - 1; None with one seed
    values: tuple[float, ...]  # one per seed
    round: int


@dataclass(frozen=True)
class Method:
    """Runs that differ in nothing but the seed."""

    label: str
    runs: tuple[Run, ...]

    @cached_property
    def started_runs(self) -> tuple[Run, ...]:
        """Those with at least one committed round."""
        return tuple(run for run in self.runs if run.state.rounds)

    @cached_property
    def rounds(self) -> tuple[Round, ...]:
        """All committed rounds of all seeds."""
        return tuple(r for run in self.runs for r in run.state.rounds)

    def list_label_counts(self, quantity: str) -> list[int]:
        """Numbers of labelled images at which `quantity` is known, smallest first."""
        return sorted({int(r.row["labelled"] or 0) for r in self.rounds if r.row.get(quantity) is not None})

    def compute_cell(self, quantity: str, labelled: int) -> Cell | None:
        """Mean and spread over the seeds whose round began with `labelled` images; None if no seed knows it."""
        found = [
            (r.number, float(value))
            for r in self.rounds
            if r.row["labelled"] == labelled and (value := r.row.get(quantity)) is not None
        ]
        if not found:
            return None
        values = np.array([value for _, value in found])
        std = float(values.std(ddof=1)) if len(values) > 1 else None
        return Cell(float(values.mean()), std, tuple(values.tolist()), found[0][0])

    def get_seed_values(self, quantity: str, labelled: int) -> dict[str, float]:
        """Seed → `quantity` after the round that began with `labelled` images, for the seeds that know it."""
        return {
            str(run.seed): float(value)
            for run in self.runs
            for r in run.state.rounds
            if r.row["labelled"] == labelled and (value := r.row.get(quantity)) is not None
        }


@dataclass(frozen=True)
class Section:
    """Methods whose numbers can be compared."""

    dataset: str
    methods: tuple[Method, ...]

    @property
    def first_run(self) -> Run:
        """The run that stands for the section's common settings."""
        return self.methods[0].runs[0]

    @property
    def dataset_name(self) -> str:
        """The dataset's own name, whatever the section is called."""
        return str(
            self.first_run.state.science.get("dataset.name", self.first_run.state.initial[0].partition("/")[0])
        )

    def get_metric_name(self, images: Literal["train", "test"]) -> str:
        """Name and threshold of the measure on the training pool's or on the test images: `PCKh@0.5`."""
        if name := self.first_run.state.science.get(f"metric.{images}"):
            return str(name)
        threshold = (self.first_run.config.get("pck") or {}).get("threshold")
        return "PCK" if threshold is None else f"PCK@{threshold}"

    @property
    def normaliser(self) -> str:
        """What the measure divides distances by, in words."""
        return str(self.first_run.state.science.get("metric.unit", "the torso's diagonal"))

    def list_label_counts(self, quantity: str) -> list[int]:
        """Numbers of labelled images at which any method knows `quantity`."""
        return sorted({count for method in self.methods for count in method.list_label_counts(quantity)})


@dataclass(frozen=True)
class Collection:
    """Everything found."""

    sections: tuple[Section, ...]
    copies: tuple[Path, ...]  # runs left out: same settings and seed as another one
    failures: tuple[Failure, ...] = ()  # of jobs with and without a run

    @property
    def labels(self) -> list[str]:
        """Every method's label once, in order of appearance; the position gives its colour."""
        return list(dict.fromkeys(method.label for section in self.sections for method in section.methods))


def collect(folders: Sequence[Path]) -> Collection:
    """Find and group all runs under `folders`; ConfigError where none is, StateError on a damaged one."""
    best: dict[str, Run] = {}
    copies: list[Path] = []
    runs, failures = find_runs(folders)
    for run in runs:
        key = encode_settings({**run.state.science, "seed": run.seed})
        if key in best and len(best[key].state.rounds) >= len(run.state.rounds):
            copies.append(run.folder)
            continue
        if key in best:
            copies.append(best[key].folder)
        best[key] = run
    groups = _group_runs(best.values(), _get_comparable_settings)
    ids = [str(group[0].state.science.get("dataset.name", group[0].state.initial[0])) for group in groups]
    names = build_dataset_labels(ids, [_get_comparable_settings(group[0]) for group in groups])
    sections = [Section(name, _build_methods(group)) for name, group in zip(names, groups, strict=True)]
    return Collection(tuple(sections), tuple(copies), failures)


def find_runs(folders: Iterable[Path]) -> tuple[list[Run], tuple[Failure, ...]]:
    """Runs, and failed jobs, at any depth under `folders`, in order of their paths."""
    found: dict[Path, Path] = {}
    failed: dict[Path, Failure] = {}
    for folder in folders:
        if not folder.is_dir():
            raise ConfigError(f"{folder} is not a folder; give a run directory, or a folder that holds some")
        files = sorted(folder.rglob("state.json"))
        notes = [note for file in sorted(folder.rglob(FAILURE_FILE)) if (note := read_failure(file.parent))]
        if notes and not files:
            raise ConfigError(
                f"{folder} holds no run, only failed jobs ({summarise_failures(notes)}); mend and start them again"
            )
        if not files:
            raise ConfigError(
                f"{folder} holds no run (no state.json at any depth); give a run directory, or a folder that has some"
            )
        found |= {file.parent.resolve(): file.parent for file in files}
        failed |= {note.folder.resolve(): note for note in notes}
    return [_read_run(folder) for folder in found.values()], tuple(failed.values())


def _read_run(folder: Path) -> Run:
    state = load_state(folder / "state.json")
    config, text = read_config(folder)
    if state is None:
        raise StateError(f"{folder} has lost its state.json while it was read; try again")
    return Run(folder, state, config, text, read_failure(folder))


def _get_comparable_settings(run: Run) -> FlatSettings:
    return {k: v for k, v in run.state.science.items() if k.startswith(COMPARABLE_PREFIXES)}


def _get_method_settings(run: Run) -> FlatSettings:
    return {k: v for k, v in run.state.science.items() if k != "seed" and not k.startswith(COMPARABLE_PREFIXES)}


def _group_runs(runs: Iterable[Run], settings: Callable[[Run], FlatSettings]) -> list[list[Run]]:
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(encode_settings(settings(run)), []).append(run)
    return list(groups.values())


def _build_methods(runs: list[Run]) -> tuple[Method, ...]:
    groups = _group_runs(runs, _get_method_settings)
    firsts = [group[0] for group in groups]
    labels = build_method_labels([run.name for run in firsts], [_get_method_settings(run) for run in firsts])
    return tuple(
        Method(label, tuple(sorted(group, key=lambda run: str(run.seed).zfill(20))))
        for label, group in zip(labels, groups, strict=True)
    )
