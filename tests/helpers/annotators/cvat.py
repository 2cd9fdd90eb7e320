"""CVAT's export "CVAT for images 1.1", after its importer has called all sources `file`."""

import copy
from xml.etree import ElementTree

ROUNDING = 0.005 + 1e-9  # two decimals
SAYS_EMPTY = True
SAYS_SKIPPED = True
KNOWS_OCCLUDED = True
KNOWS_UNTOUCHED = True
SEVERAL_PERSONS = True
NOT_ANSWERS = ("cvat_labels.json",)


def save(batch, written, folder):
    root = ElementTree.parse(written[0]).getroot()
    meta = ElementTree.Element("meta")
    ElementTree.SubElement(meta, "dumped").text = "2026-11-27 09:10:11.123456+00:00"
    root.insert(1, meta)
    for element in root.iter():
        if "source" in element.attrib:
            element.set("source", "file")
    path = folder / "annotations.xml"
    ElementTree.ElementTree(root).write(path, encoding="utf-8", xml_declaration=True)
    return [path]


def _edit(saved, image):
    (path,) = saved
    tree = ElementTree.parse(path)
    (element,) = tree.getroot().findall(f"image[@name='{image.name}']")
    return path, tree, element


def _write(path, tree):
    tree.write(path, encoding="utf-8", xml_declaration=True)


def _find(element, joint, person):
    return element.findall("skeleton")[person].find(f"points[@label='{joint}']")


def move(saved, image, joint, by, person=0):
    path, tree, element = _edit(saved, image)
    points = _find(element, joint, person)
    x, y = map(float, points.get("points").split(","))
    points.set("points", f"{x + by[0]:.2f},{y + by[1]:.2f}")
    points.set("source", "manual")
    _write(path, tree)


def remove(saved, image, joint, person=0):
    path, tree, element = _edit(saved, image)
    points = _find(element, joint, person)
    points.set("outside", "1")
    points.set("source", "manual")
    _write(path, tree)


def _draw(element, joints):
    facts = {"label": "person", "source": "manual", "occluded": "0", "points": "", "z_order": "0"}
    skeleton = ElementTree.SubElement(element, "skeleton", facts)
    for name, (x, y, visible) in joints.items():
        facts = {"label": name, "source": "manual", "outside": "0", "occluded": "1" if visible == 1 else "0"}
        ElementTree.SubElement(skeleton, "points", {**facts, "points": f"{x:.2f},{y:.2f}"})


def draw(saved, image, joints):
    path, tree, element = _edit(saved, image)
    _draw(element, joints)
    _write(path, tree)


def _tag(saved, image, label, keep):
    path, tree, element = _edit(saved, image)
    if not keep:
        for skeleton in element.findall("skeleton"):
            element.remove(skeleton)
    ElementTree.SubElement(element, "tag", {"label": label, "source": "manual"})
    _write(path, tree)


def answer_empty(saved, image):
    _tag(saved, image, "done", keep=False)


def skip(saved, image):
    _tag(saved, image, "skip", keep=True)


def leave_out(saved, image):
    path, tree, element = _edit(saved, image)
    tree.getroot().remove(element)
    _write(path, tree)


def add(saved, name, size, joints):
    (path,) = saved
    tree = ElementTree.parse(path)
    facts = {"id": "77", "name": name, "width": str(size[0]), "height": str(size[1])}
    _draw(ElementTree.SubElement(tree.getroot(), "image", facts), joints)
    _write(path, tree)


def reverse(saved):
    (path,) = saved
    tree = ElementTree.parse(path)
    for element in tree.getroot().iter():
        element[:] = element[::-1]
    _write(path, tree)


def duplicate(saved, image):
    path, tree, element = _edit(saved, image)
    tree.getroot().append(copy.deepcopy(element))
    _write(path, tree)
