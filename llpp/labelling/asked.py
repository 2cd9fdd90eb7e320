"""The batches that people have been asked for: `asked.csv` and `suggested.json` in the folder of each."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from llpp.errors import StateError
from llpp.files import read_text, replace_text
from llpp.journal.answers import PersonLabel
from llpp.journal.folder import LabellingFolder

SUGGESTED = "suggested.json"
COLUMNS = ("rank", "id", "file", "role", "suggested", "predicted_loss", "reason")
MAX_BYTES = 1 << 28
Persons = Sequence[PersonLabel]


@dataclass(frozen=True)
class AskedRow:
    """One image of a batch, as `asked.csv` has it."""

    image: str  # id
    name: str  # of its copy in the batch's folder `images`
    role: str  # train | test
    rank: int  # 1 is wanted most
    is_suggested: bool  # whether the tool shows a prediction to start from
    predicted_loss: float | None
    reason: str


def write_asked(rows: Sequence[AskedRow], suggested: Mapping[str, Persons], folder: Path) -> None:
    """Write both files into the folder of a batch; `asked.csv` comes last and says that the batch is complete."""
    content = {}
    for image, persons in suggested.items():
        listed = []
        for person in persons:
            joints = {name: list(point) for name, point in person.joints.items()}
            box = None if person.box is None else list(person.box)
            listed.append({"id": person.id, "joints": joints, "box": box})
        content[image] = listed
    replace_text(folder / SUGGESTED, json.dumps(content, indent=1, ensure_ascii=False))

    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        loss = "" if row.predicted_loss is None else f"{row.predicted_loss:.6g}"
        writer.writerow([row.rank, row.image, row.name, row.role, int(row.is_suggested), loss, row.reason])
    replace_text(folder / "asked.csv", text.getvalue())


def read_asked(folder: LabellingFolder, number: int) -> list[AskedRow] | None:
    """Read the table of a batch; None if the batch is not complete. StateError if the file is damaged."""
    return read_rows(folder.get_asked_file(number))


def read_rows(path: Path) -> list[AskedRow] | None:
    """Read a table of `write_asked`; None if there is none. StateError if it is damaged."""
    try:
        lines = csv.DictReader(io.StringIO(read_text(path, MAX_BYTES)))
        rows = []
        for line in lines:
            loss = float(line["predicted_loss"]) if line["predicted_loss"] else None
            row = AskedRow(
                image=line["id"],
                name=line["file"],
                role=line["role"],
                rank=int(line["rank"]),
                is_suggested=line["suggested"] == "1",
                predicted_loss=loss,
                reason=line["reason"],
            )
            rows.append(row)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise StateError(f"{path} is damaged ({error}); restore it from a backup") from error
    return rows


def read_suggested(folder: LabellingFolder, number: int) -> dict[str, list[PersonLabel]]:
    """Read what a batch suggested, by image; an image without a suggestion is not there."""
    path = folder.get_round_dir(number) / SUGGESTED
    try:
        content = json.loads(read_text(path, MAX_BYTES))
        suggested = {}
        for image, listed in content.items():
            persons = []
            for person in listed:
                joints = {name: (float(x), float(y), int(v)) for name, (x, y, v) in person["joints"].items()}
                box = tuple(map(float, person["box"])) if person["box"] else None
                persons.append(PersonLabel(person["id"], joints, box))  # type: ignore[arg-type]  # four numbers
            suggested[image] = persons
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise StateError(f"{path} is damaged ({error}); restore it from a backup") from error
    return suggested


def list_batches(folder: LabellingFolder) -> list[int]:
    """The numbers of all complete batches, in ascending order."""
    return sorted(_list_folders(folder, "round_"))


def list_check_dirs(folder: LabellingFolder) -> dict[int, Path]:
    """The folders of labels that `llpp check` has asked to look at again, complete ones, in ascending order."""
    found = _list_folders(folder, "check_")
    return {number: found[number] for number in sorted(found)}


def _list_folders(folder: LabellingFolder, start: str) -> dict[int, Path]:
    folders = {}
    for path in folder.path.glob(f"{start}*/asked.csv"):
        digits = path.parent.name.removeprefix(start)
        if digits.isdigit():
            folders[int(digits)] = path.parent
    return folders
