"""CVAT's XML: what is written for it, and what it exports, by its makers' own files and by what its users do."""

import json
import zipfile
from pathlib import Path
from xml.etree import ElementTree

import pytest
from helpers.label_batches import JOINTS, make_batch

from llpp.errors import DataError
from llpp.oracles import answer_files
from llpp.oracles.cvat import CvatTool
from llpp.oracles.tool import ReadOptions, WriteOptions

SAMPLES = Path(__file__).parents[3] / "shared/data/field_samples/cvat"
needs_samples = pytest.mark.skipif(not SAMPLES.is_dir(), reason="the sample files of other projects are not here")


def read_xml(tmp_path, inner, **options):
    path = tmp_path / "annotations.xml"
    path.write_text(f"<annotations><version>1.1</version>{inner}</annotations>")
    return CvatTool().read(path, ReadOptions(joints=JOINTS, **options))


def image(inner, name="a.png"):
    return f'<image id="0" name="{name}" width="100" height="80">{inner}</image>'


def skeleton(*points, source="file", group=""):
    group = f' group_id="{group}"' if group else ""
    return f'<skeleton label="person" source="{source}" z_order="0"{group}>{"".join(points)}</skeleton>'


def point(label, place, source="file", outside=0, occluded=0):
    facts = f'label="{label}" source="{source}" outside="{outside}" occluded="{occluded}"'
    return f'<points {facts} points="{place}"></points>'


def test_what_is_written_has_all_that_cvats_importer_asks_for(tmp_path):
    batch = make_batch(tmp_path, several=True)
    task, _ = CvatTool().write(batch, tmp_path / "mice" / "round_00", WriteOptions())
    root = ElementTree.parse(task).getroot()
    assert root.tag == "annotations" and root.findtext("version") == "1.1"
    images = root.findall("image")
    assert [int(element.get("id")) for element in images] == list(range(5))
    names = [element.get("name") for element in images]
    assert names == sorted(asked.name for asked in batch.images), "as a task numbers its images"
    assert len({Path(name).stem for name in names}) == 5, "CVAT finds images by their names without endings"
    assert len(images[0].findall("skeleton")) == 2
    for element in root.iter("skeleton"):
        assert element.get("label") == "person"
        assert [points.get("label") for points in element] == list(JOINTS)
        for points in element:
            assert {"label", "occluded", "outside", "points"} <= set(points.keys())
            assert points.get("points").count(",") == 1
    first, second = images[0].findall("skeleton")
    assert first.find("points[@label='nose']").get("points") == "60.25,50.50"
    assert first.find("points[@label='right ear']").get("occluded") == "1"
    assert second.find("points[@label='left ear']").get("outside") == "1"


def test_the_labels_to_paste_are_a_skeleton_with_its_picture_and_two_tags(tmp_path):
    batch = make_batch(tmp_path)
    _, labels = CvatTool().write(batch, tmp_path / "mice" / "round_00", WriteOptions())
    person, done, skip = json.loads(labels.read_text())
    assert (done["name"], done["type"], skip["name"], skip["type"]) == ("done", "tag", "skip", "tag")
    assert person["type"] == "skeleton" and [part["name"] for part in person["sublabels"]] == list(JOINTS)
    picture = ElementTree.fromstring(f"<svg>{person['svg']}</svg>")
    nodes = {circle.get("data-node-id"): circle.get("data-label-name") for circle in picture.findall("circle")}
    assert list(nodes.values()) == list(JOINTS)
    edges = [(nodes[line.get("data-node-from")], nodes[line.get("data-node-to")]) for line in picture.findall("line")]
    assert edges == [("nose", "left ear"), ("nose", "right ear"), ("nose", "tail")]
    places = {(circle.get("cx"), circle.get("cy")) for circle in picture.findall("circle")}
    assert len(places) == 4 and all(0 < float(side) < 100 for place in places for side in place)


