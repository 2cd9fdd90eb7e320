"""The joints of a project, from any file that names joints."""

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llpp.datasets.coco.categories import choose_categories
from llpp.datasets.coco.oddities import MAX_NAME_LENGTH, Oddities
from llpp.datasets.flip_pairs import AUTO, FlipPairs, resolve_flip_pairs
from llpp.datasets.joint_names import find_torso_diagonals
from llpp.datasets.mpii.persons import JOINTS as MPII_JOINTS
from llpp.datasets.pose import LSP_JOINTS, LSP_SKELETON, Skeleton
from llpp.errors import ConfigError, DataError
from llpp.files import read_bytes, read_start, read_text

Edges = tuple[tuple[int, int], ...]
MAX_YAML_BYTES = 1 << 22
MAX_JSON_BYTES = 1 << 31
MAX_HEADER_BYTES = 1 << 20  # of a table, in which its joints are named
MAX_JOINTS = 1000
NOT_SYMMETRIC = 1  # SLEAP's code of an edge to draw; 2 connects left and right
COCO_JOINTS = (
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow",
    "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle",
    "right_ankle",
)  # fmt: skip
COCO_EDGES = (
    (15, 13), (13, 11), (16, 14), (14, 12), (11, 12), (5, 11), (6, 12), (5, 6), (5, 7), (6, 8), (7, 9), (8, 10),
    (1, 2), (0, 1), (0, 2), (1, 3), (2, 4), (3, 5), (4, 6),
)  # fmt: skip
MPII_EDGES = (
    (0, 1), (1, 2), (2, 6), (6, 3), (3, 4), (4, 5), (6, 7), (7, 8), (8, 9), (10, 11), (11, 12), (12, 7), (7, 13),
    (13, 14), (14, 15),
)  # fmt: skip
CHOICES = (
    "a YAML list of names, a COCO file, DeepLabCut's config.yaml or CollectedData….csv, Lightning Pose's "
    "project.yaml or CollectedData.csv, a .slp file of SLEAP, coco17, mpii16, lsp14, or names as in "
    "dataset.joints=[nose,tail]"
)


@dataclass(frozen=True)
class NamedJoints:
    """Joints and the lines to draw between them."""

    names: tuple[str, ...]
    edges: Edges  # positions in `names`
    source: str  # where they are from, in words


PUBLISHED = {
    "coco17": NamedJoints(COCO_JOINTS, COCO_EDGES, "coco17"),
    "mpii16": NamedJoints(MPII_JOINTS, MPII_EDGES, "mpii16"),
    "lsp14": NamedJoints(LSP_JOINTS, LSP_SKELETON.edges, "lsp14"),
}


def build_skeleton(names: Sequence[str], edges: Sequence[Sequence[int]], flip_pairs: FlipPairs = AUTO) -> Skeleton:
    """Return a skeleton, whose left–right pairs and torso are read from the names of its joints.

    Raises:
        ConfigError: see `resolve_flip_pairs`.
    """
    joints = tuple(names)
    pairs, unpaired = resolve_flip_pairs(flip_pairs, joints)
    lines = tuple((int(start), int(end)) for start, end in edges)
    return Skeleton(joints, pairs, lines, find_torso_diagonals(joints), unpaired)


def read_joints(setting: str | Sequence[str] | None, root: Path, inbox: Path) -> NamedJoints:
    """Return the joints that `dataset.joints` stands for; None looks for one file in the root and the inbox.

    Raises:
        ConfigError: nothing names joints, or several files name different ones.
        DataError: the file that is named does not exist, or names no joints.
    """
    if setting is None:
        return _search_joints(root, inbox)
    if not isinstance(setting, str):
        if not isinstance(setting, list | tuple):
            raise ConfigError(f"dataset.joints={setting!r} is invalid; expected {CHOICES}")
        names = _check_names("dataset.joints", setting)
        return NamedJoints(names, (), "dataset.joints")
    if setting in PUBLISHED:
        return PUBLISHED[setting]
    for path in (Path(setting), root / setting, inbox / setting):
        if path.is_file():
            return read_joint_file(path)
    raise DataError(f"dataset.joints={setting}: there is no such file, here or in {root}; expected {CHOICES}")


