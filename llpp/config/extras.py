"""What is installed with an extra of llpp only, and how to get it; the extras are those of pyproject.toml."""

# Choices of Hydra's groups that a package of an extra brings.
LAUNCHERS = {"joblib": "sweep", "submitit_local": "sweep", "submitit_slurm": "sweep"}
PACKAGES = {"h5py": "label", "wandb": "wandb", "tensorboard": "tensorboard", "joblib": "sweep", "submitit": "sweep"}


def explain_missing_launcher(group: str, choice: str) -> str | None:
    """One sentence about a choice of `hydra/launcher` that an extra brings; None about any other."""
    if group != "hydra/launcher" or choice not in LAUNCHERS:
        return None
    return f"{group}={choice} is not installed; {_advise(LAUNCHERS[choice])}"


def find_advice(error: BaseException) -> str | None:
    """What to install, if the exception says that a package of an extra is missing."""
    if not isinstance(error, ModuleNotFoundError):
        return None
    # Lightning checks for a package by itself, and then names none in the exception's attribute.
    missing = str(error.name or error)
    for package, extra in PACKAGES.items():
        if missing.split(".")[0] == package or f"`{package}`" in missing:
            return f"{package} is not installed; {_advise(extra)}"
    return None


def _advise(extra: str) -> str:
    return f"pip install 'llpp[{extra}]'"
