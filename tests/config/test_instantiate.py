"""A broken plug-in is explained by its module, the exception, and the line of the user's file where it arose."""

import sys

import pytest
from helpers.cli import llpp
from helpers.experiments import FIGURES, TINY
from omegaconf import OmegaConf

from llpp.config.instantiate import hydra_errors_as_config_errors, make
from llpp.errors import ConfigError, DataError

FILES = {
    "missing_import.py": "import os\n\nimport no_such_library\n\nclass Head: ...\n",
    "undefined_name.py": "class Head:\n    depth = dpeth\n",
    "broken_syntax.py": "class Head:\n    def __init__(self)\n        pass\n",
    "package/__init__.py": "from package.part import Head\n",
    "package/part.py": "\nclass Head(Haed): ...\n",
    "sound.py": """\
from dataclasses import dataclass

import torch

from llpp.errors import DataError
from llpp.heads.gap_fc import GapFCHead

class Head:
    def __init__(self, depth=1):
        self.depth = depth
        if depth == 2:
            self.fill()
        if depth == 3:
            raise DataError("not our data")
        if depth == 4:
            torch.nn.Linear("four", 4)
        if depth == 5:
            raise ValueError("five\\nlines")
        if depth == 6:
            import json
            json.loads("{")

    def fill(self):
        return self.colour

class Derived(GapFCHead):
    def __init__(self):
        super().__init__(spec=None)

@dataclass
class Checked:
    size: int

    def __post_init__(self):
        self.size + "1"

def build_part(part):
    from hydra.utils import instantiate
    return instantiate({"_target_": part})
""",
    "refusing.py": 'from llpp.errors import DataError\n\nraise DataError("no data for this module")\n',
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of plug-ins, on the path of Python."""
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in FILES:
        module = name.split(".")[0].split("/")[0]
        for loaded in list(sys.modules):
            if loaded.split(".")[0] == module:
                del sys.modules[loaded]


def refuse(target, late=False, **arguments):
    """The sentence about a plug-in; `late`: its constructor is called after Hydra has returned."""
    node = OmegaConf.create({"head": {"_target_": target, "_partial_": late, **arguments}}).head
    with pytest.raises(ConfigError) as refused, hydra_errors_as_config_errors():
        make(node)()
    text = str(refused.value)
    assert "\n" not in text
    assert refused.value.__cause__ is not None, "the traceback can be had"
    return text


@pytest.mark.parametrize(
    ("target", "file", "line", "exception"),
    [
        ("missing_import.Head", "missing_import.py", 3, "ModuleNotFoundError: No module named 'no_such_library'"),
        ("undefined_name.Head", "undefined_name.py", 2, "NameError: name 'dpeth' is not defined"),
        ("package.part.Head", "package/part.py", 2, "NameError: name 'Haed' is not defined"),
        ("broken_syntax.Head", "broken_syntax.py", 2, "SyntaxError: expected ':'"),
    ],
)
@pytest.mark.parametrize("late", [False, True])
def test_a_module_that_cannot_be_imported(folder, target, file, line, exception, late):
    text = refuse(target, late)
    assert text.startswith(f"head: {target} cannot be imported: {exception} ({folder / file}, line {line})")
    asks = text.endswith("; install no_such_library, or put its folder on PYTHONPATH")
    assert asks == exception.startswith("ModuleNotFoundError")


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("sound.Haed", "sound has no Haed; did you mean sound.Head?"),
        ("sound.Head.Part", "sound.Head has no Part"),
        ("package.prat.Head", "package has no prat; did you mean package.part?"),
        ("llpp.heads.gap_fcc.GapFCHead", "llpp.heads has no gap_fcc; did you mean llpp.heads.gap_fc?"),
        ("Head", "it names no module; write `_target_: module.Head`"),
        ("nowhere.Head", "No module named 'nowhere': is its folder on PYTHONPATH? Start with PYTHONPATH=FOLDER llpp"),
    ],
)
def test_a_target_that_does_not_exist_is_named_with_what_may_have_been_meant(folder, target, reason):
    (folder / "package/__init__.py").write_text("")
    assert refuse(target).startswith(f"head: {target} cannot be imported: {reason}")


def test_a_module_in_the_folder_of_the_command_is_pointed_out(tmp_path, monkeypatch):
    (tmp_path / "middle_one.py").write_text("class Head: ...\n")
    monkeypatch.chdir(tmp_path)
    reason = f"it is in {tmp_path}, which is not on PYTHONPATH; start with PYTHONPATH=. llpp run …"
    assert refuse("middle_one.Head").endswith(f"No module named 'middle_one': {reason}")


def test_a_class_that_lacks_what_its_contract_asks_for_names_it(folder):
    (folder / "half.py").write_text("from llpp.heads.base import LossHead\n\nclass Head(LossHead): ...\n")
    text = refuse("half.Head")
    assert "abstract class Head " in text and "forward" in text and text.endswith("; write it")


@pytest.mark.parametrize(
    ("depth", "line", "exception"),
    [
        (2, 24, "AttributeError: 'Head' object has no attribute 'colour'"),
        (4, 16, "TypeError: "),
        (5, 18, "ValueError: five; lines"),
        (6, 21, "JSONDecodeError: Expecting property name"),
    ],
)
def test_a_constructor_that_fails(folder, depth, line, exception):
    text = refuse("sound.Head", depth=depth)
    assert text.startswith(f"head: sound.Head cannot be built: {exception}")
    assert text.endswith(f" ({folder / 'sound.py'}, line {line}); set HYDRA_FULL_ERROR=1 to see the traceback")
    text = refuse("sound.Head", late=True, depth=depth)
    function = "fill" if depth == 2 else "__init__"
    assert text.startswith(f"sound.Head.{function} failed: {exception}")
    assert text.endswith(f" ({folder / 'sound.py'}, line {line}); set HYDRA_FULL_ERROR=1 to see the traceback")


def test_the_line_is_the_users_where_a_class_of_llpp_fails_below_it(folder):
    assert f"({folder / 'sound.py'}, line 28)" in refuse("sound.Derived")
    assert "heads/gap_fc.py, line" in refuse("llpp.heads.gap_fc.GapFCHead", spec=3)
    assert f"({folder / 'sound.py'}, line 35)" in refuse("sound.Checked", size=3)


def test_a_wrong_argument_names_the_class_and_the_argument(folder):
    reason = "Head.__init__() got an unexpected keyword argument 'widht'; fix its settings or its YAML file"
    assert refuse("sound.Head", widht=3) == f"head: sound.Head cannot be built: {reason}"
    assert refuse("sound.Head", late=True, widht=3) == reason
    missing = refuse("sound.Checked")
    assert "missing 1 required positional argument: 'size'" in missing and "has `_partial_: true` there" in missing


def test_a_plug_in_that_lets_hydra_build_its_parts_is_explained_by_the_part(folder):
    text = refuse("sound.build_part", part="undefined_name.Head")
    assert f"undefined_name.Head cannot be imported: NameError: name 'dpeth' is not defined ({folder}" in text


@pytest.mark.parametrize("late", [False, True])
def test_errors_of_llpp_pass_unchanged(folder, late):
    with pytest.raises(DataError, match=r"^not our data$"), hydra_errors_as_config_errors():
        make(OmegaConf.create({"_target_": "sound.Head", "_partial_": late, "depth": 3}))()
    with pytest.raises(DataError, match=r"^no data for this module$"):
        make(OmegaConf.create({"_target_": "refusing.Head"}))


def test_bugs_outside_of_plug_ins_keep_their_type():
    with pytest.raises(ZeroDivisionError), hydra_errors_as_config_errors():
        int("1") // 0
    with pytest.raises(ConfigError, match=r"^two; words$"), hydra_errors_as_config_errors():
        raise ValueError("two\n  words")


IMPORTS_NOTHING = "import no_such_library\n"
BREAKS_WHEN_BUILT = "class Head:\n    def __init__(self, spec):\n        self.fc = spec.widht\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        (IMPORTS_NOTHING, 1, "head: mine.tall.Head cannot be imported: ModuleNotFoundError: No module named"),
        (BREAKS_WHEN_BUILT, 3, "mine.tall.Head.__init__ failed: AttributeError: 'FeatureSpec' object has no"),
    ],
)
def test_a_broken_plug_in_ends_the_command_with_one_sentence(tmp_path, text, line, reason):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/tall.py").write_text(text)
    (tmp_path / "conf/head").mkdir(parents=True)
    (tmp_path / "conf/head/tall.yaml").write_text("_target_: mine.tall.Head\n_partial_: true\n")
    options = ["--config-dir", "conf", *TINY, *FIGURES, "head=tall"]
    refused = llpp("run", *options, cwd=tmp_path, PYTHONPATH=str(tmp_path))
    assert refused.returncode == 2
    (sentence,) = refused.stderr.splitlines()
    assert sentence.startswith(f"llpp: {reason}") and f"{tmp_path}/mine/tall.py, line {line})" in sentence
    assert not list(tmp_path.rglob("state.json"))
    shown = llpp("run", *options, cwd=tmp_path, PYTHONPATH=str(tmp_path), HYDRA_FULL_ERROR="1").stderr
    assert "Traceback" in shown and f'tall.py", line {line}' in shown and shown.splitlines()[-1].startswith("llpp: ")
