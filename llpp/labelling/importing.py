"""Files of labelling tools → news in the journal.

Every file is read at every start: what is known has its key in the journal, so reading it again changes nothing.
"""

import difflib
import errno
import hashlib
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from llpp.datasets.project.index import CONDITIONS, ProjectIndex
from llpp.datasets.project.project_file import ProjectFile
from llpp.errors import DataError, LlppError
from llpp.files import compute_sha256, read_start
from llpp.journal.answers import Answer, PersonLabel, find_hull
from llpp.journal.fold import Who, find_standing
from llpp.journal.folder import LabellingFolder
from llpp.journal.journal import append_answers, compute_key, find_known_keys, read_journal
from llpp.journal.times import format_time, parse_time
from llpp.labelling.asked import list_batches, list_check_dirs, read_asked, read_rows
from llpp.labelling.coordinates import EntryError, find_scale, is_inside, read_box, read_point
from llpp.labelling.names import LONGEST, ImageFinder
from llpp.labelling.people import NamedBox, assign_person_ids, find_boxes
from llpp.labelling.rejected import RejectedRow, write_rejected
from llpp.labelling.suggestions import is_unchanged, read_all_suggested
from llpp.labelling.times import find_slowest, limit_seconds
from llpp.labelling.unpacking import LabelFile, is_archive, is_unfinished, unpack_archive
from llpp.oracles.tool import Entry, LabellingTool, ReadOptions, Size

log = logging.getLogger(__name__)
ANSWERS = ("labelled", "empty", "skipped")
START = 1 << 16  # bytes by which a file is recognised
Boxes = Mapping[str, Sequence[NamedBox]]


@dataclass(frozen=True)
class ImportSettings:
    """What `label.…` says about reading files; see conf/label/default.yaml."""

    accept: str = "none"  # none | unchanged
    retract: bool = False
    changed: str = "refuse"  # refuse | accept
    visibility: str = "coco"  # coco | binary
    empty: str = "open"  # open | reviewed
    half_pixel: bool = False
    annotators: int = 1  # if there are several, whose folder of the inbox a file is in counts, see `_name_annotator`


@dataclass(frozen=True)
class ImportResult:
    """What an import has found."""

    news: Sequence[Answer]  # that were appended to the journal
    entries: int  # in all files, without those that say that nobody has answered
    known: int  # answers that the journal had
    untouched: int  # images whose suggestions nobody has changed, so that they count for nothing
    unused: int  # entries and files that were rejected
    rejected: Sequence[RejectedRow]
    remarks: Sequence[str]  # sentences without a full stop
    rejected_file: Path

    @property
    def counts(self) -> Mapping[str, int]:
        """News by kind."""
        return Counter(answer.kind for answer in self.news)

    def describe_rejections(self) -> str:
        """One sentence for the log; empty if everything could be used."""
        if self.unused:
            return f"{self.unused} of {self.entries} entries not used, see {self.rejected_file}"
        if self.rejected:
            return f"joints that the project does not have were not used, see {self.rejected_file}"
        return ""


@dataclass
class _Counts:
    entries: int = 0
    known: int = 0
    unused: int = 0
    joints: int = 0  # of news
    outside: int = 0  # joints of news that are outside of their image


@dataclass(frozen=True)
class _Project:
    """What entries are compared with."""

    file: ProjectFile
    index: ProjectIndex
    rows: Mapping[str, int]  # of an image's id in the index
    finder: ImageFinder
    suggested: Mapping[str, Sequence[Sequence[PersonLabel]]]
    boxes: Boxes | None


@dataclass(frozen=True)
class _ReadFile:
    """A file that a tool has read."""

    name: str
    tool: str
    digest: str
    time: str  # when it was changed last
    has_own_date: bool  # whether the times of its entries are only its own


def import_files(
    files: Sequence[Path],
    tools: Sequence[LabellingTool],
    folder: LabellingFolder,
    project: ProjectFile,
    index: ProjectIndex,
    settings: ImportSettings,
    boxes: Boxes | None = None,
) -> ImportResult:
    """Read files of labelling tools and append what is news to the journal, all at once.

    A file or an entry that cannot be used does not stop the others; it is listed in rejected.csv, which is replaced.
    For a project whose boxes are those of a file, `boxes` has them: the ids and boxes of the persons of each image.

    Raises:
        StateError: a file of the labelling folder is damaged.
    """
    return _Import(tools, folder, project, index, settings, boxes).run(files)


