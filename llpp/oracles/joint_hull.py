"""The box around a person's joints, for tools that want one where the project has none."""

from collections.abc import Mapping

from llpp.journal.answers import Box, Point


def surround_joints(joints: Mapping[str, Point]) -> Box | None:
    """Return the smallest box around joints; None without any."""
    if not joints:
        return None
    xs = [x for x, _, _ in joints.values()]
    ys = [y for _, y, _ in joints.values()]
    return min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)
