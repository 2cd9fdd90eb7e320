"""released.json: images that were asked for, were not answered, and may be asked for again."""

import json
from collections.abc import Mapping
from pathlib import Path

from llpp.errors import StateError
from llpp.files import read_text, replace_text

MAX_BYTES = 1 << 28


def read_released(path: Path) -> dict[str, int]:
    """Read the number of the last batch that had asked for each released image; none if there is no file."""
    try:
        content = json.loads(read_text(path, MAX_BYTES))
        return {str(image): int(number) for image, number in content.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise StateError(f"{path} is damaged ({error}); restore it from a backup") from error


def write_released(released: Mapping[str, int], path: Path) -> None:
    """Replace the file."""
    replace_text(path, json.dumps(dict(sorted(released.items())), indent=1))
