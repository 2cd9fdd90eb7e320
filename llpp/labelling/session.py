"""What comes next for a project: answers are read, a round is trained, the next batch is written.

A start looks at the files and does the next thing that can be done. Each step is written so that repeating it changes
nothing, and so that an interruption between two of them is found by the next start:

    read answers ─► enough? ─► labels.parquet of the round ─► the run trains and commits it ─► batch of the next round
"""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from llpp.datasets.project.index import ProjectIndex, read_index
from llpp.datasets.project.opening import open_project
from llpp.datasets.project.options import ProjectOptions
from llpp.datasets.project.project_file import ProjectFile, read_project, write_project
from llpp.errors import OccupiedError, StateError
from llpp.journal.folder import LabellingFolder
from llpp.journal.snapshot import Snapshot, read_snapshot, write_snapshot
from llpp.labelling import importing, next_batch
from llpp.labelling.asked import list_batches, read_asked
from llpp.labelling.settings import LabelSettings
from llpp.labelling.states import ProjectStates, build_snapshot, read_states
from llpp.oracles.tool import LabellingTool
from llpp.run_dir import layout
from llpp.run_dir.state import RunState, load_state

log = logging.getLogger(__name__)
MIN_LABELLED = 2  # images that a round can be trained with
