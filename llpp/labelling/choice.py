"""Which images people are asked for, and why each of them: in words, for those who label.

N images of a project. Whatever is random is a hash of the project's salt and of ids, so that a repeated command asks
for the same images.
"""

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from llpp.datasets.project.index import CONDITIONS, ProjectIndex
from llpp.datasets.project.project_file import ProjectFile
from llpp.datasets.project.thumbnails import choose_diverse
from llpp.hashing import hash_json
from llpp.ids import Ids
from llpp.reliability.rankers import HEAD

FIRST_TEST_SHARE = 0.4  # of the first batch: without test images nobody knows how good the first model is
LATER_TEST_SHARE = 0.2  # of each later batch
TEST_REASON = "random, for testing"
AUDIT_REASON = "drawn by chance, to measure the model"
WEAK_REASON = "random: the model is not good enough yet to go by where it fails"
UNKNOWN_REASON = "random: how good the model is has not been measured yet"
DIVERSE_REASON = "unlike all others: no model yet"
Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Choice:
    """An image that people are to be asked for."""

    image: str  # id
    role: str  # train | test
    reason: str  # in words


class HasRole(Protocol):
    """A choice, or what was made of it."""

    @property
    def image(self) -> str:
        """Id."""

    @property
    def role(self) -> str:
        """`train` or `test`."""


Listed = TypeVar("Listed", bound=HasRole)


def choose_first_batch(
    index: ProjectIndex, project: ProjectFile, taken: Collection[str], budget: int, test_wanted: int, gap: float
) -> list[Choice]:
    """Choose a batch without a model: random test images first, then training images that differ most.

    Args:
        index: of the N images.
        project: gives the salt.
        taken: ids of images that are labelled already, or asked for.
        budget: images of the batch, in both roles; where one role has too few, the other one fills up.
        test_wanted: images that are to be labelled for testing in all.
        gap: seconds between two frames of a film.
    """
    missing = test_wanted - _count_test_images(index, taken)
    wanted = min(round(FIRST_TEST_SHARE * budget), max(missing, 0))
    test = choose_test_images(index, project, taken, wanted, gap)
    train = _choose_diverse_images(index, taken, budget - len(test), gap)
    left = budget - len(test) - len(train)
    if left > 0:
        more = min(len(test) + left, max(missing, 0))
        test = choose_test_images(index, project, taken, more, gap)
    choices = [Choice(image, "test", TEST_REASON) for image in test]
    choices += [Choice(image, "train", DIVERSE_REASON) for image in train]
    return choices


def choose_next_batch(
    index: ProjectIndex,
    project: ProjectFile,
    taken: Collection[str],
    test_count: int,
    ranked: Sequence[str],
    acquisition: str,
    gap: float,
    audited: Collection[str] = (),
    ranker: str = HEAD,
    beta: float | None = None,
    competence: float | None = None,
) -> list[Choice]:
    """Return so many random test images, then the training images that a run has selected, most wanted first.

    Those in `audited` were drawn by chance, the others chosen by the acquisition function, to which the `ranker` says
    how likely an image fails. How far it leans to likely failures is `beta`, where that changes from batch to batch,
    with the measured `competence` of the model.
    """
    test = choose_test_images(index, project, taken, test_count, gap)
    choices = [Choice(image, "test", TEST_REASON) for image in test]
    rank = 0
    for image in ranked:
        if image in audited:
            choices.append(Choice(image, "train", AUDIT_REASON))
            continue
        rank += 1
        choices.append(Choice(image, "train", explain_rank(acquisition, rank, ranker, beta, competence)))
    return choices


def explain_rank(
    acquisition: str,
    rank: int,
    ranker: str = HEAD,
    beta: float | None = None,
    competence: float | None = None,
) -> str:
    """Say why an acquisition function has chosen an image; rank 1 is the one that it wants most."""
    if acquisition == "adaptive" and beta == 0:
        return UNKNOWN_REASON if competence is None else WEAK_REASON
    if acquisition == "adaptive" and beta is not None:
        return f"drawn, likely failures before others (rank {rank})"
    if acquisition == "predicted_loss" and ranker != HEAD:
        return f"likeliest failure by {ranker} (rank {rank})"
    if acquisition == "predicted_loss":
        return f"largest predicted loss (rank {rank})"
    if acquisition == "random":
        return "random"
    return f"chosen by acquisition={acquisition} (rank {rank})"


def count_test_share(budget: int, test_wanted: int, test_labelled: int, test_open: int) -> int:
    """Count the test images of a batch after the first one: a fifth, until enough are labelled or asked for.

    At least one while some are missing, so that small batches lead there, too.
    """
    missing = test_wanted - test_labelled - test_open
    share = max(round(LATER_TEST_SHARE * budget), 1)
    return max(min(share, missing, budget), 0)


def count_test_candidates(index: ProjectIndex, taken: Collection[str]) -> int:
    """Count the images of test groups that can be asked for."""
    return len(_find_candidates(index, taken, is_test=True))


def list_train_candidates(index: ProjectIndex, taken: Collection[str]) -> list[str]:
    """Return the ids of the images of training groups that can be asked for."""
    return [index.ids[row] for row in _find_candidates(index, taken, is_test=False).tolist()]


