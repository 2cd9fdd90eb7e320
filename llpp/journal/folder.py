"""Where the files of a project's labels are."""

from dataclasses import dataclass
from pathlib import Path

from llpp.errors import ConfigError

COLLECTION = Path("labelling")  # folder that collects the labels of projects


@dataclass(frozen=True)
class LabellingFolder:
    """The folder of a project's labels, `labelling/NAME`. Nothing of value in it is ever deleted."""

    path: Path

    @property
    def project_file(self) -> Path:
        """What was decided at the first start, see `project_file`."""
        return self.path / "project.json"

    @property
    def journal(self) -> Path:
        """All answers, one per line."""
        return self.path / "labels.jsonl"

    @property
    def index(self) -> Path:
        """What is known about every image."""
        return self.path / "index.parquet"

    @property
    def boxes(self) -> Path:
        """The boxes of images, from a file or a detector, see `datasets.project.boxes`."""
        return self.path / "boxes.parquet"

    @property
    def inbox(self) -> Path:
        """Files of labelling tools are put here; they are read and never changed."""
        return self.path / "inbox"

    @property
    def kept(self) -> Path:
        """Copies of what tools have saved next to the images, from before each import."""
        return self.path / "kept"

    @property
    def rejected(self) -> Path:
        """What the last import could not use, and why."""
        return self.path / "rejected.csv"

    @property
    def released(self) -> Path:
        """Images that were asked for, not answered, and given back to the pool."""
        return self.path / "released.json"

    @property
    def unpacked(self) -> Path:
        """Where archives are unpacked while they are read; deleted afterwards."""
        return self.path / ".unpacked"

    @property
    def frames(self) -> Path:
        """Frames that were cut from films."""
        return self.path / "frames"

    @property
    def upright(self) -> Path:
        """Copies of images that their files have turned."""
        return self.path / "upright"

    def get_round_dir(self, number: int) -> Path:
        """The batch that round `number` of the run trains after."""
        return self.path / f"round_{number:02d}"

    def get_asked_file(self, number: int) -> Path:
        """The table of a batch, written when all else of it is there."""
        return self.get_round_dir(number) / "asked.csv"


def find_labelling_folder(root: Path, labelling: str | None) -> LabellingFolder:
    """Return where the labels of a project are: `labelling`, or, without it, a folder with the name of its root.

    Raises:
        ConfigError: it is no folder, or the images are in it, where copies of them would be found as new images.
    """
    if labelling is None:
        return LabellingFolder(COLLECTION / root.resolve().name)
    path = Path(labelling)
    example = COLLECTION / root.resolve().name
    if not labelling or root.resolve().is_relative_to(path.resolve()):
        raise ConfigError(
            f"dataset.labelling={labelling!r} holds the images of {root}; expected a folder for labels alone, as in "
            f"labelling={example}"
        )
    if path.exists() and not path.is_dir():
        raise ConfigError(f"dataset.labelling={labelling} is a file; expected a folder, as in labelling={example}")
    return LabellingFolder(path)
