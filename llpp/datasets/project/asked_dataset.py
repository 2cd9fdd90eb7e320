"""What those who ask people read from a dataset: which of its images they have answered, and where the answers are.

N records, I images in the project's index.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from llpp.datasets.pose import PoseDataset
from llpp.datasets.project.index import ProjectIndex
from llpp.datasets.project.project_file import ProjectFile
from llpp.journal.folder import LabellingFolder

NEVER_ASKED = 255  # in `states`


class AskedDataset(PoseDataset):
    """Records of a project, with what became of the question for their labels."""

    root: Path  # of the images
    folder: LabellingFolder
    project: ProjectFile
    project_index: ProjectIndex
    index: NDArray[np.int64]  # (N,) row of each record's image in the project's index
    states: NDArray[np.uint8]  # (N,) position in `snapshot.STATES`, or NEVER_ASKED
    budget: int | None = None  # images to ask for next; None: nobody is asked
