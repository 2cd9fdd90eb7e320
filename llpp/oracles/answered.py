"""Labels that people give in a labelling tool, between the starts of a run.

What they have answered is in the snapshot that the run's dataset was made from. The tool itself is not touched here:
the process that starts a run reads its files before the ranks exist, and writes the next batch after they have ended.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from llpp.datasets.base import AnyDataset
from llpp.datasets.project.dataset import ProjectDataset
from llpp.errors import ConfigError
from llpp.journal.snapshot import STATES
from llpp.oracles.base import KnownLabels, Oracle, Rows
from llpp.oracles.near_duplicates import pass_over
from llpp.oracles.tool import LabellingTool

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
        if not isinstance(dataset, ProjectDataset) or dataset.snapshot is None:
            raise ConfigError(
                f"oracle={tool.name} asks people for labels, which dataset={dataset.name} does not take; set "
                "dataset=project and dataset.root=FOLDER, or use llpp label FOLDER"
            )
        self.tool = tool
        self.gap = gap
        self.dataset = dataset
        self.snapshot = dataset.snapshot

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
        is_new = states >= len(STATES)
        return KnownLabels(rows[is_labelled], rows[is_new])

    def count_wanted(self, budget: int) -> int:
        """See `Oracle.count_wanted`; images of earlier batches that are still open count."""
        return self.snapshot.budget

    def choose(self, ranked: Sequence[str], wanted: int) -> list[str]:
        """See `Oracle.choose`: whole images, so all persons of each, and none that repeats another one."""
        records = self.dataset.records
        rows = records.ids.find_rows(ranked)
        image_names = list(dict.fromkeys(records.images.take(rows)))
        index = self.dataset.index
        image_rows = index.ids.find_rows(image_names)
        open_images = self.snapshot.images.take(np.flatnonzero(self.snapshot.state == STATES.index("open")))
        taken = index.ids.find_rows(open_images)
        chosen, _ = pass_over(
            image_rows,
            wanted,
            index.film.assign_codes(),
            index.seconds,
            index.thumbnail,
            taken[taken >= 0],
            self.gap,
        )
        ids: list[str] = []
        rows_by_image = self._group_rows()
        for row in chosen:
            persons = rows_by_image[index.ids[int(row)]]
            ids += records.ids.take(np.array(persons, dtype=np.int64))
        return ids

    def _group_rows(self) -> dict[str, list[int]]:
        """The rows of all records by their image."""
        rows: dict[str, list[int]] = {}
        for row, image in enumerate(self.dataset.records.images):
            rows.setdefault(image, []).append(row)
        return rows
