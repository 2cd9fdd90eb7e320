"""Folders are layers: every module of llpp is held to the place that its folder has in one list."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

import llpp
from llpp.config.compose import conf_dir

PACKAGE = Path(llpp.__file__).parent
# From the ground up: a folder imports from itself and from lines above its own. "ground" is what lies flat in llpp/.
FOLDERS = (
    "ground",
    "reliability",
    "pages",
    "objectives heads backbones",
    "acquisition",
    "distributed",
    "run_dir",
    "journal",
    "datasets",
    "tasks auxiliaries",
    "data",
    "training",
    "inference",
    "prediction",
    "report",
    "analysis inspection",
    "oracles",
    "labelling",
    "rounds",
    "checking",
    "loggers",
    "config",
    "launch",
    "cli",
)
PLUG_INS = ("objectives", "heads", "backbones", "acquisition", "datasets", "auxiliaries")
# Maths and data are free of the training framework; only what reads or builds a config knows Hydra and OmegaConf.
WITHOUT_LIGHTNING = ("ground", "reliability", "journal", *PLUG_INS, "prediction", "tasks", "oracles", "labelling")
WITH_HYDRA = ("config", "launch", "cli")


def dotted(path):
    parts = ("llpp", *path.relative_to(PACKAGE).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = {dotted(path): path for path in sorted(PACKAGE.rglob("*.py"))}
TREES = {name: ast.parse(path.read_text()) for name, path in SOURCES.items()}


def folder(module):
    """llpp.heads.gap_fc → heads; llpp.errors → ground; what users call, llpp.load and llpp.__main__, is on top."""
    parts = module.split(".")
    if len(parts) == 1 or parts[-1] == "__main__":
        return "cli"
    return parts[1] if len(parts) > 1 and (PACKAGE / parts[1]).is_dir() else "ground"


def line(module):
    found = [number for number, folders in enumerate(FOLDERS) if folder(module) in folders.split()]
    assert found, (
        f"{module} is in a folder without a place: add it to FOLDERS here and to the tree in CONTRIBUTING.md"
    )
    return found[0]


def imported(module):
    """Full names of everything that a module imports, wherever in it."""
    for node in ast.walk(TREES[module]):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def own_imports(module):
    """Modules of llpp that a module imports."""
    for name in imported(module):
        while name.split(".")[0] == "llpp" and name not in SOURCES:
            name = name.rpartition(".")[0]
        if name in SOURCES:
            yield name


def offenders(wrong):
    """What `wrong` finds, by module; empty if nothing."""
    return {module: found for module in SOURCES if (found := list(wrong(module)))}


def plug_ins():
    """(YAML, module) of every plug-in that conf/ names."""
    for group in ("backbone", "head", "objective", "auxiliary", "acquisition", "dataset"):
        for path in (conf_dir() / group).glob("*.yaml"):
            yield path.stem, OmegaConf.load(path)._target_.rpartition(".")[0]


def test_a_folder_imports_from_itself_and_from_lower_lines():
    def upwards(module):
        for name in own_imports(module):
            if folder(name) != folder(module) and line(name) >= line(module):
                yield name

    assert offenders(upwards) == {}


def test_no_module_imports_itself_over_others():
    """Circles inside of a folder; between folders the list rules them out."""
    graph = {module: set(own_imports(module)) - {module} for module in SOURCES}
    done, path = set(), []

    def visit(module):
        if module in path:
            pytest.fail(" → ".join([*path[path.index(module) :], module]))
        if module in done:
            return
        path.append(module)
        for other in graph[module]:
            # A package's __init__ may collect what its own modules offer.
            if not module.startswith(other + "."):
                visit(other)
        path.pop()
        done.add(module)

    for module in SOURCES:
        visit(module)


def test_only_the_ground_floor_lies_flat():
    assert sum(path.parent == PACKAGE for path in SOURCES.values()) <= 16


def test_nobody_knows_a_plug_in_by_name():
    plugged = {module for _, module in plug_ins()}
    assert len(plugged) > 10
    assert offenders(lambda m: plugged & set(own_imports(m)) if m not in plugged else ()) == {}


def test_frameworks_stay_in_their_folders():
    def frameworks(module):
        forbidden = set()
        if folder(module) in WITHOUT_LIGHTNING:
            forbidden |= {"pytorch_lightning", "lightning"}
        if folder(module) not in WITH_HYDRA:
            forbidden |= {"hydra", "omegaconf"}
        return forbidden & {name.split(".")[0] for name in imported(module)}

    assert offenders(frameworks) == {}


def test_a_plug_ins_yaml_begins_with_the_name_of_its_module():
    """A dataset of more than one file is a folder; those that are put together from others are YAML alone."""
    for yaml, module in plug_ins():
        name = module.removesuffix(".dataset").rpartition(".")[2]
        assert yaml.startswith(name) or module == "llpp.datasets.merged", (yaml, module)


def test_plain_values_and_the_command_line_start_without_torch():
    code = (
        "import sys, llpp.run_dir.state, llpp.errors, llpp.files, llpp.seeds, llpp.cli.main\n"
        "print(*{'torch', 'hydra', 'omegaconf', 'pytorch_lightning'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_nothing_is_left_to_assert():
    """Python leaves assertions out when it is told to optimise."""
    assert offenders(lambda m: [n.lineno for n in ast.walk(TREES[m]) if isinstance(n, ast.Assert)]) == {}
