"""The box around a person's joints, for tools that want one where the project has none."""

from collections.abc import Mapping

from llpp.journal.answers import Box, Point
from llpp.journal.fold import find_hull


def surround_joints(joints: Mapping[str, Point]) -> Box | None:
    """Return the smallest box around joints; None without any."""
    return find_hull(joints) if joints else None