@needs_samples
def test_an_image_export_of_cvats_makers_is_read():
    content = CvatTool().read(SAMPLES / "cvat_for_images_1.1/train.xml", ReadOptions(joints=("1", "2", "3", "4")))
    first, second = content.entries
    assert first.names == ("img0.jpg",) and first.size == (8, 8) and not first.untouched
    assert first.persons[0].joints == {"2": (2, 2, 2), "3": (3, 3, 2), "4": (4, 4, 2)}, "1 is outside"
    assert second.persons[0].joints == {"1": (3, 3, 2), "2": (4, 4, 2), "4": (6, 6, 2)}
    assert not content.rejections and "'label2'" in content.remarks[0]


@needs_samples
def test_exports_of_tracks_are_refused_with_the_right_one():
    with pytest.raises(DataError, match=r"holds tracks.*export as 'CVAT for images 1.1'"):
        CvatTool().read(SAMPLES / "cvat_for_video_1.1/annotations.xml", ReadOptions(joints=JOINTS))


SEEN = point("nose", "1,2") + point("tail", "3,4")
CASES = {
    "as imported": (skeleton(SEEN), "labelled", True, False),
    "as imported by a program": (skeleton(SEEN, source="auto"), "labelled", True, False),
    "one point moved": (skeleton(SEEN, point("left ear", "5,6", "manual")), "labelled", False, False),
    "one point set outside": (
        skeleton(SEEN, point("left ear", "5,6", "manual", outside=1)),
        "labelled",
        False,
        False,
    ),
    "as imported, and done": (skeleton(SEEN) + '<tag label="done" source="manual"/>', "labelled", True, True),
    "done alone": ('<tag label="done" source="manual"/>', "empty", False, True),
    "done, all joints outside": (
        skeleton(point("nose", "1,2", "manual", outside=1)) + '<tag label="done"/>',
        "empty",
        False,
        True,
    ),
    "skip": (skeleton(SEEN) + '<tag label="skip" source="manual"/>', "skipped", False, False),
    "nothing": ("", "open", False, False),
    "other labels": (
        '<tag label="blurred"/><box label="cage" xtl="1" ytl="1" xbr="5" ybr="5"/>',
        "open",
        False,
        False,
    ),
}


@pytest.mark.parametrize("kind", CASES)
def test_what_counts_as_what(tmp_path, kind):
    inner, status, untouched, confirmed = CASES[kind]
    (entry,) = read_xml(tmp_path, image(inner)).entries
    assert (entry.status, entry.untouched, entry.confirmed) == (status, untouched, confirmed)
    assert bool(entry.persons) == (status == "labelled")


def test_occluded_joints_are_located_and_those_outside_are_not(tmp_path):
    inner = skeleton(point("nose", "1.25,2", occluded=1), point("tail", "3,4.5"), point("left ear", "9,9", outside=1))
    (entry,) = read_xml(tmp_path, image(inner)).entries
    assert entry.persons[0].joints == {"nose": (1.25, 2, 1), "tail": (3, 4.5, 2)}


def test_points_of_single_joints_are_one_person_or_one_for_each_group(tmp_path):
    loose = point("nose", "1,2", "manual") + point("tail", "3,4", "manual")
    (entry,) = read_xml(tmp_path, image(loose)).entries
    assert [person.joints for person in entry.persons] == [{"nose": (1, 2, 2), "tail": (3, 4, 2)}]
    grouped = loose.replace("<points", '<points group_id="1"') + loose.replace("<points", '<points group_id="2"')
    (entry,) = read_xml(tmp_path, image(grouped)).entries
    assert len(entry.persons) == 2
    content = read_xml(tmp_path, image(loose + loose) + image(skeleton(SEEN), "b.png"))
    assert "'nose' occurs 2 times in one person" in content.rejections[0].reason
    assert [entry.names for entry in content.entries] == [("b.png",)]


def test_a_box_in_the_group_of_a_skeleton_is_its_box(tmp_path):
    box = '<box label="body" group_id="4" xtl="1.5" ytl="2" xbr="11.5" ybr="32" occluded="0"/>'
    (entry,) = read_xml(
        tmp_path, image(box + skeleton(SEEN, group="4") + skeleton(SEEN.replace("1,2", "8,8")))
    ).entries
    assert [person.box for person in entry.persons] == [(1.5, 2, 10, 30), None]


