"""A COCO file as an editor saves it: what it does not know, as `score` and `llpp`, is dropped."""

import copy
import json

ROUNDING = 1e-9
SAYS_EMPTY = True
SAYS_SKIPPED = False
KNOWS_OCCLUDED = True
KNOWS_UNTOUCHED = False
SEVERAL_PERSONS = True
EMPTY_OPTIONS = {"empty": "reviewed"}


def save(batch, written, folder):
    content = json.loads(written[0].read_text())
    for annotation in content["annotations"]:
        annotation.pop("score", None)
        annotation.pop("llpp", None)
    path = folder / "saved.json"
    path.write_text(json.dumps(content))
    return [path]


def _load(saved):
    (path,) = saved
    return path, json.loads(path.read_text())


def _edit(saved, image):
    path, content = _load(saved)
    (listed,) = [one for one in content["images"] if one["file_name"] == image.name]
    own = [one for one in content["annotations"] if one["image_id"] == listed["id"]]
    return path, content, listed, own


def _set(saved, image, joint, person, change):
    path, content, _, own = _edit(saved, image)
    at = 3 * content["categories"][0]["keypoints"].index(joint)
    keypoints = own[person]["keypoints"]
    keypoints[at : at + 3] = change(*keypoints[at : at + 3])
    own[person]["num_keypoints"] = sum(v > 0 for v in keypoints[2::3])
    path.write_text(json.dumps(content))


def move(saved, image, joint, by, person=0):
    _set(saved, image, joint, person, lambda x, y, v: [x + by[0], y + by[1], v])


def remove(saved, image, joint, person=0):
    _set(saved, image, joint, person, lambda x, y, v: [x, y, 0])


def _draw(content, image_id, joints):
    keypoints = []
    for name in content["categories"][0]["keypoints"]:
        keypoints += joints.get(name, (0, 0, 0))
    number = 1 + max((one["id"] for one in content["annotations"]), default=0)
    facts = {"id": number, "image_id": image_id, "category_id": 1, "bbox": [1, 1, 90, 90], "area": 8100, "iscrowd": 0}
    content["annotations"].append({**facts, "keypoints": keypoints, "num_keypoints": len(joints)})


def draw(saved, image, joints):
    path, content, listed, _ = _edit(saved, image)
    _draw(content, listed["id"], joints)
    path.write_text(json.dumps(content))


def answer_empty(saved, image):
    path, content, _, own = _edit(saved, image)
    content["annotations"] = [one for one in content["annotations"] if one not in own]
    path.write_text(json.dumps(content))


def leave_out(saved, image):
    path, content, listed, own = _edit(saved, image)
    content["annotations"] = [one for one in content["annotations"] if one not in own]
    content["images"].remove(listed)
    path.write_text(json.dumps(content))


def add(saved, name, size, joints):
    path, content = _load(saved)
    content["images"].append({"id": 9000, "file_name": name, "width": size[0], "height": size[1]})
    _draw(content, 9000, joints)
    path.write_text(json.dumps(content))


def reverse(saved):
    path, content = _load(saved)
    content["images"].reverse()
    content["annotations"].reverse()
    # The joints of the category too, with those of all annotations.
    content["categories"][0]["keypoints"].reverse()
    for annotation in content["annotations"]:
        triples = [annotation["keypoints"][at : at + 3] for at in range(0, len(annotation["keypoints"]), 3)]
        annotation["keypoints"] = [value for triple in triples[::-1] for value in triple]
    path.write_text(json.dumps(content))


def duplicate(saved, image):
    path, content, listed, own = _edit(saved, image)
    content["images"].append({**listed, "id": 8000})
    for annotation in own:
        content["annotations"].append({**copy.deepcopy(annotation), "id": annotation["id"] + 8000, "image_id": 8000})
    path.write_text(json.dumps(content))
