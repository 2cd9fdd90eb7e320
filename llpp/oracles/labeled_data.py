"""`labeled-data`, where DeepLabCut and Lightning Pose have their images: a folder of its own for each batch."""

import re
from pathlib import Path

from llpp.errors import ConfigError
from llpp.oracles.tool import LabelBatch


def make_batch_folder(batch: LabelBatch, part: str = "") -> Path:
    """Make the folder of a batch below `labeled-data`; ConfigError if a link leads out of the project."""
    project = re.sub(r"[^A-Za-z0-9_-]+", "-", batch.project)
    folder = batch.root / "labeled-data" / f"llpp_{project}_round_{batch.round:02d}{part}"
    folder.mkdir(parents=True, exist_ok=True)
    if not folder.resolve().is_relative_to(batch.root.resolve()):
        raise ConfigError(f"{folder} leads out of {batch.root} by a link; remove the link, or set another tool=")
    return folder
