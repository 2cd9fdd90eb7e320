"""How far two annotators of the same person are apart."""

import itertools
import math

from llpp.datasets.project.asked_dataset import AskedDataset
from llpp.journal.answers import PersonLabel
from llpp.journal.fold import fold_answers
from llpp.journal.journal import read_journal


def measure_disagreement(dataset: AskedDataset) -> dict[str, tuple[str, float]]:
    """The joint about which two annotators are furthest apart, and by how many pixels, by the person's id.

    Persons that one annotator alone has labelled are left out.
    """
    furthest: dict[str, tuple[str, float]] = {}
    for folded in fold_answers(read_journal(dataset.folder.journal)).values():
        labelled = [answer for answer in folded.answers if answer.kind == "labelled"]
        for first, second in itertools.combinations(labelled, 2):
            others = {person.id: person for person in second.persons}
            for person in first.persons:
                if person.id not in others:
                    continue
                found = _find_furthest(person, others[person.id])
                if found is not None and found[1] > furthest.get(person.id, ("", -1.0))[1]:
                    furthest[person.id] = found
    return furthest


def _find_furthest(person: PersonLabel, other: PersonLabel) -> tuple[str, float] | None:
    """The joint of two labels of one person that is furthest apart; None if they share none."""
    distances = {}
    for name, (x, y, _) in person.joints.items():
        if name in other.joints:
            other_x, other_y, _ = other.joints[name]
            distances[name] = math.hypot(x - other_x, y - other_y)
    if not distances:
        return None
    joint = max(distances, key=lambda name: distances[name])
    return joint, distances[joint]