class _Import:
    """One import."""

    def __init__(
        self,
        tools: Sequence[LabellingTool],
        folder: LabellingFolder,
        project: ProjectFile,
        index: ProjectIndex,
        settings: ImportSettings,
        boxes: Boxes | None,
    ) -> None:
        self.tools = tools
        self.folder = folder
        self.settings = settings
        rows = {image: row for row, image in enumerate(index.ids)}
        finder = ImageFinder(project, index, _list_copies(folder))
        self.project = _Project(project, index, rows, finder, read_all_suggested(folder), boxes)
        self.journal = read_journal(folder.journal)
        self.known = find_known_keys(self.journal)
        self.options = ReadOptions(tuple(project.joints), settings.visibility, settings.empty, settings.half_pixel)
        self.news: list[Answer] = []
        self.counts = _Counts()
        self.untouched: set[str] = set()
        self.rejected: list[RejectedRow] = []
        self.remarks: list[str] = []
        # For retractions: what files have an annotation of, and the files that could be used as a whole.
        self.answered: set[Who] = set()
        self.read_files: dict[tuple[str, str], _ReadFile] = {}

    def run(self, files: Sequence[Path]) -> ImportResult:
        """Read all files and write the journal."""
        for path in dict.fromkeys(files):
            if not is_unfinished(path.name):
                self._read_path(path)
        if self.settings.retract:
            self._retract()
        append_answers(self.folder.journal, self.news)
        write_rejected(self.rejected, self.folder.rejected)
        if self.counts.outside:
            self.remarks.append(
                f"{self.counts.outside} of {self.counts.joints} new joints are outside of their image, and are used "
                "as well; joints that cannot be seen are to be left out"
            )
        if self.untouched:
            self.remarks.append(
                f"suggestions that nobody has changed do not count as labels (images: {len(self.untouched)}); if all "
                "of them were looked at, label.accept=unchanged counts them"
            )
        return ImportResult(
            news=tuple(self.news),
            entries=self.counts.entries,
            known=self.counts.known,
            untouched=len(self.untouched),
            unused=self.counts.unused,
            rejected=tuple(self.rejected),
            remarks=tuple(self.remarks),
            rejected_file=self.folder.rejected,
        )

    def _read_path(self, path: Path) -> None:
        """Read a file, or the files in an archive."""
        name = self._name_file(path)
        annotator = self._name_annotator(path)
        with self._rejecting_file(name):
            if not is_archive(read_start(path, START)):
                self._read_file(LabelFile(path, name), self._find_tool(path), annotator)
                return
            with unpack_archive(path, name, self.folder.unpacked) as members:
                fitting = [(member, self._find_fitting(member.path)) for member in members]
                # An export may have other files, too; that none is of use has to be said.
                if not any(tools for _, tools in fitting):
                    raise DataError(f"{name} has no file that a labelling tool saves: {self._list_titles()}")
                for member, tools in fitting:
                    if tools:
                        with self._rejecting_file(member.name):
                            self._read_file(member, self._choose_tool(tools), annotator)

    def _name_annotator(self, path: Path) -> str:
        """Return who has answered what a file has, where it does not say so: the name of a folder in the inbox.

        Empty if the file is in none, or if there is one annotator only, who may keep files in folders, too.
        """
        inbox = self.folder.inbox
        if self.settings.annotators == 1 or not path.is_relative_to(inbox):
            return ""
        first, *others = path.relative_to(inbox).parts
        return first if others else ""

    def _name_file(self, path: Path) -> str:
        """Name a file by its path below the inbox, the labelling folder or the project's root; else by all of it.

        Some tools give equal names to files in different folders, and a file withdraws only answers of its own.
        """
        for folder in (self.folder.inbox, self.folder.path, Path(self.project.file.root)):
            if path.is_relative_to(folder):
                return path.relative_to(folder).as_posix()
        return path.as_posix()

    @contextmanager
    def _rejecting_file(self, name: str) -> Iterator[None]:
        """Make an error about a file one row of the table."""
        try:
            yield
        except LlppError as error:
            self._reject_file(name, str(error))
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
                # Not the file's fault: there is no room to unpack it.
                raise
            self._reject_file(name, f"cannot be read: {error.strerror or error}")

    def _reject_file(self, name: str, reason: str) -> None:
        self.counts.entries += 1
        self._reject(name, "", reason)

    def _reject(self, file: str, entry: str, reason: str, nearest: str = "") -> None:
        self.counts.unused += 1
        self.rejected.append(RejectedRow(file, entry, reason, nearest))

    def _find_tool(self, path: Path) -> LabellingTool:
        tools = self._find_fitting(path)
        if not tools:
            raise DataError(
                f"no labelling tool that llpp reads saves such a file; it reads those of {self._list_titles()}"
            )
        return self._choose_tool(tools)

    def _find_fitting(self, path: Path) -> list[LabellingTool]:
        start = read_start(path, START)
        return [tool for tool in self.tools if tool.recognises(path, start)]

    def _choose_tool(self, tools: Sequence[LabellingTool]) -> LabellingTool:
        """The only tool, or among several the one that the project's batches are written for."""
        if len(tools) == 1:
            return tools[0]
        for tool in tools:
            if tool.name == self.project.file.tool:
                return tool
        titles = " and ".join(tool.title for tool in tools)
        raise DataError(f"{titles} may both have saved it, so it is not clear how to read it; export another format")

    def _list_titles(self) -> str:
        return ", ".join(sorted(tool.title for tool in self.tools))

    def _read_file(self, file: LabelFile, tool: LabellingTool, annotator: str) -> None:
        """Read all entries of a file; those that name no annotator are of `annotator`."""
        try:
            content = tool.read(file.path, self.options)
        except LlppError as error:
            # Tools call a file by its path, and that of an archive's member is gone when people read this.
            raise DataError(str(error).replace(str(file.path), file.name)) from error
        except OSError:
            raise
        except Exception as error:
            # A reader's fault, perhaps a plug-in's: the other files can be read all the same.
            log.debug("%s: %s cannot be read", file.name, tool.name, exc_info=True)
            raise DataError(f"cannot be read as a file of {tool.title}: {type(error).__name__}: {error}") from error
        time = format_time(datetime.fromtimestamp(file.path.stat().st_mtime, UTC))
        read = _ReadFile(file.name, tool.name, compute_sha256(file.path), time, tool.dates_files)
        self.remarks += [f"{file.name}: {remark}" for remark in content.remarks]
        unused = self.counts.unused
        for rejection in content.rejections:
            self.counts.entries += 1
            self._reject(file.name, rejection.entry, rejection.reason)

        slowest = find_slowest(content.entries)
        unknown_joints: dict[str, None] = {}
        for entry in content.entries:
            if entry.status == "open":
                continue
            self.counts.entries += 1
            try:
                named = entry if entry.annotator else replace(entry, annotator=annotator)
                self._read_entry(read, named, slowest, unknown_joints)
            except EntryError as error:
                self._reject(file.name, _name_entry(entry), str(error), error.nearest)
            except (TypeError, ValueError, ArithmeticError) as error:
                # Values of another type than a reader promises, perhaps a plug-in's.
                reason = f"has unusable values ({type(error).__name__}: {error}); correct it in {tool.title}"
                self._reject(file.name, _name_entry(entry), reason)
        self._reject_joints(file.name, unknown_joints)
        if self.counts.unused == unused:
            self.read_files[(file.name, tool.name)] = read
        elif self.settings.retract:
            # The answers that seem to be gone may be among what could not be read.
            self.remarks.append(f"{file.name}: no answer is withdrawn, because not all of its entries can be used")

    def _reject_joints(self, name: str, unknown: Iterable[str]) -> None:
        """Say once per file which of its joints the project does not have."""
        joints = self.project.file.joints
        for joint in unknown:
            reason = f"the project has no joint {joint!r}, so its labels are not used; it has {', '.join(joints)}"
            similar = difflib.get_close_matches(joint[:LONGEST], joints, n=1)
            self.rejected.append(RejectedRow(name, f"joint {joint}", reason, similar[0] if similar else ""))

    def _read_entry(
        self, file: _ReadFile, entry: Entry, slowest: float, unknown_joints: MutableMapping[str, None]
    ) -> None:
        """Add what an entry says to the news, unless it is known."""
        if entry.status not in ANSWERS:
            raise EntryError(f"its status is {entry.status!r}; expected {', '.join(ANSWERS)} or open")
        image, row = self._find_image(entry)
        self.answered.add((image, entry.annotator, file.tool))
        size = (int(self.project.index.width[row]), int(self.project.index.height[row]))
        persons: Sequence[PersonLabel] = ()
        origin = ""
        if entry.status == "labelled":
            persons = self._read_persons(entry, image, size, unknown_joints)
            suggestions = self.project.suggested.get(image, ())
            origin = "edited" if suggestions else "drawn"
            # A tool that says "untouched" speaks of what is there, not of a joint or person that was deleted.
            is_untouched = entry.untouched
            if suggestions:
                is_untouched = is_unchanged(persons, suggestions, max(size))
            if is_untouched:
                if not entry.confirmed and self.settings.accept != "unchanged":
                    self.untouched.add(image)
                    return
                origin = "accepted"

        answered_at = parse_time(entry.answered_at) or file.time
        # The date of a file is another one at every export, and makes no news.
        stated = "" if file.has_own_date else parse_time(entry.answered_at)
        key = compute_key(
            image, file.tool, entry.annotator, entry.entry, entry.status, persons, origin, answered_at=stated
        )
        if key in self.known:
            self.counts.known += 1
            return
        self.known.add(key)
        seconds = limit_seconds(entry.seconds, slowest)
        answer = Answer(
            image=image,
            kind=entry.status,
            persons=persons,
            origin=origin,
            annotator=entry.annotator,
            tool=file.tool,
            answered_at=answered_at,
            seconds=seconds,
            source=file.digest,
            file=file.name,
            entry=entry.entry,
            key=key,
        )
        self.news.append(answer)
        for person in persons:
            self.counts.joints += len(person.joints)
            self.counts.outside += sum(not is_inside(point, size) for point in person.joints.values())

    def _find_image(self, entry: Entry) -> tuple[str, int]:
        """Return the id and the row of an entry's image."""
        match = self.project.finder.find(entry)
        if not match.image:
            raise EntryError(match.reason, match.nearest)
        row = self.project.rows[match.image]
        condition = CONDITIONS[self.project.index.condition[row]]
        if condition == "changed" and self.settings.changed != "accept":
            raise EntryError(
                f"the file of {match.image} has changed since the project found it, so that labels may be of another "
                "image; restore the file, or set label.changed=accept"
            )
        return match.image, row

    def _read_persons(
        self, entry: Entry, image: str, size: Size, unknown_joints: MutableMapping[str, None]
    ) -> Sequence[PersonLabel]:
        """Return the persons of an entry that have joints of the project, in pixels of its image."""
        scale = find_scale(entry, size, self.settings.half_pixel)
        known = set(self.project.file.joints)
        labels = []
        for person in entry.persons:
            joints = {}
            for name, (x, y, visible) in person.joints.items():
                if name not in known:
                    unknown_joints[name] = None
                elif visible:
                    joints[name] = read_point(name, scale.move(x, y), visible, size)
            if joints:
                labels.append((person, PersonLabel(person.id, joints, read_box(person, scale))))
        if not labels:
            raise EntryError(
                "it has no labelled joint of the project; if nobody is there, say so in the tool, or skip the image"
            )
        return self._name_persons(image, [label for _, label in labels])

    def _name_persons(self, image: str, labels: Sequence[PersonLabel]) -> Sequence[PersonLabel]:
        """Give persons the project's ids, and sort them by these."""
        if self.project.file.boxes == "image":
            if len(labels) > 1:
                raise EntryError(
                    f"it has {len(labels)} persons, but with dataset.boxes=image each image has one; label one of "
                    "them, or start a new project with dataset.boxes=FILE"
                )
            return (replace(labels[0], id=image),)
        hulls = [find_hull(label.joints) if label.box is None else label.box for label in labels]
        names = [label.id for label in labels]
        ids = assign_person_ids(image, hulls, names, find_boxes(self.project.boxes, image))
        named = [replace(label, id=person) for label, person in zip(labels, ids, strict=True)]
        # image#2 comes before image#10.
        return tuple(sorted(named, key=lambda label: (len(label.id), label.id)))

    def _retract(self) -> None:
        """Withdraw answers that were read from files of the same names as those of this import and are gone there."""
        for who, answer in find_standing(self.journal).items():
            file = self.read_files.get((answer.file, answer.tool))
            if file is None or who in self.answered:
                continue
            retracted = replace(
                answer,
                kind="retracted",
                persons=(),
                origin="",
                answered_at=file.time,
                seconds=None,
                source=file.digest,
                key=_name_retraction(answer),
            )
            self.news.append(retracted)


def _name_retraction(answer: Answer) -> str:
    return hashlib.sha256(f"retracted {answer.key}".encode()).hexdigest()


def _list_copies(folder: LabellingFolder) -> dict[str, set[str]]:
    """The names of images' copies in all batches, and in those of `llpp check` → ids."""
    tables = [read_asked(folder, number) for number in list_batches(folder)]
    tables += [read_rows(path / "asked.csv") for path in list_check_dirs(folder).values()]
    copies: dict[str, set[str]] = {}
    for rows in tables:
        for row in rows or []:
            copies.setdefault(row.name, set()).add(row.image)
    return copies


def _name_entry(entry: Entry) -> str:
    """What an entry is called in messages."""
    names = [entry.image, *entry.names, entry.entry]
    return next((name[-LONGEST:] for name in names if name), "")