def _search_joints(root: Path, inbox: Path) -> NamedJoints:
    """Return the joints of the files in some places, if all of these agree."""
    candidates: list[Path] = []
    for folder in (root, inbox):
        if folder.is_dir():
            candidates += sorted(path for path in folder.iterdir() if path.suffix.lower() in READERS)
    candidates += sorted(root.glob("labeled-data/*/CollectedData*.csv"))
    found: list[NamedJoints] = []
    for path in candidates:
        try:
            joints = read_joint_file(path)
        except (DataError, ConfigError):
            # Any other YAML or JSON may be there, too.
            continue
        found.append(joints)
    distinct = {frozenset(joints.names) for joints in found}
    if len(distinct) == 1:
        # One file may have names only, another one edges, too.
        return next((joints for joints in found if joints.edges), found[0])
    if not found:
        raise ConfigError(
            f"dataset.joints=null, and no file in {root} or {inbox} names joints; set dataset.joints=… to {CHOICES}"
        )
    files = ", ".join(joints.source for joints in found[:5])
    raise ConfigError(f"dataset.joints=null, and files name different joints ({files}); set dataset.joints to one")


def read_joint_file(path: Path) -> NamedJoints:
    """Return the joints that a file names.

    Raises:
        DataError: it names none, or cannot be read.
        ConfigError: it has several skeletons, or what reads it is not installed.
    """
    read = READERS.get(path.suffix.lower())
    if read is None:
        raise DataError(f"{path} names no joints; expected {CHOICES}")
    try:
        names, edges = read(path)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error})") from error
    joints = _check_names(str(path), names)
    places = {name: place for place, name in enumerate(joints)}
    lines = []
    for start, end in edges:
        if start in places and end in places and start != end:
            lines.append((places[start], places[end]))
    return NamedJoints(joints, tuple(lines), str(path))


NamesAndEdges = tuple[list[Any], list[tuple[str, str]]]


def _check_names(source: str, names: Sequence[Any]) -> tuple[str, ...]:
    """Return names as text; DataError unless each can be printed and is there once."""
    joints = []
    for name in names:
        # YAML reads 7 as a number, and a joint may be called so.
        text = str(name).strip() if isinstance(name, str | int) else ""
        if not text.isprintable() or not 0 < len(text) <= MAX_NAME_LENGTH:
            raise DataError(f"{source} names the joint {name!r}; expected printable text; {CHOICES}")
        joints.append(text)
    if len(set(joints)) != len(joints):
        repeated = next(name for name in joints if joints.count(name) > 1)
        raise DataError(f"{source} names the joint {repeated!r} twice; expected every joint once")
    if not 0 < len(joints) <= MAX_JOINTS:
        raise DataError(f"{source} names {len(joints):,} joints; expected 1 to {MAX_JOINTS}: {CHOICES}")
    return tuple(joints)


def _read_yaml(path: Path) -> NamesAndEdges:
    import yaml  # here: most projects are opened without reading any

    try:
        content = yaml.safe_load(read_text(path, MAX_YAML_BYTES))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise DataError(f"{path} is no YAML ({' '.join(str(error).split())})") from error
    if isinstance(content, list):
        return content, []
    if not isinstance(content, Mapping):
        raise DataError(f"{path} names no joints; expected {CHOICES}")
    if isinstance(content.get("joints"), list):
        return content["joints"], _list_edges(content.get("edges"))
    if isinstance(content.get("keypoint_names"), list):
        return content["keypoint_names"], []
    if isinstance(content.get("multianimalbodyparts"), list):
        unique = content.get("uniquebodyparts")
        names = [*content["multianimalbodyparts"], *(unique if isinstance(unique, list) else [])]
        return list(dict.fromkeys(map(str, names))), _list_edges(content.get("skeleton"))
    if isinstance(content.get("bodyparts"), list):
        return content["bodyparts"], _list_edges(content.get("skeleton"))
    raise DataError(f"{path} names no joints; expected {CHOICES}")


