"""Projects of published labels, and scripts that answer batches from them through each tool's own file."""

import csv
import json
import os
import shutil
from pathlib import Path

import cv2
import numpy as np
from helpers.coco_folders import JOINTS
from helpers.disc_folders import HEIGHT, WIDTH, picture, points
from helpers.joint_tables import JointTableFile
from scipy.io import loadmat

from llpp.journal.snapshot import STATES, read_snapshot

SHARED = Path(__file__).parents[3] / "shared/data"
SAMPLES = SHARED / "field_samples"
LATER = 1_800_000_000  # a date for files that are saved, so that two journeys have the same ones
LSP_JOINTS = (
    "r_ankle", "r_knee", "r_hip", "l_hip", "l_knee", "l_ankle", "r_wrist", "r_elbow", "r_shoulder", "l_shoulder",
    "l_elbow", "l_wrist", "neck", "head_top",
)  # fmt: skip
LSP_IMAGES = 200
TINY = (
    "backbone.channels=8", "crop.size=32", "trainer.max_epochs=1", "trainer.check_val_every_n_epoch=1",
    "scheduler=none", "callbacks=none", "logger=none", "report.write=false", "data.batch_size=4",
)  # fmt: skip
READY = ("label.enough=0.3", "label.least=2")  # half of a small batch is enough for a round


def read_published(path):
    """A table of joints as it was published: image → joint → (x, y), by position of the header's cells."""
    with path.open(newline="") as file:
        _, joints, _, *rows = csv.reader(file)
    published = {}
    for name, *cells in rows:
        pairs = zip(joints[1::2], cells[0::2], cells[1::2], strict=True)
        published[name] = {joint: (float(x), float(y)) for joint, x, y in pairs if x and y}
    return published


def read_asked(cwd, project, number):
    """`asked.csv` of a batch as dictionaries; nothing where there is no such batch."""
    path = cwd / f"labelling/{project}/round_{number:02d}/asked.csv"
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def set_date(path, number):
    os.utime(path, (LATER + number, LATER + number))


class Mice:
    """Lightning Pose's example: the app moves a frame from its queue to CollectedData.csv when it is saved."""

    source = SAMPLES / "lightning_pose/mirror-mouse-example"
    name = "mice"
    words = ("tool=lightning_pose",)
    tolerance = 0.0

    def __init__(self):
        self.table = self.source / "CollectedData.csv"
        self.published = read_published(self.table)

    def make(self, cwd):
        """Images, and a table of labels that has only its header."""
        shutil.copytree(self.source / "labeled-data", cwd / "mice/labeled-data")
        lines = self.table.read_text().splitlines(keepends=True)
        (cwd / "mice/CollectedData.csv").write_text("".join(lines[:3]))

    def answer(self, cwd, number, asked):
        lines = self.table.read_text().splitlines(keepends=True)
        ids = {row["id"] for row in asked}
        labels = cwd / "mice/CollectedData.csv"
        with labels.open("a") as file:
            file.writelines(line for line in lines if line.partition(",")[0] in ids)
        set_date(labels, number)
        queue = cwd / "mice/CollectedData.unlabeled.jsonl"
        left = [line for line in queue.read_text().splitlines() if json.loads(line)["frame_path"] not in ids]
        queue.write_text("".join(f"{line}\n" for line in left))


class OpenField:
    """DeepLabCut's example: napari saves the table of the folder that it has opened."""

    source = SAMPLES / "deeplabcut/openfield-Pranav-2018-10-30"
    name = "openfield"
    words = ("tool=deeplabcut",)
    tolerance = 0.0

    def __init__(self):
        self.published = read_published(self.source / "labeled-data/m4s1/CollectedData_Pranav.csv")

    def make(self, cwd):
        pictures = cwd / "openfield/labeled-data/m4s1"
        pictures.mkdir(parents=True)
        for path in (self.source / "labeled-data/m4s1").glob("*.png"):
            shutil.copy2(path, pictures)
        shutil.copy2(self.source / "config.yaml", cwd / "openfield")

    def answer(self, cwd, number, asked):
        folder = cwd / f"openfield/labeled-data/llpp_openfield_round_{number:02d}"
        joints = list(next(iter(self.published.values())))
        table = JointTableFile(folder / "CollectedData_Pranav.csv", "Pranav", joints)
        for row in asked:
            points = {joint: (x, y, 2) for joint, (x, y) in self.published[row["id"]].items()}
            table.put(f"labeled-data/{folder.name}/{row['file']}", [points])
        set_date(table.path, number)