def choose_test_images(
    index: ProjectIndex, project: ProjectFile, taken: Collection[str], count: int, gap: float
) -> list[str]:
    """Choose images of test groups at random: the first `count` in the order of their hashes.

    Frames of a film that are less than `gap` seconds from a chosen or taken one come last: they would count twice.
    """
    candidates = _find_candidates(index, taken, is_test=True)
    order = _order_by_hash(index.ids.take(candidates), project.salt, "ask")
    rows = candidates[order]
    is_soon = _is_soon(index, rows, index.ids.find_rows(taken), gap)
    chosen: list[int] = []
    for place in np.flatnonzero(~is_soon).tolist():
        if len(chosen) >= count:
            break
        if not is_soon[place]:
            chosen.append(int(rows[place]))
            is_soon |= _is_soon(index, rows, rows[[place]], gap)
    is_chosen = np.isin(rows, chosen)
    chosen += rows[~is_chosen][: count - len(chosen)].tolist()
    return [index.ids[row] for row in chosen]


def mark_blind(ids: Sequence[str], share: float, salt: str, round: int) -> frozenset[str]:
    """Choose the share of a batch's training images that people are to see without a suggestion, at random.

    What they draw there shows by how much suggestions lead them.
    """
    order = _order_by_hash(ids, salt, f"blind {round}")
    count = math.floor(share * len(order) + 0.5)
    return frozenset(ids[place] for place in order[:count])


def split_among_annotators(rows: Sequence[Listed], annotators: int, overlap: float, salt: str) -> list[list[Listed]]:
    """Deal a batch out to several people; a share of it goes to all of them, test images before others.

    A test image with two answers shows how far people agree, which is as good as a model can be measured.

    Args:
        rows: the batch, most wanted first.
        annotators: how many people.
        overlap: share of the batch that everybody gets.
        salt: of the project.

    Returns:
        One list per person, test images first, else in the order of the batch; each image is in at least one.
    """
    test_first = sorted(rows, key=lambda row: row.role != "test")
    if annotators == 1:
        return [test_first]
    order = _order_by_hash([row.image for row in test_first], salt, "overlap")
    order.sort(key=lambda place: test_first[place].role != "test")
    count = math.floor(overlap * len(rows) + 0.5)
    shared = set(order[:count])
    parts: list[list[Listed]] = [[] for _ in range(annotators)]
    dealt = 0
    for place, row in enumerate(test_first):
        if place in shared:
            for part in parts:
                part.append(row)
        else:
            parts[dealt % annotators].append(row)
            dealt += 1
    return parts


def _find_candidates(index: ProjectIndex, taken: Collection[str], *, is_test: bool) -> Rows:
    """Return the rows of all images of test groups, or of the others, that can be asked for."""
    is_ok = index.condition == CONDITIONS.index("ok")
    is_taken = index.ids.is_in(Ids(taken))
    return np.flatnonzero(is_ok & ~is_taken & (index.is_test == is_test))


def _count_test_images(index: ProjectIndex, ids: Collection[str]) -> int:
    return int((index.is_test & index.ids.is_in(Ids(ids))).sum())


def _choose_diverse_images(index: ProjectIndex, taken: Collection[str], count: int, gap: float) -> list[str]:
    """Choose up to `count` images of training groups, each unlike those before it and those that are taken."""
    is_known = index.ids.is_in(Ids(taken)) & ~index.is_test
    candidates = _find_candidates(index, taken, is_test=False)
    if count < 1 or len(candidates) == 0:
        return []
    rows = np.concatenate([np.flatnonzero(is_known), candidates])
    films = [index.film[row] for row in rows.tolist()]
    known = len(rows) - len(candidates)
    places = np.arange(known)
    # Where a film is too short for the gap, nearer frames fill the batch: a first model needs its images.
    for smallest in (gap, 0.0):
        missing = known + count - len(places)
        more = choose_diverse(index.thumbnail[rows], index.seconds[rows], films, missing, smallest, places)
        places = np.concatenate([places, more])
    chosen = rows[places[known:]]
    return [index.ids[row] for row in chosen.tolist()]


def _is_soon(index: ProjectIndex, rows: Rows, others: Rows, gap: float) -> NDArray[np.bool_]:
    """Return which of `rows` (n,) are frames less than `gap` seconds from one of `others` in the same film: (n,)."""
    # Ids that are not in the project any more have no row.
    others = others[others >= 0]
    films = index.film.assign_codes()
    is_same_film = films[rows][:, None] == films[others]
    # Images have no time, and a comparison with NaN is false.
    is_near = np.abs(index.seconds[rows][:, None] - index.seconds[others]) < gap
    is_soon: NDArray[np.bool_] = (is_same_film & is_near).any(axis=1)
    return is_soon


def _order_by_hash(ids: Iterable[str], salt: str, purpose: str) -> list[int]:
    """Return the places of ids in an order that is random, and the same whenever it is asked for."""
    hashes = [hash_json([salt, purpose, image]) for image in ids]
    return sorted(range(len(hashes)), key=hashes.__getitem__)