def _list_edges(listed: Any) -> list[tuple[str, str]]:
    """Return the pairs of names in a list, without what is no pair."""
    edges = []
    for pair in listed if isinstance(listed, list) else []:
        if isinstance(pair, list) and len(pair) == 2:
            edges.append((str(pair[0]), str(pair[1])))
    return edges


def _read_json(path: Path) -> NamesAndEdges:
    try:
        content = json.loads(read_bytes(path, MAX_JSON_BYTES))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is no JSON ({error})") from error
    categories = content.get("categories") if isinstance(content, dict) else None
    if not isinstance(categories, list) or not all(isinstance(entry, dict) for entry in categories):
        raise DataError(f"{path} is no COCO file, so that it names no joints; expected {CHOICES}")
    try:
        category = choose_categories(Oddities(path, strict=False), categories, None)
    except ConfigError as error:
        raise ConfigError(
            f"{path} has several categories with different joints; write the names into a YAML list and set "
            "dataset.joints to that file"
        ) from error
    edges = [(category.joints[start], category.joints[end]) for start, end in category.edges]
    return list(category.joints), edges


def _read_csv(path: Path) -> NamesAndEdges:
    """Return the body parts in the header of DeepLabCut's and Lightning Pose's tables."""
    start = read_start(path, MAX_HEADER_BYTES).decode(errors="replace")
    try:
        for number, cells in enumerate(csv.reader(io.StringIO(start))):
            if cells and cells[0].strip() == "bodyparts":
                return list(dict.fromkeys(cell for cell in cells[1:] if cell.strip())), []
            if number > 3:
                break
    except csv.Error as error:
        raise DataError(f"{path} is no table ({error})") from error
    raise DataError(f"{path} has no row bodyparts in its header; expected {CHOICES}")


def _read_slp(path: Path) -> NamesAndEdges:
    """Return the nodes and edges of SLEAP's skeletons, united by name."""
    try:
        import h5py
    except ImportError as error:
        raise ConfigError(f"{path} is read by h5py, which is not installed; pip install 'llpp[label]'") from error
    try:
        with h5py.File(path, "r") as file:
            text = file["metadata"].attrs["json"]
        content = json.loads(text)
        nodes = [str(node["name"]) for node in content["nodes"]]
        names: dict[str, None] = {}
        edges: dict[tuple[str, str], None] = {}
        for skeleton in content["skeletons"]:
            names.update(dict.fromkeys(nodes[node["id"]] for node in skeleton["nodes"]))
            for link in _list_drawn_links(skeleton["links"]):
                edges[nodes[link["source"]], nodes[link["target"]]] = None
    except OSError:
        raise
    except (KeyError, ValueError, TypeError, IndexError, AttributeError, RecursionError) as error:
        raise DataError(f"{path} has no skeleton that can be read; save it again with SLEAP, or {CHOICES}") from error
    return list(names), list(edges)


def _list_drawn_links(links: Sequence[Any]) -> list[Any]:
    """Return the links that are no symmetries. The first link of a kind says which; later ones refer to it."""
    kinds: list[int] = []
    drawn = []
    for link in links:
        kind = link.get("type") or {}
        if "py/reduce" in kind:
            kinds.append(kind["py/reduce"][1]["py/tuple"][0])
            code = kinds[-1]
        else:
            place = kind.get("py/id", 1) - 1
            code = kinds[place] if 0 <= place < len(kinds) else NOT_SYMMETRIC
        if code == NOT_SYMMETRIC:
            drawn.append(link)
    return drawn


READERS: Mapping[str, Callable[[Path], NamesAndEdges]] = {
    ".yaml": _read_yaml,
    ".yml": _read_yaml,
    ".json": _read_json,
    ".csv": _read_csv,
    ".slp": _read_slp,
}
