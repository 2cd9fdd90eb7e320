"""Finding the runs in folders, and grouping them into methods with their seeds, by dataset.

Runs that differ in nothing but the seed are one method. Runs whose dataset or metric settings differ are in
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
from llpp.report.metric import DEFAULT_NAME, DEFAULT_TITLE, METRIC_SETTINGS, resolve_column
from llpp.run_dir.config_file import read_config
from llpp.run_dir.older_runs import MOVED_COLUMNS, MOVED_FILES
from llpp.run_dir.state import Round, RunState, load_state

# Settings that must be equal for numbers to be compared.
COMPARABLE_PREFIXES = ("dataset.", f"{METRIC_SETTINGS}.", "metric.")


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
        """The run's name from its config, or its folder's."""
        return str(self.config.get("name", self.folder.name))

    @property
    def seed(self) -> Any:
        """The run's seed from its config."""
        return self.config.get("seed")

    def get_plug_in(self, group: str) -> str:
        """Return the module that a group's choice comes from: `gap_fc` for llpp.heads.gap_fc.GapFCHead."""
        return get_module_name(str(self.state.result_settings.get(f"{group}._target_", "none")))

    @property
    def metric(self) -> str:
        """What the columns of this run call its task's metric."""
        return str(self.state.result_settings.get("metric.name", DEFAULT_NAME))

    @property
    def metric_title(self) -> str:
        """What sentences call it."""
        default = DEFAULT_TITLE if self.metric == DEFAULT_NAME else self.metric
        return str(self.state.result_settings.get("metric.title", default))

    @property
    def higher_is_better(self) -> bool:
        """Whether a higher value of it is a better one."""
        return bool(self.state.result_settings.get("metric.higher_is_better", True))

    def get_value(self, committed: Round, quantity: str) -> float | None:
        """Return a quantity of one of this run's rounds; None where it is unknown."""
        value = committed.row.get(resolve_column(quantity, self.metric))
        return None if value is None else float(value)

    def get_round_path(self, number: int, name: str) -> Path:
        """Return the path of a file of round `number`."""
        return self.folder / f"round_{number:02d}" / name

    def has_round_file(self, number: int, file: str) -> bool:
        """Return whether round `number` recorded this file or the file exists."""
        return file in self.state.rounds[number].files or self.get_round_path(number, file).exists()

    def read_round_columns(self, number: int, file: str, names: Sequence[str]) -> dict[str, Any] | None:
        """Read columns of a table of round `number`; None if it lacks one, or is not as the round wrote it.

        In an older run, files and columns have the names that they had then.
        """
        older_file = MOVED_FILES.get(file)
        if older_file is not None and not self.has_round_file(number, file):
            file = older_file
        path = self.get_round_path(number, file)
        digest = self.state.rounds[number].files.get(file)
        columns = read_columns(path, names, digest)
        if columns is not None:
            return columns
        older_names = [MOVED_COLUMNS.get(name, name) for name in names]
        columns = read_columns(path, older_names, digest)
        if columns is None:
            return None
        return {name: columns[older] for name, older in zip(names, older_names, strict=True)}


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
        """The runs with at least one committed round."""
        return tuple(run for run in self.runs if run.state.rounds)

    @cached_property
    def rounds(self) -> tuple[Round, ...]:
        """All committed rounds of all seeds."""
        rounds: list[Round] = []
        for run in self.runs:
            rounds += run.state.rounds
        return tuple(rounds)

    @property
    def selects_at_random(self) -> bool:
        """Whether its selections are chance."""
        return self.runs[0].get_plug_in("acquisition") == "random"

    def list_label_counts(self, quantity: str) -> list[int]:
        """Return the numbers of labelled images at which `quantity` is known, smallest first."""
        counts = set()
        for run in self.runs:
            for committed in run.state.rounds:
                if run.get_value(committed, quantity) is not None:
                    counts.add(int(committed.row["labelled"] or 0))
        return sorted(counts)

    def compute_cell(self, quantity: str, labelled: int) -> Cell | None:
        """Compute mean and spread over the seeds after the round that began with `labelled` images.

        None if no seed knows the quantity.
        """
        numbers = []
        values = []
        for run in self.runs:
            for committed in run.state.rounds:
                value = run.get_value(committed, quantity)
                if value is not None and committed.row["labelled"] == labelled:
                    numbers.append(committed.number)
                    values.append(value)
        if not values:
            return None
        array = np.array(values)
        std = None
        if len(values) > 1:
            std = float(array.std(ddof=1))
        return Cell(float(array.mean()), std, tuple(values), numbers[0])

    def get_seed_values(self, quantity: str, labelled: int) -> dict[str, float]:
        """Return seed → `quantity` after the round that began with `labelled` images, for the seeds that know it."""
        values = {}
        for run in self.runs:
            for committed in run.state.rounds:
                value = run.get_value(committed, quantity)
                if value is not None and committed.row["labelled"] == labelled:
                    values[str(run.seed)] = value
        return values


