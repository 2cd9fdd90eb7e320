"""A person who labels in SLEAP, which saves the project file in place."""

import json
import shutil
from contextlib import contextmanager

import h5py
import numpy as np

ROUNDING = 1e-9
SAYS_EMPTY = True
SAYS_SKIPPED = True
KNOWS_OCCLUDED = False
KNOWS_UNTOUCHED = True
SEVERAL_PERSONS = True
EMPTY_OPTIONS = {}
TRIES = 8  # damaged files that are read: each takes a fifth of a second
NEGATIVE = np.dtype([("video_id", "<u4"), ("frame_idx", "<u8")])
TABLES = ("frames", "instances", "points", "pred_points")
TEXTS = ("videos_json", "suggestions_json")


class Project:
    """Tables as lists of dicts: instances hold their points, frames their instances."""

    def __init__(self, file):
        tables = {name: file[name][()] for name in TABLES}
        self.types = {name: table.dtype for name, table in tables.items()}
        self.metadata = json.loads(file["metadata"].attrs["json"])
        self.videos = [json.loads(text) for text in file["videos_json"][()]]
        self.suggestions = [json.loads(text) for text in file["suggestions_json"][()]]
        self.negative = file["negative_frames"][()].tolist() if "negative_frames" in file else []
        rows = {name: [dict(zip(table.dtype.names, row.tolist(), strict=True)) for row in table]
                for name, table in tables.items()}  # fmt: skip
        for instance in rows["instances"]:
            points = rows["pred_points" if instance["instance_type"] else "points"]
            instance["points"] = points[instance["point_id_start"] : instance["point_id_end"]]
        self.frames = rows["frames"]
        for frame in self.frames:
            frame["instances"] = rows["instances"][frame["instance_id_start"] : frame["instance_id_end"]]

    @property
    def nodes(self):
        return [self.metadata["nodes"][node["id"]]["name"] for node in self.metadata["skeletons"][0]["nodes"]]

    def write(self, file):
        rows = {name: [] for name in TABLES}
        for frame in self.frames:
            first = len(rows["instances"])
            for instance in frame["instances"]:
                points = rows["pred_points" if instance["instance_type"] else "points"]
                start = len(points)
                points += instance["points"]
                rows["instances"].append({**instance, "point_id_start": start, "point_id_end": len(points)})
            rows["frames"].append({**frame, "instance_id_start": first, "instance_id_end": len(rows["instances"])})
        for name in TABLES:
            columns = self.types[name].names
            table = np.array([tuple(row[column] for column in columns) for row in rows[name]], self.types[name])
            replace(file, name, table)
        replace(file, "videos_json", to_texts(self.videos))
        replace(file, "suggestions_json", to_texts(self.suggestions))
        replace(file, "negative_frames", np.array([tuple(row) for row in self.negative], NEGATIVE))
        file["metadata"].attrs["json"] = np.bytes_(json.dumps(self.metadata).encode())

    def locate(self, image):
        for video, described in enumerate(self.videos):
            for index, name in enumerate(described["backend"]["filenames"]):
                if name.endswith(f"/{image.name}"):
                    return video, index
        raise LookupError(image.name)

    def find_frame(self, image):
        video, index = self.locate(image)
        for frame in self.frames:
            if (frame["video"], frame["frame_idx"]) == (video, index):
                return frame
        return self.add_frame(video, index)

    def add_frame(self, video, index):
        frame = {"frame_id": len(self.frames), "video": video, "frame_idx": index, "instances": []}
        self.frames.append(frame)
        return frame

    def put(self, frame, joints):
        points = []
        for node in self.nodes:
            x, y, _ = joints.get(node, (np.nan, np.nan, 0))
            points.append({"x": x, "y": y, "visible": node in joints, "complete": False})
        frame["instances"].append(make_instance(frame, points, -1))

    def take_over(self, image):
        """Make user instances of all predicted ones, as double clicks do; done already, it changes nothing."""
        frame = self.find_frame(image)
        users = [instance for instance in frame["instances"] if not instance["instance_type"]]
        if not users:
            for number, predicted in enumerate(list(frame["instances"])):
                points = [{name: point[name] for name in ("x", "y", "visible", "complete")}
                          for point in predicted["points"]]  # fmt: skip
                users.append(make_instance(frame, points, number))
            frame["instances"] += users
        return users


def make_instance(frame, points, origin):
    values = {"instance_id": 0, "instance_type": 0, "frame_id": frame["frame_id"], "skeleton": 0, "track": -1}
    return {**values, "from_predicted": origin, "score": np.nan, "tracking_score": np.nan, "points": points}


def to_texts(values):
    return np.array([json.dumps(value).encode() for value in values]) if values else np.zeros(0)


def replace(file, name, values):
    if name in file:
        del file[name]
    file[name] = values


@contextmanager
def edit(saved):
    with h5py.File(saved[0], "r+") as file:
        project = Project(file)
        yield project
        project.write(file)


def save(batch, written, folder):
    """A copy that SLEAP has written once, changing nothing."""
    saved = [folder / written[0].name]
    shutil.copy(written[0], saved[0])
    with edit(saved):
        pass
    return saved


def move(saved, image, joint, by, person=0):
    with edit(saved) as project:
        point = project.take_over(image)[person]["points"][project.nodes.index(joint)]
        point["x"] += by[0]
        point["y"] += by[1]


def remove(saved, image, joint, person=0):
    with edit(saved) as project:
        project.take_over(image)[person]["points"][project.nodes.index(joint)]["visible"] = False


def draw(saved, image, joints):
    with edit(saved) as project:
        project.put(project.find_frame(image), joints)


def answer_empty(saved, image):
    with edit(saved) as project:
        project.find_frame(image)
        project.negative.append(project.locate(image))


def skip(saved, image):
    """The predictions are deleted, and the frame is removed from the suggestions."""
    with edit(saved) as project:
        video, index = project.locate(image)
        project.frames = [frame for frame in project.frames if (frame["video"], frame["frame_idx"]) != (video, index)]
        project.suggestions = [
            suggestion
            for suggestion in project.suggestions
            if (int(suggestion["video"]), suggestion["frame_idx"]) != (video, index)
        ]


def leave_out(saved, image):
    """Its image is taken out of the film of images, so that the later ones move up."""
    with edit(saved) as project:
        video, index = project.locate(image)
        del project.videos[video]["backend"]["filenames"][index]
        for listed, key in ((project.frames, "video"), (project.suggestions, "video")):
            for row in list(listed):
                if int(row[key]) != video or row["frame_idx"] < index:
                    continue
                if row["frame_idx"] == index:
                    listed.remove(row)
                else:
                    row["frame_idx"] -= 1


def add(saved, name, size, joints):
    width, height = size
    with edit(saved) as project:
        backend = {"filename": name, "filenames": [name], "height_": height, "width_": width, "channels_": 3}
        project.videos.append({"backend": backend})
        project.put(project.add_frame(len(project.videos) - 1, 0), joints)


def reverse(saved):
    """Frames, instances and the nodes of the skeleton in the opposite order."""
    with edit(saved) as project:
        project.frames.reverse()
        project.suggestions.reverse()
        project.metadata["skeletons"][0]["nodes"].reverse()
        for frame in project.frames:
            for instance in frame["instances"]:
                instance["points"] = instance["points"][::-1]


def duplicate(saved, image):
    with edit(saved) as project:
        project.frames.append(dict(project.find_frame(image)))
