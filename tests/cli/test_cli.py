"""The command line as a user meets it: real processes, real folders, wrong input included."""

import csv
import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from helpers.cli import llpp
from helpers.command import Command
from helpers.experiments import FIGURES, TINY, tiny
from helpers.lsp_folders import change, folder

from llpp.cli.main import explain_resuming
from llpp.errors import ConfigError, DataError, StateError
from llpp.rounds import loop
from llpp.run_dir import lock

ROOT = Path(__file__).parents[2]


def test_help_names_the_commands_without_loading_torch(tmp_path):
    shown = llpp("--help", cwd=tmp_path, anew=True, PYTHONPROFILEIMPORTTIME="1")
    assert shown.returncode == 0 and "llpp run" in shown.stdout and "llpp report" in shown.stdout
    assert "| torch" not in shown.stderr and "import time" in shown.stderr


MISTAKES = {  # command line → what it begins with, after the names of the modules that it has imported
    "run --help": "llpp run [OPTION=VALUE ...]",
    "run head=gap_fc -h": "llpp run [OPTION=VALUE ...]",
    "report --help": "usage: llpp report",
    "data --help": "usage: llpp data",
    "data cache --help": "usage: llpp data cache",
    "analyze --help": "usage: llpp analyze",
    "nope": "llpp: unknown command 'nope'",
    "run bugdet=3": "hydra | llpp: bugdet is not known; did you mean budget?",
    "run head=nope": "hydra | llpp: Could not find 'head/nope'. Available options in 'head': distinctness, gap_fc",
    "run -m seed=0,1 head=nope": "hydra | llpp: Could not find 'head/nope'",
    "run -m bugdet=3,4": "hydra | llpp: bugdet is not known",
    "run head=nope --cfg job": "hydra | llpp: Could not find 'head/nope'",
    "run --config-dir nowhere": "hydra | llpp: --config-dir nowhere is not a folder",
    "run -m optimizer.lrr=1e-3,2e-3": "hydra | llpp: optimizer.lrr is not known",
    "run optimizer.lr=abc": "hydra | llpp: optimizer.lr='abc' is invalid",
    "run data.batch_size=0": "hydra | llpp: data.batch_size=0 is invalid",
    "run trainer.precision=half": "hydra | llpp: trainer.precision='half' is invalid",
    "run pck.joints=all": "hydra | llpp: pck.joints='all' is not known",
    "run crop.margin=0.5": "hydra | llpp: crop.margin=0.5 is invalid",
    "run augmentation.flip=2": "hydra | llpp: augmentation.flip=2 is invalid",
    "run scoring.views=seven": "hydra | llpp: scoring.views='seven' is not known; use none, flip or six",
    "run task.flip_test=true": "hydra | llpp: task.flip_test is now scoring.views; set scoring.views=flip in place "
    "of true, and none in place of false",
    "run pck.threshold=0": "hydra | llpp: pck.threshold=0 is invalid",
    "run budget": "hydra | llpp: 'budget' is invalid",
    "data dataset=nope": "hydra | llpp: Could not find 'dataset/nope'",
    "data crop.size=3": "hydra | llpp: crop.size=3 is invalid",
    "data crop.size=${nowhere}": "hydra | llpp: Interpolation key 'nowhere' not found",
    "data cache list datasets=nope": "hydra | llpp: datasets is not known; did you mean dataset?",
    "run data.batchsize=8": "hydra | llpp: data.batchsize is not known; did you mean data.batch_size?",
    "run +data.batchsize=8": "hydra | llpp: data.batchsize is not known",
    "run trainer.precision=16-mixed": "hydra | llpp: trainer.precision=16-mixed is very slow on CPUs",
    "run +trainer.strategy=ddp": "hydra | llpp: trainer.strategy='ddp' cannot be used",
    "run trainer.fast_dev_run=true": "hydra | llpp: trainer.fast_dev_run cannot be used",
    "run paths.runs=x/a=b": "hydra | llpp: 'paths.runs=x/a=b' is invalid: its value has '='",
    "run -m initial=8,12": "hydra | llpp: jobs 1 and 2 of this sweep would share the run directory",
    "run crop=3": "hydra | llpp: crop=3 is invalid",
    f"run name={'x' * 300}": "hydra | llpp: name has a folder's name of 300 bytes (xxxxxxxxxxxxxxxxxxxx…), and file",
    f"run name='{'ü' * 128}'": "hydra | llpp: name has a folder's name of 256 bytes",
    f"run paths.runs=a/{'x' * 300}": "hydra | llpp: paths.runs has a folder's name of 300 bytes",
    "run training.weights=best trainer.check_val_every_n_epoch=90": (
        "hydra | llpp: training.weights=best needs a validation, but"
    ),
    "run data.batch_size=7 trainer.devices=2": (
        "hydra | llpp: data.batch_size=7 is that of all devices together and cannot be divided by 2"
    ),
    # Only a run is refused before torch is imported.
    f"report {'x' * 300}": f"hydra | torch | llpp: {'x' * 300} cannot be used: File name too long; choose a shorter",
}