@dataclass(frozen=True)
class Section:
    """Methods whose numbers can be compared."""

    dataset: str
    methods: tuple[Method, ...]

    @property
    def first_run(self) -> Run:
        """The run that stands for the section's common settings."""
        return self.methods[0].runs[0]

    @cached_property
    def started_methods(self) -> tuple[Method, ...]:
        """The methods with at least one committed round."""
        return tuple(method for method in self.methods if method.started_runs)

    @cached_property
    def runs(self) -> tuple[Run, ...]:
        """All runs of all methods."""
        runs: list[Run] = []
        for method in self.methods:
            runs += method.runs
        return tuple(runs)

    @cached_property
    def rounds(self) -> tuple[Round, ...]:
        """All committed rounds of all methods."""
        rounds: list[Round] = []
        for method in self.methods:
            rounds += method.rounds
        return tuple(rounds)

    @property
    def dataset_name(self) -> str:
        """The name of the dataset itself, without the settings that `dataset` may add to it."""
        state = self.first_run.state
        prefix = state.initial[0].partition("/")[0]
        return str(state.result_settings.get("dataset.name", prefix))

    @property
    def metric(self) -> str:
        """What columns call the metric of the section's task."""
        return self.first_run.metric

    @property
    def metric_title(self) -> str:
        """What sentences call it, where they name no threshold."""
        return self.first_run.metric_title

    @property
    def higher_is_better(self) -> bool:
        """Whether a higher value of the metric is a better one."""
        return self.first_run.higher_is_better

    def get_metric_name(self, images: Literal["train", "test"]) -> str:
        """Return name and threshold of the metric on the training pool's or on the test images: `PCKh@0.5`."""
        name = self.first_run.state.result_settings.get(f"metric.{images}")
        if name:
            return str(name)
        # Runs of older versions recorded the threshold only.
        threshold = (self.first_run.config.get(METRIC_SETTINGS) or {}).get("threshold")
        if threshold is None:
            return self.metric_title
        return f"{self.metric_title}@{threshold}"

    @property
    def normaliser(self) -> str | None:
        """What the metric divides by, in words; None for a metric that divides by nothing."""
        settings = self.first_run.state.result_settings
        # Runs of older versions did not record it.
        default = "the torso's diagonal" if self.metric == DEFAULT_NAME else None
        recorded = settings.get("metric.normaliser", default)
        return None if recorded is None else str(recorded)

    def list_label_counts(self, quantity: str) -> list[int]:
        """Return the numbers of labelled images at which any method knows `quantity`, smallest first."""
        counts: set[int] = set()
        for method in self.methods:
            counts.update(method.list_label_counts(quantity))
        return sorted(counts)

    def find_last_common_count(self, quantity: str) -> int | None:
        """Return the largest number of labels at which every seed of every started method knows `quantity`."""
        for count in reversed(self.list_label_counts(quantity)):
            values = 0
            seeds = 0
            for method in self.started_methods:
                seeds += len(method.started_runs)
                cell = method.compute_cell(quantity, count)
                if cell:
                    values += len(cell.values)
            if values == seeds:
                return count
        return None


@dataclass(frozen=True)
class Collection:
    """All runs under some folders."""

    sections: tuple[Section, ...]
    copies: tuple[Path, ...]  # runs left out: same settings and seed as another one
    failures: tuple[Failure, ...] = ()  # of jobs with and without a run

    @property
    def labels(self) -> list[str]:
        """Every method's label once, in order of appearance; the position gives its colour."""
        labels: dict[str, None] = {}
        for section in self.sections:
            for method in section.methods:
                labels[method.label] = None
        return list(labels)


def collect(folders: Sequence[Path]) -> Collection:
    """Find and group all runs under `folders`.

    Raises:
        ConfigError: a folder without a run, or with failed jobs only.
        StateError: a damaged run.
    """
    runs, failures = find_runs(folders)
    unique_runs, copies = _leave_out_copies(runs)
    groups = _group_runs(unique_runs, _get_comparable_settings)
    ids = []
    settings = []
    for group in groups:
        state = group[0].state
        ids.append(str(state.result_settings.get("dataset.name", state.initial[0])))
        settings.append(_get_comparable_settings(group[0]))
    labels = build_dataset_labels(ids, settings)
    sections = []
    for label, group in zip(labels, groups, strict=True):
        sections.append(Section(label, _build_methods(group)))
    return Collection(tuple(sections), tuple(copies), failures)


