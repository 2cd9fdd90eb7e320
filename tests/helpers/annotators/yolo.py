"""A person who labels in an editor of YOLO pose files: a text file per image, saved into the folder `labels`."""

from pathlib import Path

ROUNDING = 1e-4
SAYS_EMPTY = True
SAYS_SKIPPED = False
KNOWS_OCCLUDED = True
KNOWS_UNTOUCHED = False
SEVERAL_PERSONS = True
EMPTY_OPTIONS = {}
NOT_ANSWERS = ("data.yaml", "images.txt")
JOINTS = {}  # folder of labels → names of joints, which the files themselves do not have
FIRST = 5  # place of the first joint in a line


def save(batch, written, folder):
    """The suggestions are copied to the labels, for images that have some."""
    labels = written[0].parent / "labels"
    JOINTS[labels] = batch.skeleton.joints
    saved = []
    for path in written:
        if path.parent.name == "suggested":
            copy = labels / path.name
            copy.write_bytes(path.read_bytes())
            saved.append(copy)
    return saved


def get_path(saved, image):
    return saved[0].parent / f"{Path(image.name).stem}.txt"


def change(path, joint, person, edit):
    lines = path.read_text().splitlines()
    words = lines[person].split()
    place = FIRST + 3 * JOINTS[path.parent].index(joint)
    words[place : place + 3] = edit(*map(float, words[place : place + 3]))
    lines[person] = " ".join(map(str, words))
    path.write_text("\n".join(lines))


def move(saved, image, joint, by, person=0):
    width, height = image.size
    change(get_path(saved, image), joint, person, lambda x, y, v: (x + by[0] / width, y + by[1] / height, int(v)))


def remove(saved, image, joint, person=0):
    change(get_path(saved, image), joint, person, lambda x, y, v: (0, 0, 0))


def format_person(joints, names, size):
    width, height = size
    words = ["0", "0.5", "0.5", "1", "1"]
    for name in names:
        x, y, visible = joints.get(name, (0, 0, 0))
        words += [repr(x / width), repr(y / height), str(visible)]
    return " ".join(words) + "\n"


def put(saved, path, text):
    path.write_text(text)
    if path not in saved:
        saved.append(path)


def draw(saved, image, joints):
    path = get_path(saved, image)
    put(saved, path, format_person(joints, JOINTS[path.parent], image.size))


def answer_empty(saved, image):
    put(saved, get_path(saved, image), "")


def leave_out(saved, image):
    path = get_path(saved, image)
    path.unlink()
    saved.remove(path)


def add(saved, name, size, joints):
    labels = saved[0].parent
    path = (labels / name).with_suffix(".txt")
    path.parent.mkdir(parents=True, exist_ok=True)
    put(saved, path, format_person(joints, JOINTS[labels], size))


def reverse(saved):
    """The order of persons; joints have no names, and have to stay where they are."""
    for path in saved:
        path.write_text("".join(f"{line}\n" for line in reversed(path.read_text().splitlines())))


def duplicate(saved, image):
    path = get_path(saved, image)
    path.write_text(path.read_text() * 2)