@pytest.mark.slow
def test_help_and_mistakes_are_shown_before_torch_is_imported(tmp_path):
    """All in one process, in this order: help imports nothing heavy, and what composes imports Hydra alone."""
    code = (
        "import contextlib, io, sys\n"
        "from llpp.cli.main import main\n"
        "for line in sys.stdin.read().splitlines():\n"
        "    sys.argv, shown = ['llpp', *line.split()], io.StringIO()\n"
        "    try:\n"
        "        with contextlib.redirect_stderr(shown), contextlib.redirect_stdout(shown):\n"
        "            main()\n"
        "    except SystemExit:\n"
        "        loaded = [name for name in ('hydra', 'torch') if name in sys.modules]\n"
        "        print(*loaded, shown.getvalue().splitlines()[0], sep=' | ')\n"
    )
    commands = "\n".join(MISTAKES)
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, input=commands, capture_output=True, text=True)
    lines = done.stdout.splitlines()
    assert len(lines) == len(MISTAKES), done.stderr
    wrong = []
    for line, beginning in zip(lines, MISTAKES.values(), strict=True):
        if not line.startswith(beginning):
            wrong.append(line)
    assert wrong == []
    # Hydra writes what a sweep was called with before it composes the jobs
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["multirun.yaml", "runs"]


@pytest.mark.slow
def test_a_sweep_with_an_unknown_choice_ends_before_its_first_job_and_leaves_no_secret(tmp_path):
    refused = llpp("run", "-m", "head=gap_fc,nope", "+logger.api_key=sesame", cwd=tmp_path, anew=True)
    assert refused.returncode == 2
    assert refused.stderr == (
        "llpp: Could not find 'head/nope'. Available options in 'head': distinctness, gap_fc, gap_multilevel, "
        "heatmap_conv, multiscale_conv\n"
    )
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["multirun.yaml"]
    text = (tmp_path / "runs/multirun.yaml").read_text()
    assert "head=gap_fc,nope" in text and "sesame" not in text


def test_an_unknown_command_lists_the_known_ones(tmp_path):
    refused = llpp("train", cwd=tmp_path, anew=True)
    assert refused.returncode == 2
    known = "run, label, predict, check, export, report, data, analyze"
    assert refused.stderr == f"llpp: unknown command 'train'; expected one of {known} (see llpp --help)\n"


@pytest.mark.parametrize("command", ["run", "data", "report runs", "analyze", "data cache list"])
def test_a_current_folder_that_was_deleted_is_told(command, tmp_path):
    folder = tmp_path / "gone"
    folder.mkdir()
    refused = subprocess.run(
        [sys.executable, "-m", "llpp", *command.split()],
        cwd=folder, preexec_fn=folder.rmdir, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert refused.returncode == 2
    assert refused.stderr == (
        "llpp: the current folder cannot be used: No such file or directory; it was deleted or moved: cd to one that "
        "exists\n"
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["bugdet=3"], "bugdet is not known; did you mean budget?"),
        (["head=gap"], "Could not find 'head/gap'; did you mean gap_fc? Available options in 'head': distinctness,"),
        (["data.batchsize=3"], "data.batchsize is not known; did you mean data.batch_size?"),
        (["+seed=3"], "Could not append to config. An item is already at 'seed'."),
    ],
)
def test_unknown_options_and_plugins_are_named_with_the_known_ones(tmp_path, words, sentence):
    refused = llpp("run", *words, cwd=tmp_path)
    assert refused.returncode == 2 and refused.stderr.startswith(f"llpp: {sentence}")
    assert len(refused.stderr.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["budget=5000"], "budget=5000 exceeds the unlabelled pool (24 left after round 0"),
        (
            ["dataset=lspet", "paths.data_root=/nowhere"],
            "no joints.mat in /nowhere/lspet; unpack the published archive",
        ),
        (["dataset.size=nine"], "dataset.size"),
        (["+head.depth=3"], "MultiscaleConvHead.__init__() got an unexpected keyword argument 'depth'"),
        (["+optimizer.momentum=3"], "Adam.__init__() got an unexpected keyword argument 'momentum'"),
    ],
)
def test_wrong_input_gets_one_sentence_and_no_traceback(tmp_path, overrides, sentence):
    figures = () if "dataset=lspet" in overrides else FIGURES
    refused = llpp("run", *TINY, *figures, *overrides, cwd=tmp_path)
    assert refused.returncode == 2
    assert sentence in refused.stderr and "Traceback" not in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1
    assert not list(tmp_path.rglob("state.json"))


