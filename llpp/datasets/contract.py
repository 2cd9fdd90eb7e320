"""Does a dataset offer what the contract of datasets asks for?"""

from typing import Any

import numpy as np

from llpp.datasets.base import SPLITS, AnyDataset, Labels, Records, describe_wrong_image
from llpp.errors import ConfigError, DataError
from llpp.plug_in_errors import explain_exception, list_frames, name_class


def check_records(dataset: AnyDataset) -> None:
    """Raise ConfigError unless a dataset has a name, and records whose columns are of the right kind and shape."""
    place = f"dataset {name_class(dataset)}"
    for attribute, kind in (("name", str), ("records", Records)):
        found = getattr(dataset, attribute, None)
        if not isinstance(found, kind):
            what = "no" if found is None else f"a {type(found).__name__} as"
            raise ConfigError(f"{place} has {what} {attribute}; set self.{attribute} to a {kind.__name__}")
    records = dataset.records
    count = len(records.ids)
    if not isinstance(records.labels, Labels):
        raise ConfigError(
            f"{place} has {type(records.labels).__name__} as records.labels, expected Labels such as PoseLabels or "
            "ClassLabels"
        )
    columns: dict[str, tuple[Any, str, tuple[int, ...]]] = {
        "split": (records.split, "U", (count,)),
        "boxes": (records.boxes, "f", (count, 4)),
        "may_start": (records.may_start, "b", (count,)),
        "labels.is_labelled": (records.labels.is_labelled, "b", (count,)),
    }
    kinds = {"U": "strings", "f": "floats", "b": "bools"}
    for name, (column, kind_code, shape) in columns.items():
        is_array = isinstance(column, np.ndarray)
        if is_array and column.dtype.kind == kind_code and column.shape == shape:
            continue
        found = f"{column.dtype} of shape {column.shape}" if is_array else f"a {type(column).__name__}"
        raise ConfigError(
            f"{place} has {found} as records.{name}, expected an array of {kinds[kind_code]} of shape {shape}"
        )
    is_known = np.zeros(count, dtype=np.bool_)
    for split in SPLITS:
        is_known |= records.split == split
    if not is_known.all():
        stranger = str(records.split[~is_known][0])
        raise ConfigError(f"{place} has {stranger!r} in records.split, expected {', '.join(SPLITS)}")
    if len(dataset.paths) not in (0, count):
        raise ConfigError(f"{place} has {len(dataset.paths)} paths, expected one for each of its {count} records")


def check_first_image(dataset: AnyDataset) -> None:
    """Raise ConfigError unless `load` gives pixels; an image that cannot be read is found with all others."""
    row = int(dataset.records.select_rows("train")[0])
    try:
        image = dataset.load(row)
    except DataError:
        return
    except Exception as error:
        reason = explain_exception(error, list_frames(error))
        raise ConfigError(f"dataset {name_class(dataset)} failed in load({row}): {reason}") from error
    problem = describe_wrong_image(image)
    if problem is not None:
        raise ConfigError(f"dataset {name_class(dataset)}: load({row}) returned {problem}; fix its load()")