def _leave_out_copies(runs: Iterable[Run]) -> tuple[list[Run], list[Path]]:
    """Keep of runs with the same settings and seed the one with the most rounds; return the others' folders, too."""
    longest: dict[str, Run] = {}
    copies = []
    for run in runs:
        key = encode_settings({**run.state.result_settings, "seed": run.seed})
        previous = longest.get(key)
        if previous is None:
            longest[key] = run
        elif len(run.state.rounds) > len(previous.state.rounds):
            longest[key] = run
            copies.append(previous.folder)
        else:
            copies.append(run.folder)
    return list(longest.values()), copies


def find_runs(folders: Iterable[Path]) -> tuple[list[Run], tuple[Failure, ...]]:
    """Find the runs and the failed jobs at any depth under `folders`, in order of their paths.

    Raises:
        ConfigError: a folder without a run, or with failed jobs only.
        StateError: a damaged run.
    """
    # By resolved path: folders may overlap, and a run counts once.
    run_folders: dict[Path, Path] = {}
    failures: dict[Path, Failure] = {}
    for folder in folders:
        if not folder.is_dir():
            raise ConfigError(f"{folder} is not a folder; give a run directory, or a folder that holds some")
        state_files = sorted(folder.rglob("state.json"))
        folder_failures = _find_failures(folder)
        if not state_files:
            raise _make_no_run_error(folder, folder_failures)
        for file in state_files:
            run_folders[file.parent.resolve()] = file.parent
        for failure in folder_failures:
            failures[failure.folder.resolve()] = failure
    runs = list(map(_read_run, run_folders.values()))
    return runs, tuple(failures.values())


def _find_failures(folder: Path) -> list[Failure]:
    failures = []
    for file in sorted(folder.rglob(FAILURE_FILE)):
        failure = read_failure(file.parent)
        # None if a new start of the job has removed the file meanwhile.
        if failure is not None:
            failures.append(failure)
    return failures


def _make_no_run_error(folder: Path, failures: Sequence[Failure]) -> ConfigError:
    if failures:
        summary = summarise_failures(failures)
        return ConfigError(f"{folder} holds no run, only failed jobs ({summary}); fix them and start them again")
    return ConfigError(
        f"{folder} holds no run (no state.json at any depth); give a run directory, or a folder that holds some"
    )


def _read_run(folder: Path) -> Run:
    state = load_state(folder / "state.json")
    config, text = read_config(folder)
    if state is None:
        raise StateError(f"{folder} lost its state.json while it was read; try again")
    return Run(folder, state, config, text, read_failure(folder))


def _get_comparable_settings(run: Run) -> FlatSettings:
    """Return the settings that runs of one section have in common."""
    return {key: value for key, value in run.state.result_settings.items() if key.startswith(COMPARABLE_PREFIXES)}


def _get_method_settings(run: Run) -> FlatSettings:
    """Return the settings that runs of one method have in common, apart from those of its section."""
    settings = {}
    for key, value in run.state.result_settings.items():
        if key != "seed" and not key.startswith(COMPARABLE_PREFIXES):
            settings[key] = value
    return settings


def _group_runs(runs: Iterable[Run], get_settings: Callable[[Run], FlatSettings]) -> list[list[Run]]:
    """Group the runs whose settings are equal, in order of appearance."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        key = encode_settings(get_settings(run))
        groups.setdefault(key, []).append(run)
    return list(groups.values())


def _build_methods(runs: list[Run]) -> tuple[Method, ...]:
    """Group the runs of a section into methods, each with its seeds in order."""
    groups = _group_runs(runs, _get_method_settings)
    names = []
    settings = []
    for group in groups:
        names.append(group[0].name)
        settings.append(_get_method_settings(group[0]))
    labels = build_method_labels(names, settings)
    methods = []
    for label, group in zip(labels, groups, strict=True):
        by_seed = sorted(group, key=_get_seed_key)
        methods.append(Method(label, tuple(by_seed)))
    return tuple(methods)


def _get_seed_key(run: Run) -> str:
    """Return the seed with leading zeros, so that seed 10 comes after seed 2."""
    return str(run.seed).zfill(20)
