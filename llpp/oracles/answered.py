"""Labels that people give in a labelling tool, between the starts of a run.

What they have answered is in the snapshot that the run's dataset was made from. The tool itself is not touched here:
the process that starts a run reads its files before the ranks exist, and writes the next batch after they have ended.
"""

import logging
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from llpp.datasets.base import AnyDataset
from llpp.datasets.project.asked_dataset import NEVER_ASKED, AskedDataset
from llpp.errors import ConfigError
from llpp.ids import Ids
from llpp.journal.snapshot import STATES
from llpp.oracles.base import KnownLabels, Oracle, Rows
from llpp.oracles.near_duplicates import pass_over
from llpp.oracles.tool import LabellingTool

log = logging.getLogger(__name__)
SPARE = 4  # times the budget: enough to pass over frames of one moment, and to find as many images as persons


class AnsweredOracle(Oracle):
    """Knows what people have answered so far, in whichever tool, and asks for images that differ.

    Args:
        tool: batches are written for it; unused in a run.
        gap: seconds between two frames of a film in one batch, at least.
        dataset: a project, as it was when the round began.
    """

    asks_people = True
    spare = SPARE

    def __init__(self, tool: LabellingTool, gap: float, dataset: AnyDataset) -> None:
        if not isinstance(dataset, AskedDataset) or dataset.budget is None:
            raise ConfigError(
                f"oracle={tool.name} asks people for labels, which dataset={dataset.name} does not take; set "
                "dataset=project and dataset.root=FOLDER, or use llpp label FOLDER"
            )
        self.tool = tool
        self.gap = gap
        self.dataset = dataset
        self.budget = dataset.budget

    def check(self, rows: NDArray[np.int64]) -> None:
        """See `Oracle.check`; people can label any image."""

    def ask(self, ids: Sequence[str]) -> None:
        """See `Oracle.ask`; the batch is written when the round is committed."""

    def find_answered(self, ids: Sequence[str]) -> NDArray[np.bool_]:
        """See `Oracle.find_answered`."""
        rows = self.dataset.records.ids.find_rows(ids)
        answered: NDArray[np.bool_] = self.dataset.records.labels.is_labelled[rows] & (rows >= 0)
        return answered

    def divide(self, rows: Rows) -> KnownLabels:
        """See `Oracle.divide`; what is empty, skipped or still open is in neither part."""
        states = self.dataset.states[rows]
        is_labelled = self.dataset.records.labels.is_labelled[rows] & (states == STATES.index("labelled"))
        is_new = states == NEVER_ASKED
        return KnownLabels(rows[is_labelled], rows[is_new])

    def count_wanted(self, budget: int) -> int:
        """See `Oracle.count_wanted`; images of earlier batches that are still open count."""
        return self.budget

    def find_closed(self, ids: Sequence[str]) -> NDArray[np.bool_]:
        """See `Oracle.find_closed`; images that were skipped, or show nobody, get no label."""
        rows = self.dataset.records.ids.find_rows(ids)
        answered = [STATES.index(state) for state in ("labelled", "empty", "skipped")]
        closed: NDArray[np.bool_] = np.isin(self.dataset.states[rows], answered) & (rows >= 0)
        return closed

    def find_units(self, ids: Ids) -> NDArray[np.int64]:
        """See `Oracle.find_units`."""
        units: NDArray[np.int64] = self.dataset.index[self.dataset.records.ids.find_rows(ids)]
        return units

    def choose(self, ranked: Sequence[str], wanted: int, chosen: Sequence[str] = ()) -> list[str]:
        """See `Oracle.choose`: whole images, so all persons of each, and none that repeats another one."""
        ids = self.dataset.records.ids
        index = self.dataset.project_index
        # Of a person's record → its image; several persons of an image count once, as the one that is wanted most.
        image_of_record = self.dataset.index
        images = image_of_record[ids.find_rows(ranked)]
        chosen_images = np.unique(image_of_record[ids.find_rows(chosen)])
        _, first = np.unique(images, return_index=True)
        ranked_images = images[np.sort(first)]
        open_images = np.unique(image_of_record[self.dataset.states == STATES.index("open")])
        found, passed_over = pass_over(
            ranked_images,
            wanted,
            index.film.assign_codes(),
            index.seconds,
            index.thumbnail,
            np.union1d(open_images, chosen_images),
            self.gap,
        )
        if passed_over:
            log.info("%d images were passed over: they are like others of the batch", passed_over)
        selected: list[str] = []
        for image in found.tolist():
            persons = np.flatnonzero(image_of_record == image)
            selected += list(ids.take(persons))
        return selected
