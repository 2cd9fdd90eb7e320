"""What an oracle that asks people reads from a dataset: which of its images they have answered.

N records, I images in the project's index.
"""

import numpy as np
from numpy.typing import NDArray

from llpp.datasets.pose import PoseDataset
from llpp.datasets.project.index import ProjectIndex

NEVER_ASKED = 255  # in `states`


class AskedDataset(PoseDataset):
    """Records of a project, with what became of the question for their labels."""

    project_index: ProjectIndex
    index: NDArray[np.int64]  # (N,) row of each record's image in the project's index
    states: NDArray[np.uint8]  # (N,) position in `snapshot.STATES`, or NEVER_ASKED
    budget: int | None = None  # images to ask for next; None: nobody is asked
