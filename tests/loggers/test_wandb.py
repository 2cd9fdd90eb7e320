"""W&B, offline: everything arrives, nothing twice, and no run stays open."""

import csv
import json
import os
import runpy
import signal
import sys
import time
from pathlib import Path

import pytest
from helpers import forked
from helpers.command import Command
from helpers.experiments import FIGURES, TINY, rows, tiny
from helpers.kills import between_commit_and_table, run_until
from helpers.wandb_files import offline_runs

from llpp.errors import ConfigError, StateError
from llpp.redaction import redact, redact_arguments
from llpp.rounds import loop
from llpp.run_dir.state import load_state
from llpp.training.module import LearningLossModule

wandb = pytest.importorskip("wandb", reason="the wandb extra is not installed")
OFFLINE = ("logger=wandb", "logger.wandb.offline=true", "trainer.log_every_n_steps=1")
STEP = "trainer/global_step"


pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def _nothing_outside(tmp_path_factory):
    """W&B keeps to a temporary folder, and finds no account."""
    home = tmp_path_factory.mktemp("wandb")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("CACHE_DIR", "CONFIG_DIR", "DATA_DIR", "ARTIFACT_DIR"):
            patch.setenv(f"WANDB_{name}", str(home))
        for name in ("API_KEY", "MODE", "PROJECT", "DIR"):
            patch.delenv(f"WANDB_{name}", raising=False)
        patch.setenv("WANDB_SILENT", "true")
        patch.setenv("NETRC", str(home / "netrc"))
        yield


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """An undisturbed run that was given a key on its command line."""
    run_dir = tmp_path_factory.mktemp("finished")
    key = "+logger.wandb.settings.api_key=sesame"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["llpp run", "seed=0", key])
        loop.run_rounds(tiny(run_dir, *OFFLINE, key, "paths.runs=sweeps", "name=mine"))
    return run_dir


def rounds_in(runs):
    return [row for run in runs for row in run.rows if "round/labelled" in row]


def steps_in(runs, metric):
    return [row[STEP] for run in runs for row in run.rows if metric in row]


def test_every_round_arrives_against_its_labelled_images(finished):
    (run,) = offline_runs(finished)
    assert run.axes["round/*"] == "round/labelled" and run.axes["train/*"] == run.axes["val/*"] == STEP
    assert [row["round/labelled"] for row in rounds_in([run])] == [12, 18, 24]
    told = [(row["round/test_pck"], row["round/test_pck_head_top"]) for row in rounds_in([run])]
    assert told == [(float(row["test_pck"]), float(row["test_pck_head_top"])) for row in rows(finished)]


def test_steps_go_on_over_the_rounds(finished):
    (run,) = offline_runs(finished)
    # 12, 18 and 24 images in batches of 4, the rest of an epoch dropped, two epochs each
    assert [row["steps"] for row in rows(finished)] == ["6", "14", "26"]
    assert steps_in([run], "train/pose_loss") == list(range(26))
    assert steps_in([run], "val/pck") == [2, 5, 9, 13, 19, 25]
    assert [row["_step"] for row in run.rows] == list(range(len(run.rows)))  # W&B's own: it drops what goes back


def test_a_run_stands_in_its_sweep_with_its_method_and_config_but_no_secret(finished):
    (run,) = offline_runs(finished)
    assert (run.group, run.job_type, run.name, run.exit_code) == ("sweeps", "mine", "mine-seed0", 0)
    assert run.config["head"]["_target_"].endswith("MultiscaleConvHead") and run.config["budget"] == 6
    assert run.config["logger"]["wandb"]["settings"] == {"api_key": "***"}
    written = [path for path in finished.rglob("*") if path.is_file()]
    assert [path for path in written if b"sesame" in path.read_bytes()] == []
    assert b"seed=0" in run.path.read_bytes()  # the command line is there


