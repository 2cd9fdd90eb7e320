"""Every labelling tool of conf/oracle: what is written is read back, whatever people did to it in between.

What people do in a tool is in `helpers/annotators`, one module for each, called as its YAML.
"""

import copy
import importlib
import itertools
import json
import math
import os
import pickle
import random
from pathlib import Path
from xml.etree import ElementTree

import pytest
from helpers.label_batches import (
    JOINTS,
    SIZES,
    SUGGESTED,
    copy_images,
    find_entries,
    in_pixels,
    make_batch,
)
from hydra.utils import instantiate
from omegaconf import OmegaConf

from llpp.config.compose import conf_dir
from llpp.errors import DataError
from llpp.oracles.tool import LabellingTool, ReadOptions, WriteOptions

CONFIGS = {path.stem: OmegaConf.load(path) for path in sorted((conf_dir() / "oracle").glob("*.yaml"))}
TOOLS = {name: config.oracle.tool for name, config in CONFIGS.items() if "tool" in config.get("oracle", {})}
START = 1 << 16
SAMPLES = Path(__file__).parents[3] / "shared/data/field_samples"
ENDINGS = {"label_studio": ".json", "coco": ".json", "cvat": ".xml", "sleap": ".slp", "yolo": ".txt"}
DRAWN = {"nose": (70.5, 31.25, 2), "tail": (71.0, 120.0, 2)}


def list_tools(ending):
    return [name for name in TOOLS if ENDINGS.get(name) == ending]


def build(name):
    return instantiate(TOOLS[name])


def read(tool, paths, **options):
    """The contents of all files, as one."""
    entries, rejections, remarks = [], [], []
    for path in paths:
        content = tool.read(path, ReadOptions(joints=JOINTS, **options))
        entries += content.entries
        rejections += content.rejections
        remarks += content.remarks
    return type(content)(entries, rejections, remarks)