@pytest.mark.slow
def test_the_wheel_brings_its_configuration_and_runs_from_any_folder(tmp_path):
    wheels = tmp_path / "wheels"
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*build, "--wheel-dir", str(wheels), str(ROOT)], check=True)
    (wheel,) = wheels.glob("llpp-*.whl")
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    where = [sys.executable, "-c", "import llpp; print(llpp.__file__)"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    found = subprocess.run(where, cwd=elsewhere, env=environment, capture_output=True, text=True, check=True)
    assert found.stdout.startswith(str(tmp_path / "site"))
    path = environment["PYTHONPATH"]
    done = llpp("run", *TINY, *FIGURES, "debug=fdr", "report.write=true", cwd=elsewhere, anew=True, PYTHONPATH=path)
    assert done.returncode == 0, done.stderr
    assert (elsewhere / "runs/debug/seed0/report.html").exists()


@pytest.mark.slow
def test_a_head_from_another_folder_is_used_by_name(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "conf/head").mkdir(parents=True)
    (tmp_path / "conf/head/brightness.yaml").write_text("_target_: mine.brightness.BrightnessHead\n_partial_: true\n")
    (tmp_path / "mine/brightness.py").write_text(
        "from llpp.heads.base import LossHead\nfrom torch import nn\n\n"
        "class BrightnessHead(LossHead):\n"
        "    def __init__(self, spec):\n"
        "        super().__init__()\n"
        "        self.fc = nn.Linear(spec.penultimate, 1)\n\n"
        "    def forward(self, features):\n"
        "        return self.fc(features.penultimate.amax(dim=(2, 3))).squeeze(1)\n"
    )
    done = llpp(
        "run", "--config-dir", "conf", *TINY, *FIGURES, "head=brightness", cwd=tmp_path, PYTHONPATH=str(tmp_path)
    )
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "runs").glob("*-brightness-*/seed0/state.json"))


@pytest.mark.slow
def test_the_csv_log_has_every_epoch_of_every_round(tmp_path):
    loop.run_rounds(tiny(tmp_path, "logger=csv", "trainer.log_every_n_steps=1", "rounds=2"))
    (log,) = tmp_path.glob("logs/version_0/metrics.csv")
    header = log.read_text().splitlines()[0].split(",")
    assert {"train/pose_loss", "train/objective", "val/pck", "round/test_pck"} <= set(header)
    logged = list(csv.DictReader(log.read_text().splitlines()))
    # 12 and 18 images in batches of 4, the rest of an epoch dropped, two epochs each: 6 and 8 steps
    assert [int(row["step"]) for row in logged if row["train/pose_loss"]] == list(range(14))
    assert [row["step"] for row in logged if row["round/test_pck"]] == ["6", "14"]


def lsp_run(run_dir, root, *overrides):
    dataset = ("dataset=lsp", "dataset.val=2", "dataset.test=3", f"dataset.root={root}")
    loop.run_rounds(tiny(run_dir, "initial=4", "budget=2", "trainer.max_epochs=1", *overrides, dataset=dataset))


@pytest.fixture
def photographs(tmp_path):
    folder(tmp_path / "lsp", count=16, extended=False)
    return tmp_path / "lsp"