def test_a_round_brings_its_table_and_pictures(finished):
    (run,) = offline_runs(finished)
    first, second, last = rounds_in([run])
    table = json.loads((run.files / last["round/pck_per_joint"]["path"]).read_text())
    assert table["columns"][:4] == ["round", "labelled", "mean", "r_ankle"] and len(table["columns"]) == 3 + 14
    expected = [[int(r["round"]), int(r["labelled"]), float(r["test_pck"])] for r in rows(finished)]
    assert [row[:3] for row in table["data"]] == expected
    assert table["data"][2][-1] == float(rows(finished)[2]["test_pck_head_top"])
    rules = json.loads((run.files / last["round/would_have_stopped"]["path"]).read_text())
    assert rules["columns"] == ["rule", "would have stopped at", "says"]
    assert [rule[:2] for rule, _, _ in rules["data"]] == ["S1", "S2", "S3", "S4", "S5", "S6"]
    for row in (first, second):
        shown = row["round/selected_images"]["filenames"]
        assert len(shown) == 6 and all((run.files / name).stat().st_size > 1000 for name in shown)
    assert "round/selected_images" not in last  # it selected none
    assert len({(run.files / row["round/predicted_vs_true"]["path"]).read_bytes() for row in (first, last)}) == 2


def test_a_finished_run_started_again_tells_nothing_again(finished):
    loop.run_rounds(tiny(finished, *OFFLINE))
    assert len(offline_runs(finished)) == 1


@pytest.mark.slow
def test_a_failed_run_is_closed_as_failed_and_goes_on_under_its_id(tmp_path, monkeypatch):
    step = LearningLossModule.training_step

    def fails(self, batch, index):
        if (self.round_number, self.current_epoch, index) == (1, 1, 2):
            raise KeyboardInterrupt
        return step(self, batch, index)

    handler = signal.getsignal(signal.SIGINT)  # Lightning leaves it ignored
    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(LearningLossModule, "training_step", fails)
        loop.run_rounds(tiny(tmp_path, *OFFLINE, "logger.wandb.media=false", "rounds=2"))
    signal.signal(signal.SIGINT, handler)
    assert wandb.run is None and offline_runs(tmp_path)[0].exit_code == 1
    loop.run_rounds(tiny(tmp_path, *OFFLINE, "logger.wandb.media=false", "rounds=2"))
    assert wandb.run is None
    first, second = offline_runs(tmp_path)
    assert first.id == second.id and second.exit_code == 0
    assert [row["round/labelled"] for row in rounds_in([first, second])] == [12, 18]
    assert not any("round/pck_per_joint" in row for row in rounds_in([first, second]))


@pytest.mark.slow
def test_runs_of_one_process_are_runs_of_their_own(finished, tmp_path):
    for seed in (1, 2):
        loop.run_rounds(tiny(tmp_path / str(seed), *OFFLINE, f"seed={seed}", "rounds=1", "logger.wandb.media=false"))
        assert wandb.run is None
    found = [run for folder in (finished, tmp_path / "1", tmp_path / "2") for run in offline_runs(folder)]
    assert len({run.id for run in found}) == 3
    assert [len(rounds_in([run])) for run in found] == [3, 1, 1]


@pytest.mark.slow
def test_an_extended_run_tells_its_last_round_again_with_its_selection(tmp_path):
    for rounds in (1, 2):
        loop.run_rounds(tiny(tmp_path, *OFFLINE, f"rounds={rounds}"))
    runs = offline_runs(tmp_path)
    assert [row["round/labelled"] for row in rounds_in(runs)] == [12, 12, 18]
    assert "round/selected_images" in rounds_in(runs)[1]
    assert steps_in(runs, "train/pose_loss") == list(range(14))


@pytest.mark.slow
def test_no_round_is_missing_when_a_kill_came_between_commit_and_log(tmp_path):
    own = {name: value for name, value in os.environ.items() if name != "WANDB_SERVICE"}  # not this process's W&B
    process = forked.context().Process(target=run_until, args=(between_commit_and_table, tmp_path, OFFLINE, own))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL and len(load_state(tmp_path / "state.json").rounds) == 2
    loop.run_rounds(tiny(tmp_path, *OFFLINE))
    first, second = offline_runs(tmp_path)
    assert first.path.name == second.path.name  # run-<id>.wandb
    # the first start had told round 0, but W&B had not written it down yet, or only just
    told = [row["round/labelled"] for row in rounds_in([first, second])]
    assert told in ([12, 18, 24], [12, 12, 18, 24])


