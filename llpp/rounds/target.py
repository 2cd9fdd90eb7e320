"""The images on which a model is to be good, as a list of ids that a user has written."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from llpp.datasets.base import AnyDataset
from llpp.errors import ConfigError
from llpp.files import read_text
from llpp.ids import Ids

MAX_BYTES = 1 << 30


def read_target(path: str, dataset: AnyDataset) -> NDArray[np.int64]:
    """Return the rows (T,) of the ids in a file, one a line; empty lines count as nothing.

    Raises:
        ConfigError: a file that cannot be read or has no ids, or one that the dataset does not have.
    """
    try:
        lines = read_text(Path(path), MAX_BYTES).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = "it is not text" if isinstance(error, UnicodeDecodeError) else error.strerror
        raise ConfigError(f"acquisition.target={path} cannot be read ({reason}); expected a file of ids") from error
    ids = [line.strip() for line in lines if line.strip()]
    example = dataset.records.ids[0]
    if not ids:
        raise ConfigError(f"acquisition.target={path} has no ids; expected one a line, such as {example!r}")
    rows = dataset.records.ids.find_rows(Ids(ids))
    unknown = np.flatnonzero(rows < 0)
    if len(unknown):
        raise ConfigError(
            f"acquisition.target={path} has {len(unknown)} ids that are not in dataset {dataset.name}, "
            f"{ids[unknown[0]]!r} among them; expected ids such as {example!r}"
        )
    return np.unique(rows)