def list_files(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


class Work:
    """A batch that was written for a tool, and what the tool has saved of it."""

    def __init__(self, name, root, several=False, half_pixel=False):
        self.tool = build(name)
        self.person = importlib.import_module(f"helpers.annotators.{name}")
        self.batch = make_batch(root / "mice", several)
        self.folder = root / "labelling" / "mice" / "round_00"
        copy_images(self.batch, self.folder)
        self.written = self.tool.write(self.batch, self.folder, WriteOptions(half_pixel=half_pixel))
        inbox = root / "labelling" / "mice" / "inbox"
        inbox.mkdir()
        self.saved = self.person.save(self.batch, self.written, inbox)

    def read(self, **options):
        return read(self.tool, self.saved, **options)

    def find(self, number, **options):
        """The entries about an image."""
        return find_entries(self.read(**options), self.batch.images[number])

    def find_joints(self, number):
        """The joints of the only person of the only labelled entry about an image."""
        (entry,) = [entry for entry in self.find(number) if entry.status == "labelled"]
        (joints,) = in_pixels(entry, self.batch.images[number])
        return entry, joints

    def list_answers(self):
        """All that is said, as values that can be compared: names, status, annotator and persons."""
        answers = []
        for entry in self.read().entries:
            persons = sorted(repr(sorted(person.joints.items())) for person in entry.persons)
            answers.append((tuple(sorted(entry.names)), entry.status, entry.annotator, tuple(persons)))
        return sorted(answers)

    def need(self, edit):
        if not hasattr(self.person, edit):
            pytest.skip(f"{self.tool.title} cannot say that: {edit}")
        return getattr(self.person, edit)

    def expect(self, joints):
        """What a joint comes back as in tools that know nothing of occlusion."""
        if self.person.KNOWS_OCCLUDED:
            return joints
        return {name: (x, y, 2) for name, (x, y, _) in joints.items()}


@pytest.fixture(params=TOOLS)
def name(request):
    return request.param


@pytest.fixture
def work(name, tmp_path):
    return Work(name, tmp_path)


def assert_equal(found, expected, rounding):
    assert found.keys() == expected.keys()
    for joint, (x, y, visible) in expected.items():
        assert found[joint][:2] == pytest.approx((x, y), abs=rounding), joint
        assert found[joint][2] == visible, joint


def test_a_tool_has_one_name_in_three_places(name):
    tool = build(name)
    assert isinstance(tool, LabellingTool) and tool.name == name and tool.title
    assert type(tool).__name__.lower() == name.replace("_", "") + "tool"
    assert type(tool).__module__ == f"llpp.oracles.{name}"


def test_how_to_label_is_said_in_three_sentences(work):
    steps = work.tool.describe_steps(work.batch, work.written)
    assert len(steps) == 3
    for step in steps:
        assert step == step.strip() and step.endswith(".") and "\n" not in step and len(step) < 900


def test_what_nobody_has_changed_is_no_label(work):
    content = work.read()
    assert not content.rejections
    for number, asked in enumerate(work.batch.images):
        for entry in find_entries(content, asked):
            persons = in_pixels(entry, asked)
            if number >= len(SUGGESTED):
                assert entry.status == "open" and not persons, "nothing was suggested, so that nothing is said"
            elif entry.status == "labelled":
                assert entry.untouched or not work.person.KNOWS_UNTOUCHED
                (joints,) = persons
                assert_equal(joints, work.expect(SUGGESTED[number]), work.person.ROUNDING)
            else:
                assert entry.status == "open"


def test_the_same_batch_gives_the_same_bytes(name, tmp_path):
    first = Work(name, tmp_path / "a")
    second = Work(name, tmp_path / "b")
    files = {}
    for path in first.written:
        # Tools that number their folders by what is there may name them by where they are, but not by the time.
        relative = path.relative_to(tmp_path / "a")
        files[relative] = path.read_bytes()
        assert (tmp_path / "b" / relative).read_bytes() == files[relative]
    assert len(second.written) == len(first.written)

    # After an interruption half of a file may be there, or a file that has not got its name yet.
    for path in first.written:
        path.write_bytes(path.read_bytes()[: len(path.read_bytes()) // 2])
        path.with_name(f".{path.name}.part").write_bytes(b"half")
    again = first.tool.write(first.batch, first.folder, WriteOptions())
    assert {path.relative_to(tmp_path / "a"): path.read_bytes() for path in again} == files


def test_a_moved_joint_comes_back_where_it_was_put(work):
    work.need("move")(work.saved, work.batch.images[0], "left ear", (12.5, -3.25))
    entry, joints = work.find_joints(0)
    assert not entry.untouched
    x, y, visible = SUGGESTED[0]["left ear"]
    expected = {**SUGGESTED[0], "left ear": (x + 12.5, y - 3.25, visible)}
    assert_equal(joints, work.expect(expected), work.person.ROUNDING)


def test_a_joint_that_was_removed_is_not_there(work):
    work.need("remove")(work.saved, work.batch.images[0], "tail")
    entry, joints = work.find_joints(0)
    assert not entry.untouched
    expected = {joint: place for joint, place in SUGGESTED[0].items() if joint != "tail"}
    assert_equal(joints, work.expect(expected), work.person.ROUNDING)


def test_what_was_drawn_without_a_suggestion_comes_back(work):
    drawn = {**DRAWN, "left ear": (55.5, 12.0, 1)}
    work.need("draw")(work.saved, work.batch.images[2], drawn)
    entry, joints = work.find_joints(2)
    assert not entry.untouched
    assert_equal(joints, work.expect(drawn), work.person.ROUNDING)


@pytest.mark.parametrize("number", [0, 2], ids=["suggested", "blank"])
def test_nobody_there_is_an_answer(work, number):
    options = getattr(work.person, "EMPTY_OPTIONS", {})
    work.need("answer_empty")(work.saved, work.batch.images[number])
    assert work.person.SAYS_EMPTY
    (entry,) = work.find(number, **options)
    assert entry.status == "empty" and not entry.persons


@pytest.mark.parametrize("number", [0, 2], ids=["suggested", "blank"])
def test_a_skipped_image_has_no_label(work, number):
    work.need("skip")(work.saved, work.batch.images[number])
    assert {entry.status for entry in work.find(number)} <= {"skipped", "open"}
    assert work.person.SAYS_SKIPPED


def test_an_image_that_is_left_out_says_nothing_and_changes_no_other(work):
    before = {number: work.find(number) for number in range(1, len(SIZES))}
    work.need("leave_out")(work.saved, work.batch.images[0])
    assert all(entry.status == "open" for entry in work.find(0))
    assert {number: work.find(number) for number in range(1, len(SIZES))} == before


def test_images_of_another_person_come_along(work):
    before = work.list_answers()
    work.need("add")(work.saved, "others/extra one.png", (300, 200), DRAWN)
    content = work.read()
    found = [entry for entry in content.entries if any("extra" in name for name in entry.names)]
    (entry,) = found
    assert entry.status == "labelled"
    asked = make_batch(work.batch.root).images[3]  # an image of the same size
    (joints,) = in_pixels(entry, asked)
    assert_equal(joints, DRAWN, work.person.ROUNDING)
    others = [answer for answer in work.list_answers() if not any("extra" in name for name in answer[0])]
    assert others == before


def test_the_order_in_a_file_does_not_matter(work):
    before = work.list_answers()
    work.need("reverse")(work.saved)
    assert work.list_answers() == before


def test_an_entry_that_is_there_twice_invents_nothing(work):
    before = work.list_answers()
    work.need("duplicate")(work.saved, work.batch.images[0])
    after = work.list_answers()
    assert set(after) <= set(before), "no other names, persons or joints"
    others = [answer for answer in before if answer not in set(before) - set(after)]
    assert set(others) == set(after)
    content = work.read()
    lost = set(before) - set(after)
    assert len(content.rejections) >= len(lost), "what is lost is said"


def test_several_persons_of_one_image_stay_apart(name, tmp_path):
    if not importlib.import_module(f"helpers.annotators.{name}").SEVERAL_PERSONS:
        pytest.skip(f"{build(name).title} has one person in an image")
    work = Work(name, tmp_path, several=True)
    work.need("move")(work.saved, work.batch.images[0], "nose", (2.0, 3.0), person=1)
    (entry,) = [entry for entry in work.find(0) if entry.status == "labelled"]
    first, second = sorted(in_pixels(entry, work.batch.images[0]), key=len, reverse=True)
    assert_equal(first, work.expect(SUGGESTED[0]), work.person.ROUNDING)
    assert_equal(second, {"nose": (202.5, 63.0, 2), "tail": (210.0, 160.0, 2)}, work.person.ROUNDING)


def test_half_a_pixel_is_added_and_taken_off(name, tmp_path):
    work = Work(name, tmp_path, half_pixel=True)
    shifted = work.find(0, half_pixel=True)
    labelled = [entry for entry in shifted if entry.status == "labelled"]
    for entry in labelled:
        (joints,) = in_pixels(entry, work.batch.images[0])
        assert_equal(joints, work.expect(SUGGESTED[0]), work.person.ROUNDING + 1e-6)


def test_a_file_is_recognised_by_its_tool_only(work):
    ignored = getattr(work.person, "NOT_ANSWERS", ())
    for path in {*work.written, *work.saved}:
        start = path.read_bytes()[:START]
        recognised = [name for name in TOOLS if build(name).recognises(path, start)]
        if path.name in ignored:
            assert not recognised, path.name
        else:
            assert recognised == [work.tool.name], path.name


def test_a_large_file_is_recognised_by_its_start(work):
    for path in work.saved:
        content = path.read_bytes()
        if len(content) > 1 << 10 and work.tool.recognises(path, content):
            assert work.tool.recognises(path, content[: 3 * len(content) // 4]), path.name


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="the sample files of other projects are not here")
def test_no_file_of_other_projects_is_recognised_by_two_tools():
    """CSV files of one animal are the same in DeepLabCut and Lightning Pose, so that either may have them."""
    tools = {name: build(name) for name in TOOLS}
    counts = dict.fromkeys(TOOLS, 0)
    for path in sorted(SAMPLES.rglob("*")):
        if not path.is_file():
            continue
        with path.open("rb") as file:
            start = file.read(START)
        recognised = [name for name, tool in tools.items() if tool.recognises(path, start)]
        assert len(recognised) <= 1, (path, recognised)
        folder = path.relative_to(SAMPLES).parts[0]
        if recognised and folder in ("label_studio", "coco", "sleap"):
            assert recognised == [folder], path
        for name in recognised:
            counts[name] += 1
    assert all(counts[name] for name in ("label_studio", "cvat", "coco")), counts


HOSTILE_FILES = {
    "empty": b"",
    "zeros": bytes(4096),
    "nested_lists": b"[" * 100_000,
    "nested_objects": b'{"images":' * 50_000,
    "nested_tasks": b'[{"data":{"image":"a.png"},"annotations":' + b"[" * 100_000,
    "nested_elements": b"<annotations>" + b"<image>" * 50_000,
    "entities": b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">'
    b'<!ENTITY c "&b;&b;&b;&b;&b;&b;">]><annotations><image name="&c;" width="1" height="1"/></annotations>',
    "outer_file": b'<!DOCTYPE a [<!ENTITY a SYSTEM "file:///etc/passwd">]>'
    b'<annotations><image name="&a;"/></annotations>',
    "other_encoding": '<?xml version="1.0" encoding="utf-16"?><!DOCTYPE a><annotations/>'.encode("utf-16"),
    "digits": b'{"images":[],"annotations":[],"categories":[' + b"9" * 100_000 + b"]}",
    "empty_zip": b"PK\x05\x06" + bytes(18),
    "broken_zip": b"PK\x03\x04" + bytes(200),
    "hdf5": b"\x89HDF\r\n\x1a\n" + bytes(500),
    "pickle": pickle.dumps({"labels": [1, 2, 3]}),
    "wide_csv": b"scorer," + b"a," * 20_000 + b"\nbodyparts\ncoords\n",
    "not_unicode": b'[{"data": {"image": "\xff\xfe"}, "annotations": []}]',
}


def assert_sane(content):
    for entry in content.entries:
        assert entry.status in ("labelled", "empty", "skipped", "open")
        assert (entry.status == "labelled") == bool(entry.persons) or entry.status in ("open", "skipped")
        assert entry.names or entry.image
        for text in (*entry.names, entry.image, entry.annotator, entry.entry, entry.answered_at):
            assert isinstance(text, str)
            assert not any(ord(character) < 32 for character in text)
            text.encode()
        for text in (*entry.names, entry.image):
            assert ".." not in text.replace("\\", "/").split("/"), "an image is in the project's folder"
        assert entry.seconds is None or 0 <= entry.seconds < math.inf
        for person in entry.persons:
            for joint, (x, y, visible) in person.joints.items():
                assert isinstance(joint, str) and visible in (1, 2)
                assert math.isfinite(x) and math.isfinite(y) and abs(x) < 1e8 and abs(y) < 1e8
            assert person.box is None or all(math.isfinite(side) for side in person.box)
    for rejection in content.rejections:
        assert rejection.reason and not rejection.reason.endswith(".")
        assert not any(ord(character) < 32 for character in rejection.entry + rejection.reason)


def read_hostile(tool, path):
    """Read a file that may be anything: DataError, or what is left of it."""
    tool.recognises(path, path.read_bytes()[:START])
    try:
        content = tool.read(path, ReadOptions(joints=JOINTS, empty="reviewed"))
    except DataError as error:
        assert "\n" not in str(error) and str(path.name) in str(error)
        return None
    assert_sane(content)
    return content


@pytest.mark.parametrize("kind", HOSTILE_FILES)
def test_files_that_are_something_else_are_refused_in_a_sentence(name, tmp_path, kind):
    path = tmp_path / f"hostile{ENDINGS.get(name, '.csv')}"
    path.write_bytes(HOSTILE_FILES[kind])
    content = read_hostile(build(name), path)
    assert content is None or not any(entry.persons for entry in content.entries)
    assert list_files(tmp_path) == {path: HOSTILE_FILES[kind]}


def test_pipes_and_folders_are_refused(name, tmp_path):
    tool = build(name)
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path / "missing.json"):
        with pytest.raises(DataError):
            tool.read(path, ReadOptions(joints=JOINTS))


def test_a_file_of_gigabytes_is_refused_unread_or_read_in_part(work):
    path = work.saved[0]
    before = work.list_answers()
    os.truncate(path, 1 << 33)  # takes no room: what follows the content is a hole
    try:
        work.tool.read(path, ReadOptions(joints=JOINTS))
    except DataError as error:
        assert path.name in str(error)
    else:
        assert work.list_answers() == before, "HDF5 says where its values are"


def count_tries(work, most):
    """Fewer where every file is read in a process of its own."""
    return min(most, getattr(work.person, "TRIES", most))


def test_a_truncated_file_invents_nothing(work):
    complete = set(work.list_answers())
    for path in work.saved:
        content = path.read_bytes()
        parts = count_tries(work, 40)
        for part in range(parts):
            path.write_bytes(content[: len(content) * part // parts])
            found = read_hostile(work.tool, path)
            if found is not None and not path.name.endswith((".csv", ".txt")):
                assert set(work.list_answers()) <= complete
        path.write_bytes(content)


def test_spoilt_bytes_raise_nothing_but_data_errors(work):
    draw = random.Random(4)
    before = {path: path.read_bytes() for path in work.saved}
    files = list_files(work.folder)
    for path, content in before.items():
        for _ in range(count_tries(work, 150)):
            spoilt = bytearray(content)
            for _ in range(draw.choice((1, 3, 30))):
                spoilt[draw.randrange(len(spoilt))] = draw.randrange(256)
            path.write_bytes(spoilt)
            read_hostile(work.tool, path)
        path.write_bytes(content)
    assert list_files(work.folder) == files, "reading writes nothing"


VALUES = (
    None, True, False, 0, -1, 1e308, -1e5, 10**400, float("nan"), float("inf"), -0.0, "", "1", "nan", "nose", "tail",
    "../../etc/passwd", "/etc/passwd", "..\\..\\a.png", "a\x00b", "a\nb\x1b[31m", "\ud800", "x" * 2000, "=cmd()",
    [], {}, [[]], [{}], {"": []}, [None], [1, 2, 3], {"id": 1},
)  # fmt: skip


def mutate(value, draw):
    """Replace, remove or repeat one value somewhere in JSON."""
    places = []

    def collect(node):
        keys = list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
        for key in keys:
            places.append((node, key))
            collect(node[key])

    collect(value)
    for _ in range(draw.choice((1, 1, 2, 5))):
        node, key = draw.choice(places)
        is_gone = key not in node if isinstance(node, dict) else key >= len(node)
        if is_gone:
            continue
        kind = draw.randrange(4)
        if kind == 0:
            del node[key]
        elif kind == 1 and isinstance(node, list):
            node.append(node[key])
        else:
            node[key] = draw.choice(VALUES)
    return value


@pytest.mark.parametrize("name", list_tools(".json"))
def test_json_with_any_value_anywhere_raises_nothing_but_data_errors(name, tmp_path):
    work = Work(name, tmp_path)
    draw = random.Random(5)
    for path in work.saved:
        content = path.read_bytes()
        for _ in range(400):
            path.write_text(json.dumps(mutate(json.loads(content), draw)))
            read_hostile(work.tool, path)


@pytest.mark.parametrize("name", list_tools(".xml"))
def test_xml_with_any_value_anywhere_raises_nothing_but_data_errors(name, tmp_path):
    work = Work(name, tmp_path)
    draw = random.Random(6)
    texts = [text for text in VALUES if isinstance(text, str) and text.isprintable()]
    texts += ["1e400", "-5", "1,2,3", "1;2", "done", "skip", "0.5,nan", "infinity,1", "1,", "person"]
    for path in work.saved:
        content = path.read_bytes()
        for _ in range(300):
            root = ElementTree.fromstring(content)
            elements = list(root.iter())
            for _ in range(draw.choice((1, 2, 5))):
                element = draw.choice(elements)
                kind = draw.randrange(4)
                if kind == 0 and element.attrib:
                    del element.attrib[draw.choice(list(element.attrib))]
                elif kind == 1 and element.attrib:
                    element.set(draw.choice(list(element.attrib)), draw.choice(texts))
                elif kind == 2:
                    element.tag = draw.choice(["image", "skeleton", "points", "tag", "box", "track", "annotations"])
                else:
                    element.append(copy.deepcopy(draw.choice(elements[-3:])))
            path.write_bytes(ElementTree.tostring(root))
            read_hostile(work.tool, path)


def test_no_two_tools_are_called_the_same():
    titles = [build(name).title for name in TOOLS]
    for one, other in itertools.combinations(titles, 2):
        assert one != other
