"""Names of packages in one argument, as `--trusted-packages` has them."""

import re


def split_package_names(text: str) -> list[str]:
    """The names in `a,b`, or in `[a, b]`, as Hydra writes lists."""
    return [name for name in re.split(r"[\s,\[\]]+", text) if name]
