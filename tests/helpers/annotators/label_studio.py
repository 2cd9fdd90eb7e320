"""Label Studio's raw JSON export, as version 1.23.2 was seen to write it: see tests/oracles/README.txt."""

import copy
import json
from urllib.parse import quote

ROUNDING = 1e-9
SAYS_EMPTY = True
SAYS_SKIPPED = True
KNOWS_OCCLUDED = True
KNOWS_UNTOUCHED = True
SEVERAL_PERSONS = True
NOT_ANSWERS = ("label_config.xml",)


def save(batch, written, folder):
    """Everything is submitted that has a prediction, as it is shown; the other tasks have not been opened."""
    tasks = json.loads(written[0].read_text())
    for number, task in enumerate(tasks, start=1):
        predictions = task.get("predictions", [])
        task["id"] = number
        task["annotations"] = []
        task["predictions"] = [10 * number + k for k in range(len(predictions))]
        task["drafts"] = []
        for prediction in predictions:
            result = [{**region, "origin": "prediction"} for region in prediction["result"]]
            task["annotations"].append(_annotation(number, result) | {"prediction": prediction})
    path = folder / "project-1-at-2026-11-27.json"
    _dump(path, tasks)
    return [path]


def _annotation(number, result):
    return {
        "id": 100 + number,
        "unique_id": f"0000-{number}",
        "completed_by": 3,
        "result": result,
        "was_cancelled": False,
        "ground_truth": False,
        "created_at": "2026-11-27T08:58:57.438940Z",
        "updated_at": "2026-11-27T09:00:00.438981Z",
        "lead_time": 4.5,
        "prediction": {},
    }


def _dump(path, tasks):
    path.write_text(json.dumps(tasks, indent=2))


def _edit(saved, image):
    (path,) = saved
    tasks = json.loads(path.read_text())
    (task,) = [task for task in tasks if task["data"].get("sample_id") == image.image]
    return path, tasks, task


def _ids(task, joint):
    """Region ids of a joint, by person."""
    return [
        region["id"]
        for region in task["annotations"][0]["result"]
        if region["value"].get("keypointlabels") == [joint]
    ]


def move(saved, image, joint, by, person=0):
    path, tasks, task = _edit(saved, image)
    moved = _ids(task, joint)[person]
    for region in task["annotations"][0]["result"]:
        if region["id"] == moved:  # the point, and whether it is occluded
            region["value"]["x"] += 100 * by[0] / image.size[0]
            region["value"]["y"] += 100 * by[1] / image.size[1]
            region["origin"] = "prediction-changed"
    _dump(path, tasks)


def remove(saved, image, joint, person=0):
    path, tasks, task = _edit(saved, image)
    removed = _ids(task, joint)[person]
    annotation = task["annotations"][0]
    annotation["result"] = [region for region in annotation["result"] if region["id"] != removed]
    _dump(path, tasks)


def _draw(size, joints):
    result = []
    for number, (name, (x, y, visible)) in enumerate(joints.items()):
        value = {"x": 100 * x / size[0], "y": 100 * y / size[1], "width": 0.23}
        region = {
            "id": f"u_N6N7ZwR{number}",
            "to_name": "image",
            "origin": "manual",
            "original_width": size[0],
            "original_height": size[1],
            "image_rotation": 0,
        }
        point = {"type": "keypointlabels", "from_name": "joint", "value": {**value, "keypointlabels": [name]}}
        result.append(region | point)
        if visible == 1:
            result.append(
                region | {"type": "choices", "from_name": "seen", "value": {**value, "choices": ["occluded"]}}
            )
    return result


def draw(saved, image, joints):
    path, tasks, task = _edit(saved, image)
    task["annotations"] = [_annotation(task["id"], _draw(image.size, joints))]
    _dump(path, tasks)


def answer_empty(saved, image):
    path, tasks, task = _edit(saved, image)
    task["annotations"] = [_annotation(task["id"], [])]
    _dump(path, tasks)


def skip(saved, image):
    path, tasks, task = _edit(saved, image)
    # Skip keeps what was on the screen.
    shown = task["annotations"][0]["result"] if task["annotations"] else []
    task["annotations"] = [_annotation(task["id"], shown) | {"was_cancelled": True}]
    _dump(path, tasks)


def leave_out(saved, image):
    path, tasks, task = _edit(saved, image)
    _dump(path, [other for other in tasks if other is not task])


def add(saved, name, size, joints):
    (path,) = saved
    tasks = json.loads(path.read_text())
    data = {"image": f"/data/local-files/?d={quote(name)}"}
    tasks.append({"id": 900, "data": data, "annotations": [_annotation(900, _draw(size, joints))], "predictions": []})
    _dump(path, tasks)


def reverse(saved):
    (path,) = saved
    tasks = json.loads(path.read_text())
    for task in tasks:
        for annotation in task["annotations"]:
            annotation["result"].reverse()
    _dump(path, tasks[::-1])


def duplicate(saved, image):
    path, tasks, task = _edit(saved, image)
    _dump(path, [*tasks, copy.deepcopy(task)])