class Athletes:
    """Leeds Sports Pose Extended: Label Studio's export has all tasks so far, in percent of the image."""

    name = "athletes"
    words = ("tool=label_studio", "joints=lsp14")
    tolerance = 1e-3  # pixels: percent have so many digits in the export

    def __init__(self):
        joints = loadmat(SHARED / "lspet/joints.mat")["joints"]
        self.names = sorted(path.name for path in (SHARED / "lspet/images").iterdir())[:LSP_IMAGES]
        self.published = {}
        for name in self.names:
            place = int(name.removeprefix("im").removesuffix(".jpg")) - 1
            points = zip(LSP_JOINTS, joints[:, :, place].tolist(), strict=True)
            self.published[name] = {joint: (x, y) for joint, (x, y, visible) in points if visible}

    def make(self, cwd):
        (cwd / "athletes").mkdir()
        for name in self.names:
            shutil.copy2(SHARED / "lspet/images" / name, cwd / "athletes")

    def answer(self, cwd, number, asked):
        folder = cwd / "labelling/athletes"
        export = folder / "inbox/export.json"
        tasks = json.loads(export.read_text()) if export.exists() else []
        given = json.loads((folder / f"round_{number:02d}/to_label.json").read_text())
        ids = {row["id"] for row in asked}
        for task in given:
            if task["data"]["sample_id"] in ids:
                tasks.append(
                    {"id": len(tasks) + 1, "data": task["data"], "annotations": [self.draw(cwd, task, number)]}
                )
        export.write_text(json.dumps(tasks))
        set_date(export, number)

    def draw(self, cwd, task, number):
        name = task["data"]["sample_id"]
        height, width = cv2.imread(str(cwd / "athletes" / name)).shape[:2]
        regions = []
        for joint, (x, y) in self.published[name].items():
            place = {"x": round(100 * x / width, 6), "y": round(100 * y / height, 6), "width": 0.5}
            value = {**place, "keypointlabels": [joint]}
            shape = {"id": joint, "type": "keypointlabels", "from_name": "joint", "to_name": "image"}
            size = {"original_width": width, "original_height": height, "image_rotation": 0}
            regions.append({**shape, **size, "origin": "manual", "value": value})
        time = f"2026-11-27T0{number}:00:00.000000Z"
        return {"id": 1, "unique_id": f"a-{name}", "completed_by": 1, "updated_at": time, "result": regions}


class Discs:
    """Drawn figures, answered by COCO files in the inbox; the joints of the image 007.png are `points(7)`."""

    def __init__(self, cwd, count=16):
        self.cwd = cwd
        self.root = cwd / "discs"
        self.folder = cwd / "labelling/discs"
        self.run = cwd / "runs/discs/seed0"
        self.root.mkdir()
        (self.root / "skeleton.yaml").write_text(json.dumps(JOINTS))
        for number in range(count):
            self.draw(number)

    def draw(self, number):
        cv2.imwrite(str(self.root / f"{number:03d}.png"), picture(number)[:, :, ::-1])

    def list_asked(self, number):
        return [row["id"] for row in read_asked(self.cwd, "discs", number)]

    def answer(self, ids, name="answers.json", move=0):
        """Put a file into the inbox that has these images, with their joints, moved to the right by pixels."""
        persons = []
        for image in ids:
            number = image.removesuffix(".png")
            joints = points(int(number) if number.isdigit() else 0) + np.array([move, 0])
            persons.append((image, joints, (1, 1, 50, 50)))
        return self.write_coco(persons, self.folder / "inbox" / name)

    def write_coco(self, persons, path):
        """A COCO file of persons, given by image, joints (K, 2) and box."""
        numbers = {}
        annotations = []
        for image, joints, box in persons:
            number = numbers.setdefault(image, len(numbers) + 1)
            keypoints = [value for x, y in joints for value in (int(x), int(y), 2)]
            person = {"id": len(annotations) + 1, "image_id": number, "category_id": 1, "iscrowd": 0}
            annotations.append({**person, "keypoints": keypoints, "num_keypoints": len(JOINTS), "bbox": list(box)})
        size = {"width": WIDTH, "height": HEIGHT}
        images = [{"id": number, "file_name": image, **size} for image, number in numbers.items()]
        category = {"id": 1, "name": "person", "keypoints": JOINTS, "skeleton": []}
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": [category]}))
        return path

    def read_journal(self):
        path = self.folder / "labels.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def read_labels(self, number):
        """What a round trained or tested on: image → (K, 2) coordinates."""
        snapshot = read_snapshot(self.run / f"round_{number:02d}/labels.parquet")
        labels = {}
        for row, state in enumerate(snapshot.state.tolist()):
            if STATES[state] == "labelled":
                labels[snapshot.images[row]] = snapshot.points[row].tolist()
        return labels

    def read_state(self):
        return json.loads((self.run / "state.json").read_text())
