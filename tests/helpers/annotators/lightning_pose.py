"""A person who labels in Lightning Pose's app, which moves a frame from the queue to CollectedData.csv on saving."""

import json

from helpers.joint_tables import JointTableFile

ROUNDING = 1e-9
SAYS_EMPTY = False
SAYS_SKIPPED = True
KNOWS_OCCLUDED = False
KNOWS_UNTOUCHED = False
SEVERAL_PERSONS = False
EMPTY_OPTIONS = {}
NOT_ANSWERS = ("CollectedData.unlabeled.jsonl",)
SCORER = "jane"


def save(batch, written, folder):
    """Every frame with a prediction is saved as it is shown."""
    queue, asked = written
    labels = queue.with_name("CollectedData.csv")
    table = JointTableFile(labels, SCORER, batch.skeleton.joints)
    for line in read_queue(queue):
        if line["predictions"]:
            points = line["predictions"]["predictions"]
            table.put(line["frame_path"], [{point["keypoint_name"]: (point["x"], point["y"], 2) for point in points}])
            take_off(queue, line["frame_path"])
    return [labels, asked]


def read_queue(queue):
    return [json.loads(line) for line in queue.read_text().splitlines()]


def take_off(queue, frame):
    lines = queue.read_text().splitlines(keepends=True)
    queue.write_text("".join(line for line in lines if json.loads(line)["frame_path"] != frame))


def open_table(saved):
    return JointTableFile(saved[0], SCORER, ())


def get_queue(saved):
    return saved[0].with_name("CollectedData.unlabeled.jsonl")


def row_name(saved, image):
    """Frames elsewhere were copied into the project under the name that the batch gives them."""
    if image.relative:
        return image.relative
    asked = json.loads(saved[1].read_text())["frames"]
    return next(frame for frame in asked if frame.endswith(f"/{image.name}"))


def move(saved, image, joint, by, person=0):
    open_table(saved).change(row_name(saved, image), joint, person, lambda x, y: (x + by[0], y + by[1]))


def remove(saved, image, joint, person=0):
    open_table(saved).change(row_name(saved, image), joint, person, lambda x, y: (None, None))


def draw(saved, image, joints):
    open_table(saved).put(row_name(saved, image), [joints])
    take_off(get_queue(saved), row_name(saved, image))


def skip(saved, image):
    open_table(saved).drop(row_name(saved, image))
    take_off(get_queue(saved), row_name(saved, image))


def leave_out(saved, image):
    """Not saved yet: the frame is still in the queue."""
    frame = row_name(saved, image)
    open_table(saved).drop(frame)
    take_off(get_queue(saved), frame)
    with get_queue(saved).open("a") as file:
        file.write(json.dumps({"frame_path": frame, "predictions": None}) + "\n")


def add(saved, name, size, joints):
    open_table(saved).put(name, [joints])


def reverse(saved):
    open_table(saved).reverse()


def duplicate(saved, image):
    open_table(saved).repeat(row_name(saved, image))