def test_half_a_pixel_is_added_and_taken_off(tmp_path):
    batch = make_batch(tmp_path)
    task, _ = CvatTool().write(batch, tmp_path / "mice" / "round_00", WriteOptions(half_pixel=True))
    assert 'points="60.75,51.00"' in task.read_text()
    (entry,) = read_xml(tmp_path, image(skeleton(point("nose", "10.5,20"))), half_pixel=True).entries
    assert entry.persons[0].joints["nose"] == (10, 19.5, 2)


def test_joints_outside_of_the_image_are_kept_and_counted(tmp_path):
    content = read_xml(
        tmp_path, image(skeleton(point("nose", "-3,2"), point("tail", "50,90"), point("left ear", "5,5")))
    )
    assert content.entries[0].persons[0].joints["nose"] == (-3, 2, 2)
    assert "2 joints are outside of their images" in content.remarks[0]


BAD = {
    "both tags": '<tag label="done"/><tag label="skip"/>',
    "expected x,y in pixels": skeleton(point("nose", "1,two")),
    "'nan,1'": skeleton(point("nose", "nan,1")),
    "'1,2;3,4'": skeleton(point("nose", "1,2;3,4")),
}


@pytest.mark.parametrize("reason", BAD)
def test_an_image_that_cannot_be_used_is_rejected_and_the_others_are_read(tmp_path, reason):
    content = read_xml(tmp_path, image(BAD[reason]) + image(skeleton(SEEN), "b.png"))
    (rejection,) = content.rejections
    assert rejection.entry == "image 'a.png'" and reason in rejection.reason
    assert [entry.names for entry in content.entries] == [("b.png",)]


def test_the_zip_that_cvat_exports_is_read_as_it_is(tmp_path):
    path = tmp_path / "task_5_annotations.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("images/a.png", b"not read")
        dumped = "<meta><dumped>2026-11-27 09:10:11.123456+00:00</dumped></meta>"
        archive.writestr("annotations.xml", f"<annotations>{dumped}{image(skeleton(SEEN))}</annotations>")
    assert CvatTool().recognises(path, path.read_bytes())
    (entry,) = CvatTool().read(path, ReadOptions(joints=JOINTS)).entries
    assert entry.status == "labelled" and entry.answered_at == "2026-11-27T09:10:11Z"


def test_a_zip_is_not_unpacked_beyond_the_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(answer_files, "MAX_BYTES", 10_000)
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("annotations.xml", b"<annotations>" + b" " * 1_000_000)
    assert path.stat().st_size < 10_000
    with pytest.raises(DataError, match="holds more than 10,000 bytes of labels"):
        CvatTool().read(path, ReadOptions(joints=JOINTS))


@pytest.mark.parametrize("definition", ["<!DOCTYPE annotations>", '<!DOCTYPE a [<!ENTITY b "c">]>'])
def test_xml_with_definitions_is_refused_before_it_is_parsed(tmp_path, definition):
    path = tmp_path / "annotations.xml"
    path.write_text(f"{definition}<annotations>{image(skeleton(SEEN))}</annotations>")
    assert CvatTool().recognises(path, path.read_bytes())
    with pytest.raises(DataError, match="has a DOCTYPE, which no labelling tool writes"):
        CvatTool().read(path, ReadOptions(joints=JOINTS))


def test_an_encoding_cannot_hide_definitions(tmp_path):
    # In EBCDIC the characters of <!DOCTYPE have other bytes, and Python's parser knows it.
    text = '<?xml version="1.0" encoding="cp037"?>'
    path = tmp_path / "annotations.xml"
    path.write_bytes(text.encode() + '<!DOCTYPE a [<!ENTITY b "c">]><annotations/>'.encode("cp037"))
    with pytest.raises(DataError):
        CvatTool().read(path, ReadOptions(joints=JOINTS))
