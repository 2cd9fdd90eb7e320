"""From what a round has selected to the batch that people are asked for."""

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from llpp.datasets.project.index import ProjectIndex
from llpp.datasets.project.project_file import ProjectFile
from llpp.datasets.project.skeleton_file import build_skeleton
from llpp.errors import StateError
from llpp.journal.answers import PersonLabel
from llpp.journal.folder import LabellingFolder
from llpp.labelling.asked import list_batches, read_asked
from llpp.labelling.batch_folder import README, BatchOptions, name_copies, write_batch
from llpp.labelling.choice import Choice, choose_first_batch, choose_next_batch, mark_blind
from llpp.labelling.settings import LabelSettings
from llpp.labelling.suggestions import keep_inside
from llpp.oracles.tool import AskedImage, LabelBatch, LabellingTool
from llpp.run_dir.round_dir import AUDIT, get_round_dir
from llpp.run_dir.state import Round, RunState

log = logging.getLogger(__name__)
VISIBLE = 2
LEAST_METRIC = 0.5  # of the test images, from which on a model's joints help more than they mislead


@dataclass(frozen=True)
class Prediction:
    """What the last model thinks of one image."""

    loss: float  # the largest one of its persons
    persons: Sequence[PersonLabel]


@dataclass(frozen=True)
class BatchWriter:
    """Writes the batches of a project."""

    folder: LabellingFolder
    root: Path
    tool: LabellingTool
    project: ProjectFile
    index: ProjectIndex
    settings: LabelSettings
    command: str
    notes: Sequence[str]

    def write_first(self, taken: Collection[str], budget: int, test_wanted: int) -> None:
        """Write batch 0, for which there is no model yet."""
        choices = choose_first_batch(self.index, self.project, taken, budget, test_wanted, self.settings.gap)
        self._write(0, choices, {}, suggests=False)

    def write_next(
        self, number: int, taken: Collection[str], test: int, state: RunState, run_dir: Path, acquisition: str
    ) -> None:
        """Write the batch that the last committed round has selected, with so many test images."""
        last = state.rounds[-1]
        predictions: dict[str, Prediction] = {}
        if last.selected:
            # The file of a round that selected nothing has no joints.
            predictions = self._read_predictions(run_dir, last.number)
        # The images of all selected persons, first the one that is wanted most.
        ranked = [image for image in predictions if image not in taken]
        audited = self._read_audited(run_dir, last)
        choices = choose_next_batch(
            self.index,
            self.project,
            taken,
            test,
            ranked,
            acquisition,
            self.settings.gap,
            audited,
            last.ranker_name,
            last.row.get("beta"),
            last.row.get("competence"),
        )
        self._write(number, choices, predictions, self._suggests(state), audited)

    def _read_audited(self, run_dir: Path, last: Round) -> frozenset[str]:
        """The images that a round has drawn by chance."""
        if AUDIT not in last.files:
            return frozenset()
        path = get_round_dir(run_dir, last.number) / AUDIT
        try:
            ids = pq.read_table(path, columns=["id"])["id"].to_pylist()
        except (OSError, pa.ArrowException) as error:
            raise StateError(f"{path} is missing or damaged ({error}); restore it from a backup") from error
        images = set(self.index.ids)
        return frozenset(_find_image(name, images) for name in ids)

    def _suggests(self, state: RunState) -> bool:
        """Whether the model's joints are shown to people."""
        if self.settings.suggest != "auto":
            return self.settings.suggest == "always"
        metric_name = str(state.result_settings.get("metric.name"))
        measured = state.rounds[-1].row.get(f"test_{metric_name}")
        if measured is None or measured < LEAST_METRIC:
            log.info(
                "the model's joints are not shown: less than half of those in the test images are right "
                "(label.suggest=always shows them)"
            )
            return False
        return True

    def _read_predictions(self, run_dir: Path, number: int) -> dict[str, Prediction]:
        """What round `number` thinks of the images that it has selected, in that order."""
        path = get_round_dir(run_dir, number) / "predictions.parquet"
        try:
            table = pq.read_table(path)
            ids = table["id"].to_pylist()
            if not ids:
                # Nothing was selected, so there was nothing to predict, and no column for it.
                return {}
            losses = table["predicted_loss"].to_pylist()
            points = table["joints"].to_pylist()
        except (OSError, pa.ArrowException, KeyError) as error:
            raise StateError(f"{path} is missing or damaged ({error}); restore it from a backup") from error
        names = self.project.joints
        images = set(self.index.ids)
        losses_by_image: dict[str, list[float]] = {}
        persons: dict[str, list[PersonLabel]] = {}
        for name, loss, flat in zip(ids, losses, points, strict=True):
            image = _find_image(name, images)
            joints = {}
            for joint, (x, y) in zip(names, np.reshape(flat, (-1, 2)).tolist(), strict=True):
                joints[joint] = (x, y, VISIBLE)
            losses_by_image.setdefault(image, []).append(loss)
            persons.setdefault(image, []).append(PersonLabel(name, joints))
        return {image: Prediction(max(losses_by_image[image]), persons[image]) for image in persons}

    def _write(
        self,
        number: int,
        choices: Sequence[Choice],
        predictions: Mapping[str, Prediction],
        suggests: bool,
        audited: frozenset[str] = frozenset(),
    ) -> None:
        """Write everything of a batch, and say where it is."""
        rows = self.index.ids.find_rows([choice.image for choice in choices])
        paths = [self._locate(int(row)) for row in rows]
        taken = []
        for earlier in list_batches(self.folder):
            if earlier != number:
                taken += [asked.name for asked in read_asked(self.folder, earlier) or []]
        endings = [path.suffix for path in paths]
        pairs = [(choice.image, ending) for choice, ending in zip(choices, endings, strict=True)]
        names = name_copies(pairs, taken, self.index.ids)
        images = []
        for place, choice in enumerate(choices):
            row = int(rows[place])
            predicted = predictions.get(choice.image)
            size = (int(self.index.width[row]), int(self.index.height[row]))
            suggested: Sequence[PersonLabel] = ()
            if suggests and predicted is not None:
                suggested = keep_inside(predicted.persons, size)
            image = AskedImage(
                image=choice.image,
                path=paths[place],
                name=names[place],
                relative="" if self.index.is_own[row] else self.index.files[row],
                size=size,
                role=choice.role,
                rank=place + 1,
                reason=choice.reason,
                predicted_loss=predicted.loss if predicted is not None else None,
                suggested=suggested,
            )
            images.append(image)
        skeleton = build_skeleton(self.project.joints, self.project.edges)
        batch = LabelBatch(self.project.name, number, skeleton, images, self.root)
        # Who starts from the model's joints ends near them, and an audit would find the model better than it is.
        chosen = [choice.image for choice in choices if choice.role == "train" and choice.image not in audited]
        options = BatchOptions(
            command=self.command,
            blind=mark_blind(chosen, self.settings.blind, self.project.salt, number) | audited,
            annotators=self.settings.annotators,
            overlap=self.settings.overlap,
            salt=self.project.salt,
            half_pixel=self.settings.half_pixel,
            notes=self.notes,
        )
        write_batch(batch, self.tool, self.folder, options)
        if images:
            readme = self.folder.get_round_dir(number) / README
            log.info("a batch of %d images is ready; how to label it is in %s", len(images), readme)

    def _locate(self, row: int) -> Path:
        base = self.folder.path if self.index.is_own[row] else self.root
        return base.resolve() / self.index.files[row]


def _find_image(name: str, images: Collection[str]) -> str:
    """The image of a person's record."""
    return name if name in images else name.rpartition("#")[0]
