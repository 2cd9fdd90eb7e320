"""README and docs: what they print runs as printed, and the files, settings and commands that they name exist."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers.experiments import FIGURES, tiny
from omegaconf import OmegaConf

from llpp.config.compose import compose_config, groups
from llpp.rounds import loop
from llpp.setting_rules import CHOICES

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = sorted([README, ROOT / "CONTRIBUTING.md", ROOT / "benchmarks/README.md", *(ROOT / "docs").glob("*.md")])
PLACEHOLDERS = {
    "acquisition=A": "acquisition=random",
    "dataset=D": "dataset=lspet",
    "objective=O": "objective=kl",
    "seed=S": "seed=0",
    "KEY": "KEY",
}


def find_blocks(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def list_commands():
    """The settings of every `llpp run` in the pages' blocks; of a sweep, the first job's."""
    commands = []
    for page in PAGES:
        for block in find_blocks(page, "sh"):
            for line in block.replace("\\\n", " ").splitlines():
                found = re.search(r"\bllpp run (.*)", line)
                if found is None or "--config-dir" in line:
                    continue
                settings = []
                for word in shlex.split(found[1], comments=True):
                    if "=" not in word or word.endswith("=…"):
                        continue
                    word = PLACEHOLDERS.get(word, word)
                    settings.append(re.sub(r"^([^=]+=[^\[{,]+),.*", r"\1", word))
                commands.append(pytest.param(settings, id=f"{page.stem}: {found[1][:60]}"))
    return commands


@pytest.mark.slow
@pytest.mark.parametrize("settings", list_commands())
def test_every_command_composes(settings):
    assert compose_config(settings).rounds >= 1


@pytest.mark.slow
def test_every_setting_that_a_page_names_exists():
    known = set()
    for overrides in ([], ["task=classification", "dataset=digits", "backbone=resnet18"], ["dataset=mpii"],
                      ["logger=wandb"], ["dataset=coco"], ["dataset=cifar10"], ["pose_loss=mse"],
                      ["acquisition=stratified_power"], ["acquisition=herded_loss"], ["acquisition=adaptive"],
                      ["head=heatmap_conv"], ["acquisition=mc_dropout", "auxiliary=link_lengths"],
                      ["dataset=project", "dataset.root=mice", "+label=default"]):  # fmt: skip
        pending = [("", compose_config(overrides))]
        while pending:
            name, node = pending.pop()
            for key in node:
                path = f"{name}.{key}".lstrip(".")
                known.add(path)
                if not OmegaConf.is_interpolation(node, key) and OmegaConf.is_dict(node[key]):
                    pending.append((path, node[key]))
    sections = {path.split(".")[0] for path in known if "." in path}
    unknown = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        text = text.split("## Old names")[0]
        for name, value in re.findall(r"`([a-z_]+(?:\.[a-z_]+)+)(?:=([^`]*))?`", text):
            if name.split(".")[0] in sections and name not in known and not name.endswith(".html"):
                unknown.append(f"{page.name}: {name}")
            if value and value not in CHOICES.get(name, (value,)):
                unknown.append(f"{page.name}: {name}={value}")
    assert not unknown


def test_every_choice_that_a_page_names_exists():
    choices = groups()
    unknown = []
    for page in PAGES:
        for group, choice in re.findall(r"\b([a-z_]+)=([a-z]\w+)\b(?![.=(])", page.read_text(encoding="utf-8")):
            if group in choices and choice not in choices[group] and choice not in ("mine", "middle", "null"):
                unknown.append(f"{page.name}: {group}={choice}")
    assert not unknown


def test_every_file_that_a_page_links_or_names_exists():
    missing = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text)
        missing += [f"{page.name}: {link}" for link in links if not (page.parent / link).exists()]
        names = re.findall(r"`((?:llpp|conf|tests|benchmarks|docs)/[\w./]*)`", text)
        missing += [f"{page.name}: {name}" for name in names if not (ROOT / name).exists()]
    assert not missing


@pytest.mark.slow
def test_the_readmes_python_runs_as_printed(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    loop.run_rounds(tiny(tmp_path / "runs/demo/predicted_loss/seed0", *FIGURES, "rounds=1"))
    cv2.imwrite("a.jpg", np.full((60, 80, 3), 128, dtype=np.uint8))
    (snippet,) = [block for block in find_blocks(README, "python") if "llpp.load" in block]
    capsys.readouterr()
    exec(compile(snippet, "README.md", "exec"), {})
    printed = capsys.readouterr().out
    assert len(re.findall(r"^-?\d+\.\d+ \[\[", printed, re.MULTILINE)) == 2


@pytest.mark.slow
def test_the_readmes_plug_in_runs_as_printed(tmp_path):
    text = README.read_text(encoding="utf-8")
    written = []
    for name, content in re.findall(r"^```\w+\n# ([\w./]+)\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content, encoding="utf-8")
        written.append(name)
    assert written == ["middle.py", "my_conf/acquisition/middle.yaml"]
    (command,) = [block for block in find_blocks(README, "sh") if "--config-dir" in block]
    programs = str(Path(sys.executable).parent)
    environment = {**os.environ, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-ec", command], cwd=tmp_path, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    (run,) = (tmp_path / "runs").glob("*/seed0")
    assert (run / "round_00/selected.csv").read_text().count("\n") > 1
