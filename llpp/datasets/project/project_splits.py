"""Which images of a project are for testing: a function of their group that new images do not change.

G groups, N frames.
"""

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

TEST_SHARE = 0.2  # of the groups
TOLERANCE = 0.05  # of the cut: groups that are found later are for testing with this probability
MAX_ATTEMPTS = 1000  # at a salt
BUFFER = 2.0  # seconds between frames of different splits
MAX_BUFFER_SHARE = 0.25  # of a segment: of a short one, something has to remain
SHORT_SEGMENTS = 5  # that a short film is cut into, if it is all there is


def compute_share(salt: str, group: str) -> float:
    """A number from 0 to 1 that depends on nothing but the project's salt and the group."""
    digest = hashlib.blake2b(f"{salt}/{group}".encode(), digest_size=8).digest()
    # 53 bits are what a float holds exactly: more would round the largest ones to 1.
    return (int.from_bytes(digest) >> 11) / (1 << 53)


def find_test_groups(groups: Iterable[str], salt: str, cut: float) -> set[str]:
    """Those of some groups that are for testing."""
    return {group for group in set(groups) if compute_share(salt, group) < cut}


def choose_cut(name: str, groups: Iterable[str]) -> tuple[str, float]:
    """The salt and the cut of a new project, by which about a fifth of G groups are for testing.

    At least one is, if there are two, and never all. Few groups would seldom be parted so by a cut near a fifth; of
    salts that are made of the project's name, the first is taken that does. So groups that are found later are for
    testing with a probability of about a fifth, too.
    """
    distinct = sorted(set(groups))
    count = max(0, min(max(round(TEST_SHARE * len(distinct)), 1), len(distinct) - 1))
    best_salt = name
    best_cut = TEST_SHARE
    best_distance = np.inf
    for attempt in range(MAX_ATTEMPTS):
        salt = hashlib.sha256(f"{name}/{attempt}".encode()).hexdigest()[:16]
        shares = sorted(compute_share(salt, group) for group in distinct)
        # Shares below the cut are for testing, so the cut is above the last of them and at most the next.
        lowest = np.nextafter(shares[count - 1], 1.0) if count > 0 else 0.0
        highest = shares[count] if count < len(shares) else 1.0
        cut = float(np.clip(TEST_SHARE, lowest, highest))
        distance = abs(cut - TEST_SHARE)
        if distance < best_distance:
            best_salt = salt
            best_cut = cut
            best_distance = distance
        if distance <= TOLERANCE:
            break
    return best_salt, best_cut


def choose_segment(segment: float, seconds: Sequence[float], image_count: int) -> float:
    """The length of a film's groups: `segment`, or less if one short film, `seconds` long, is all there is."""
    is_alone = len(seconds) == 1 and image_count == 0
    if is_alone and 0 < seconds[0] <= segment:
        return seconds[0] / SHORT_SEGMENTS
    return segment


def name_segment(film: str, number: int, segment: float) -> str:
    """The group of the frames in a film's segment, counted from 0."""
    return f"{film} {number * segment:g}-{(number + 1) * segment:g} s"


def find_segments(seconds: NDArray[np.float64], segment: float) -> NDArray[np.int64]:
    """The segment of frames at these times in their film: (N,) → (N,)."""
    return np.floor(seconds / segment).astype(np.int64)


def find_apart(film: str, seconds: NDArray[np.float64], segment: float, salt: str, cut: float) -> NDArray[np.bool_]:
    """Which frames of a film are too near to a segment of another split: (N,) → (N,).

    Nearer than two seconds, or in short segments than a quarter of one.
    """
    buffer = min(BUFFER, MAX_BUFFER_SHARE * segment)
    own = find_segments(seconds, segment)
    # Behind the film's end there is nothing to be too near to.
    existing = set(own.tolist())
    apart = np.zeros(len(seconds), dtype=np.bool_)
    for row, (time, number) in enumerate(zip(seconds.tolist(), own.tolist(), strict=True)):
        own_split = compute_share(salt, name_segment(film, number, segment)) < cut
        for neighbour, distance in (
            (number - 1, time - number * segment),
            (number + 1, (number + 1) * segment - time),
        ):
            if neighbour not in existing or distance >= buffer:
                continue
            split = compute_share(salt, name_segment(film, neighbour, segment)) < cut
            apart[row] = apart[row] or split != own_split
    return apart
