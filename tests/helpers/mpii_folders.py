"""Small MPII annotations in their published forms."""

import gzip
import json
from collections import Counter

import numpy as np
import scipy.io

NOTHING = np.zeros((0, 0))  # MATLAB's []


def person(image, x, y, scale=0.4, occluded=(), missing=(), test=False):
    """A person as MPII's authors would write it, pixels from 1: joint k at (x + 2k, y + k), head points 40 apart."""
    joints = np.array([[x + 2.0 * k, y + k] for k in range(16)])
    joints[8], joints[9] = (x + 15, y + 30), (x + 15, y - 10)
    flags = np.full(16, 2)
    flags[list(occluded)], flags[list(missing)] = 1, 0
    centre = [x + 16.0, y + 8.0]
    return {"image": image, "joints": joints, "visible": flags, "centre": centre, "scale": scale, "test": test}


def people():
    return [
        person("a.png", 30, 40, occluded=[0, 15]),
        person("a.png", 80, 45, missing=[1, 5], occluded=[10]),
        person("b.png", 50, 50, test=True, missing=[0]),
        person("c.png", 60.5, 40.25),
    ]


def form_a(persons):
    rows = []
    for p in persons:
        known = p["visible"] > 0
        joints = np.where(known[:, None], p["joints"], -1).tolist()
        entry = {"joints_vis": known.astype(int).tolist(), "joints": joints, "image": p["image"]}
        rows.append({**entry, "scale": p["scale"], "center": p["centre"]})
    return rows


def form_b(persons):
    rows, met = [], Counter()
    for p in persons:
        met[p["image"]] += 1
        self = [[*j, float(v == 2)] if v else [0.0, 0.0, 0.0] for j, v in zip(p["joints"], p["visible"], strict=True)]
        entry = {"dataset": "MPI", "isValidation": float(p["test"]), "img_paths": p["image"], "img_width": 160.0}
        entry |= {"img_height": 120.0, "objpos": p["centre"], "joint_self": self, "scale_provided": p["scale"]}
        rows.append(entry | {"joint_others": {}, "people_index": float(met[p["image"]]), "numOtherPeople": 0.0})
    return rows


def structs(rows):
    """A MATLAB struct array; one row squeezes to a single struct when it is read."""
    table = np.empty((1, len(rows)), dtype=[(key, object) for key in rows[0]])
    for n, row in enumerate(rows):
        table[0, n] = tuple(row.values())
    return table


def rectangle(p):
    """`is_visible` in all its types: a number, a string, and [] on the head's points."""
    seen = {1: (0.0, "0"), 2: (1.0, "1")}
    points = [
        {"x": x, "y": y, "id": float(k), "is_visible": NOTHING if k in (8, 9) else seen[v][k % 2]}
        for k, ((x, y), v) in enumerate(zip(p["joints"], p["visible"].tolist(), strict=True))
        if v
    ]
    x, y = p["joints"][9]
    corners = {"x1": x - 15, "y1": y, "x2": x + 15, "y2": y + 40}  # its diagonal is 50
    place = {"scale": p["scale"], "objpos": {"x": p["centre"][0], "y": p["centre"][1]}}
    return {**corners, "annopoints": {"point": structs(points)}, **place}


def official(persons, more=()):
    """The content of the official file; `more` are annolist entries with their training flag."""
    images = {p["image"]: [] for p in persons}
    for p in persons:
        images[p["image"]].append(rectangle(p))
    entries = [({"image": {"name": name}, "annorect": structs(rects)}, 1) for name, rects in images.items()]
    entries += list(more)
    flags = np.array([[flag for _, flag in entries]], dtype=np.uint8)
    return {"RELEASE": {"annolist": structs([e for e, _ in entries]), "img_train": flags, "version": "12"}}


def write(folder, form, persons=None, **more):
    """A folder with the persons in one form and the usual list where the form has no flag; returns it."""
    folder.mkdir(exist_ok=True)
    persons = people() if persons is None else persons
    if form == "mat":
        scipy.io.savemat(folder / "mpii_human_pose_v1_u12_1.mat", official(persons, **more))
        (folder / "newell_validation_images.txt").write_bytes(b"b.png\r\nb.png\r\nelsewhere.png\r\n")
    elif form == "A":
        for name, test in (("train.json", False), ("valid.json", True)):
            (folder / name).write_text(json.dumps(form_a([p for p in persons if p["test"] == test])))
    else:
        with gzip.open(folder / "mpii_annotations.json.gz", "wt") as file:
            json.dump(form_b(persons), file)
    return folder


def crowd(images=40):
    return [person(f"i{n:02d}.png", 30, 40, test=n < 5) for n in range(images) for _ in range(1 + n % 3)]