@pytest.mark.slow
def test_a_corrupt_image_stops_a_run_before_it_starts(photographs, tmp_path):
    (photographs / "images/im0005.jpg").write_bytes(b"\xff\xd8 broken")
    with pytest.raises(
        DataError, match=r"im0005.jpg is truncated.*; fix or remove it, or set pool.on_bad_image=skip"
    ):
        lsp_run(tmp_path / "run", photographs)
    assert not (tmp_path / "run/state.json").exists()


@pytest.mark.slow
def test_a_skipped_image_is_listed_and_never_scored_or_selected(photographs, tmp_path):
    for name in ("im0005", "im0012", "im0015"):  # one to train on, one to validate, one to test
        (photographs / f"images/{name}.jpg").write_bytes(b"")
    lsp_run(tmp_path / "run", photographs, "pool.on_bad_image=skip")
    listed = (tmp_path / "run/skipped.csv").read_text()
    assert "lsp/im0005," in listed and "lsp/im0015," in listed and "is empty" in listed
    seen = [
        i for table in (tmp_path / "run").glob("round_*/*.parquet") for i in pq.read_table(table).to_pydict()["id"]
    ]
    assert seen and "lsp/im0005" not in seen and "lsp/im0015" not in seen


@pytest.mark.slow
def test_labels_that_changed_between_rounds_are_refused(photographs, tmp_path):
    lsp_run(tmp_path / "run", photographs, "rounds=2")
    folder(tmp_path / "other", count=16, extended=False)
    change(tmp_path / "other", lambda table: table[0, 3].__setitem__(5, 33.3))
    lsp_run(tmp_path / "run", photographs, "rounds=2")
    with pytest.raises(ConfigError, match=r"other data \(1 of 16 records changed \('lsp/im0006' among them\)\)"):
        lsp_run(tmp_path / "run", tmp_path / "other")


@pytest.mark.slow
def test_a_full_disk_is_told_and_the_last_commit_stays(tmp_path, monkeypatch):
    loop.run_rounds(tiny(tmp_path, "rounds=2"))
    before = (tmp_path / "state.json").read_bytes()
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("this system has no /dev/full")
    from llpp import files

    with monkeypatch.context() as patch:
        patch.setattr(files, "_write_bytes", lambda path, content: full.write_bytes(content))
        with pytest.raises(StateError, match=r"cannot write to the run directory .*: No space left on device"):
            loop.run_rounds(tiny(tmp_path))
    assert (tmp_path / "state.json").read_bytes() == before
    assert len(loop.run_rounds(tiny(tmp_path)).rounds) == 3


@pytest.mark.slow
def test_two_processes_never_share_a_run_directory(tmp_path):
    long = [*TINY, *FIGURES, "trainer.max_epochs=400", "paths.run_dir=shared"]
    first = Command("run", *long, cwd=tmp_path)
    try:
        deadline = time.monotonic() + 60
        while not (tmp_path / "shared/state.json").exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        second = llpp("run", *long, cwd=tmp_path)
    finally:
        first.send_signal(signal.SIGKILL)
        first.wait()
    assert second.returncode == 2 and f"shared is in use by process {first.pid} on" in second.stderr
    with lock.lock_run_dir(tmp_path / "shared"):  # a dead owner's directory is free at once
        assert (tmp_path / "shared/lock").read_text().startswith(f"process {os.getpid()} on")


@pytest.mark.parametrize(
    ("program", "verb", "environment", "advice"),
    [
        ("/usr/bin/llpp", "run", {}, ": llpp run 'name=a b' -m seed=0,1"),
        ("/site/llpp/__main__.py", "run", {}, f": {Path(sys.executable).name} -m llpp run 'name=a b' -m seed=0,1"),
        ("/site/llpp/__main__.py", "run", {"TORCHELASTIC_RUN_ID": "x"}, ""),
    ],
)
def test_an_interruption_names_the_command_that_resumes(program, verb, environment, advice, monkeypatch):
    monkeypatch.setattr(sys, "argv", [program])
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    said = explain_resuming(verb, ["run", "name=a b", "-m", "seed=0,1"])
    assert said == f"; finished work is kept, run the same command again to resume{advice}"
    assert explain_resuming("report", ["report", "runs"]) == ""