@pytest.mark.slow
def test_sigterm_closes_the_run(tmp_path):
    options = [*(o for o in (*TINY, *FIGURES) if o != "logger=none"), *OFFLINE, "trainer.max_epochs=10000"]
    process = Command("run", *options, f"paths.run_dir={tmp_path}", cwd=tmp_path)
    while not (tmp_path / "round_00/last.ckpt").exists():
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait() == 128 + signal.SIGTERM
    (run,) = offline_runs(tmp_path)
    assert run.exit_code == 1 and steps_in([run], "train/pose_loss")


def test_both_phases_of_a_first_round_count(tmp_path):
    loop.run_rounds(tiny(tmp_path, "logger=csv", "trainer.log_every_n_steps=1", "rounds=1", "training.base=backbone"))
    log = csv.DictReader((tmp_path / "logs/version_0/metrics.csv").read_text().splitlines())
    assert [int(row["step"]) for row in log if row["train/pose_loss"]] == list(range(12))
    assert rows(tmp_path)[0]["steps"] == "12"


def test_without_account_or_package_one_sentence_says_what_to_do(tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match=r"cannot start its run .*`wandb login`.*logger\.wandb\.offline=true"):
        loop.run_rounds(tiny(tmp_path, "logger=wandb"))
    monkeypatch.setattr("pytorch_lightning.loggers.wandb._WANDB_AVAILABLE", False)
    with pytest.raises(ConfigError, match=r"needs the package wandb; pip install 'llpp\[wandb\]'"):
        tiny(tmp_path, "logger=wandb")


def test_a_damaged_memory_is_told(tmp_path):
    (tmp_path / "wandb.json").write_text('{"id": "ab')
    with pytest.raises(StateError, match=r"wandb.json is damaged; delete it"):
        tiny(tmp_path, *OFFLINE)


def test_secrets_are_known_by_their_keys():
    given = {
        "api_key": "a", "HF_TOKEN": 7, "login": {"password": {"old": "b", "new": None}}, "secret": ["c"],
        "keypoints": 14, "tokens": 196, "class_token": True, "path": "token",
        "parts": [{"access-key": "d", "sigma": 1.0}],
    }  # fmt: skip
    assert redact(given) == {
        "api_key": "***", "HF_TOKEN": "***", "login": {"password": {"old": "***", "new": None}}, "secret": ["***"],
        "keypoints": 14, "tokens": 196, "class_token": True, "path": "token",
        "parts": [{"access-key": "***", "sigma": 1.0}],
    }  # fmt: skip
    told = redact_arguments(["llpp run", "+a.token=x=y", "token=", "seed=0,1", "-m"])
    assert told == ["llpp run", "+a.token=***", "token=", "seed=0,1", "-m"]


def test_the_dashboard_puts_pck_against_labelled_images():
    pytest.importorskip("wandb_workspaces", reason="the package wandb-workspaces is not installed")
    script = runpy.run_path(str(Path(__file__).parents[2] / "docs/wandb_dashboard.py"))
    content = script["dashboard"]("someone", "llpp", "runs")._to_model().model_dump_json(by_alias=True)
    assert '"xAxis":"round/labelled","metrics":["round/test_pck"]' in content
    assert '"grouping":[{"section":"run","name":"jobType"}]' in content


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        (
            f"+logger.wandb.tags=[{'x' * 70}]",
            r"wandb.tags is invalid: Tag .* is 70 characters. .* 1 and 64 char",
        ),
        ("logger.wandb.project=a/b", "logger.wandb.project is invalid: Invalid project name 'a/b': cannot contain"),
        ("+logger.wandb.mode=nope", "logger.wandb.mode is invalid: Input should be 'online', 'offline'"),
        ("+logger.wandb.tag=[a]", "logger.wandb.tag is not known to W&B; use one of entity, project,"),
    ],
)
def test_settings_that_wandb_refuses_are_named_before_training(setting, sentence, tmp_path):
    with pytest.raises(ConfigError, match=sentence):
        tiny(tmp_path / "run", *OFFLINE, setting)
    assert not (tmp_path / "run").exists()
