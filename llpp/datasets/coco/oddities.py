"""What tools write that COCO's format does not have, and labels that are not in their image: counts with examples."""

from pathlib import Path
from typing import Any

from llpp.errors import DataError

REMEDY = "fix the file or export it again"
MAX_EXAMPLES = 3
MAX_VALUE_LENGTH = 200  # characters of what is no name
MAX_NAME_LENGTH = 500  # characters


class Tally:
    """Counts by kind, each with its first examples."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.examples: dict[str, list[str]] = {}

    def add(self, kind: str, example: str) -> None:
        """Count one more of a kind."""
        self.counts[kind] = self.counts.get(kind, 0) + 1
        examples = self.examples.setdefault(kind, [])
        if len(examples) < MAX_EXAMPLES and example not in examples:
            examples.append(example)

    def describe(self) -> list[str]:
        """Return a sentence per kind, in the order in which they were met."""
        sentences = []
        for kind, count in self.counts.items():
            examples = self.examples[kind]
            more = ", …" if count > len(examples) else ""
            sentences.append(f"{count} {kind}: {', '.join(examples)}{more}")
        return sentences


class Oddities(Tally):
    """What a file has besides COCO's format: accepted, or with `strict` refused."""

    def __init__(self, path: Path, strict: bool) -> None:
        super().__init__()
        self.path = path
        self.strict = strict

    def accept(self, kind: str, example: str) -> None:
        """Count one; DataError if the file has to keep to the format."""
        self.check_allowed(kind, example)
        self.add(kind, example)

    def check_allowed(self, kind: str, example: str) -> None:
        """Raise DataError if the file has to keep to the format."""
        if self.strict:
            raise DataError(f"{self.path}: {example}: {kind} only with dataset.strict=false; set it, or {REMEDY}")


def format_value(value: Any) -> str:
    """Return a value of a file as messages show it: names whole, others up to a length that can be read."""
    text = repr(value)
    is_name = isinstance(value, str) and len(value) <= MAX_NAME_LENGTH
    if is_name or len(text) <= MAX_VALUE_LENGTH:
        return text
    return f"{text[:MAX_VALUE_LENGTH]}… ({len(text):,} characters)"
