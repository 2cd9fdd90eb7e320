"""Categories of COCO's JSON: which of them are wanted, and their joints."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llpp.datasets.coco.oddities import REMEDY, Oddities, format_value
from llpp.datasets.coco.values import Entry, Id, check_name, parse_id, simplify_id
from llpp.errors import ConfigError, DataError

Edges = tuple[tuple[int, int], ...]
Wanted = Id | Sequence[Id] | None


@dataclass(frozen=True)
class Category:
    """A kind of thing that has joints, or several kinds as one."""

    name: str
    joints: tuple[str, ...]
    edges: Edges  # positions in `joints`
    dropped: int  # listed edges that do not connect two joints
    positions: Mapping[Id, tuple[int, ...]]  # by the id of each kind: where its own joints are in `joints`
    names: Mapping[Id, str]  # of all categories of the file, by id


def choose_categories(oddities: Oddities, entries: list[Entry], wanted: Wanted) -> Category:
    """Return the wanted categories as one.

    Args:
        oddities: counts categories that are merged although nobody asked for it.
        entries: the file's categories.
        wanted: a name or id; a list of them, whose joints are united by name; None: all that have keypoints, which
            must be the same ones.

    Raises:
        DataError: no category has keypoints, or a chosen one is mistyped.
        ConfigError: the wanted category does not exist, or several have different keypoints and none is chosen.
    """
    path = oddities.path
    named = []
    for entry in entries:
        if entry.get("keypoints"):
            named.append((check_name(path, "a category", entry.get("name")), entry))
    if not named:
        raise DataError(f"{path} has no category with keypoints; expected a file like person_keypoints_val2017.json")
    choices = ", ".join(dict.fromkeys(repr(name) for name, _ in named))
    written = "null" if wanted is None else repr(wanted)
    refusal = ConfigError(
        f"dataset.category={written} does not choose one of the categories with keypoints in {path}; set it to one "
        f"of {choices}, or to a list of them, whose joints are then united by name"
    )
    alternatives: list[Any] = list(wanted) if _is_list(wanted) else [wanted]  # type: ignore[arg-type]  # it is one
    chosen: list[Entry] = []
    for one in alternatives:
        found = [entry for name, entry in named if one is None or _is_called(entry, name, one)]
        if not found:
            raise refusal
        chosen += [entry for entry in found if entry not in chosen]
    categories = [_parse_category(oddities, entry) for entry in chosen]
    if len({category.joints for category in categories}) > 1 and not _is_list(wanted):
        raise refusal
    if len(categories) > 1 and not _is_list(wanted):
        merged = ", ".join(repr(category.name) for category in categories)
        oddities.accept("sets of categories with the same joints are read as one category", merged)
    return _unite(oddities, categories, _collect_names(entries))


def _is_list(wanted: Wanted) -> bool:
    return isinstance(wanted, Sequence) and not isinstance(wanted, str)


def _is_called(entry: Entry, name: str, wanted: Any) -> bool:
    """Whether a category has the wanted name or id; ids may be written as text."""
    return wanted in (name, entry.get("id")) or str(wanted) == entry.get("id")


def _parse_category(oddities: Oddities, entry: Entry) -> Category:
    path = oddities.path
    name = check_name(path, "a category", entry.get("name"))
    what = f"category {name!r}"
    if not isinstance(entry["keypoints"], list):
        raise DataError(f"{path}: the keypoints of {what} are no list of names; {REMEDY}")
    joints = tuple(check_name(path, f"a keypoint of {what}", joint) for joint in entry["keypoints"])
    if len(set(joints)) != len(joints):
        raise DataError(f"{path}: {what} names a keypoint twice; {REMEDY}")
    edges, dropped = _parse_edges(entry.get("skeleton"), len(joints))
    number = parse_id(oddities, what, "id", entry.get("id"))
    return Category(name, joints, edges, dropped, {number: tuple(range(len(joints)))}, {})


def _parse_edges(listed: Any, count: int) -> tuple[Edges, int]:
    """Return the edges as positions of `count` joints, and how many listed ones do not connect two joints."""
    if not isinstance(listed, list):
        return (), 0
    # COCO counts joints from 1, some tools from 0: a single 0 gives these away.
    first = 1
    for pair in listed:
        if isinstance(pair, list) and 0 in pair:
            first = 0
    edges = []
    for pair in listed:
        if not isinstance(pair, list) or len(pair) != 2:
            continue
        start, end = pair
        if _is_position(start, first, count) and _is_position(end, first, count) and start != end:
            edges.append((start - first, end - first))
    return tuple(edges), len(listed) - len(edges)


def _is_position(value: Any, first: int, count: int) -> bool:
    """Check that a value is one of `count` whole numbers from `first` on; True is none."""
    return type(value) is int and first <= value < first + count


def _collect_names(entries: list[Entry]) -> dict[Id, str]:
    """Return the names of all categories by id; what is wrong with those that are not chosen does not matter."""
    names: dict[Id, str] = {}
    for entry in entries:
        number = simplify_id(entry.get("id"))
        if isinstance(number, int | float | str):
            names[number] = format_value(entry.get("name"))  # type: ignore[index]  # equal to an id, if it is a float
    return names


def _unite(oddities: Oddities, categories: Sequence[Category], names: Mapping[Id, str]) -> Category:
    """Return one category with the joints of all, by name, in the order in which they are met."""
    joints = tuple(dict.fromkeys(joint for category in categories for joint in category.joints))
    place = {joint: position for position, joint in enumerate(joints)}
    edges: dict[tuple[int, int], None] = {}
    positions: dict[Id, tuple[int, ...]] = {}
    for category in categories:
        own = tuple(place[joint] for joint in category.joints)
        for start, end in category.edges:
            edges[own[start], own[end]] = None
        for number in category.positions:
            if positions.get(number, own) != own:
                raise DataError(
                    f"{oddities.path}: category id {number!r} occurs more than once, with other keypoints; {REMEDY}"
                )
            positions[number] = own
    return Category(
        name=", ".join(dict.fromkeys(category.name for category in categories)),
        joints=joints,
        edges=tuple(edges) if len(categories) > 1 else categories[0].edges,
        dropped=sum(category.dropped for category in categories),
        positions=positions,
        names=names,
    )
