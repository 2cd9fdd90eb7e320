"""Hydra composes; what it refuses becomes one sentence that names the setting and what to use instead."""

import logging

import pytest
from hydra.errors import HydraException
from omegaconf.errors import ConfigAttributeError

from llpp.config import compose
from llpp.errors import ConfigError, Interrupted
from llpp.launch.sweep import JOURNAL_VARIABLE
from llpp.run_dir import older_runs


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("bugdet=3", "bugdet is not known; did you mean budget? `llpp run --help` lists all settings, +bugdet=VALUE"),
        ("data.batchsize=8", "data.batchsize is not known; did you mean data.batch_size?"),
        ("datas.batch_size=8", "datas.batch_size is not known; did you mean data.batch_size?"),
        ("batch_size=8", "batch_size is not known; did you mean data.batch_size?"),
        ("padding=1.5", "padding is not known; did you mean crop.padding?"),
        ("headd=gap_fc", "headd is not known; did you mean head?"),
        ("hydra.jobs.name=x", "hydra.jobs.name is not known; did you mean hydra.job.name?"),
        ("seed.x=1", "seed.x is not known; `llpp run --help` lists all settings"),
        ("crop.size.x=1", "crop.size.x is not known; `llpp run --help` lists all settings"),
        ("pixel.x=1", "pixel.x is not known; `llpp run --help` lists all settings"),
        (
            "head=gap",
            "Could not find 'head/gap'; did you mean gap_fc? Available options in 'head': distinctness, gap_fc, ",
        ),
        ("task=classification pose_loss=mse", "pose_loss is set, which only task=pose has; choose that task"),
        ("task=classification dataset=mpii", "dataset=mpii sets pck, which only task=pose has; choose that task"),
        ("logger=null", "Config group override must be a string or a list. Got NoneType; expected the name of one"),
        ("budget", "'budget' is invalid; expected OPTION=VALUE, as in dataset=lspet"),
        ("name=a=b", "'name=a=b' is invalid: its value has '=', which Hydra reads in quotes only, inside those of"),
        ("+seed=3", "Could not append to config. An item is already at 'seed'. Either remove + prefix: 'seed=3'"),
        ("seed=0,1", "seed=0,1 has several values, and this is a single run; add -m to run each of them"),
        ("~nothing", "Could not delete from config. 'nothing' does not exist."),
        ("crop=[1]", "Error merging override crop=[1]: Cannot merge DictConfig with ListConfig"),
    ],
)
def test_wrong_overrides_are_one_sentence(override, sentence):
    with pytest.raises(ConfigError) as refused:
        compose.compose_config(override.split())
    assert str(refused.value).startswith(sentence)
    text = str(refused.value)
    assert "\n" not in text and "full_key" not in text and "provider=" not in text and "See https" not in text


def test_the_names_that_are_suggested_are_those_of_the_chosen_groups():
    for choice, name in (("step_decay", "scheduler.factor"), ("one_cycle", "scheduler.warm_up")):
        with pytest.raises(ConfigError, match=f"did you mean {name}"):
            compose.compose_config([f"scheduler={choice}", f"{name}s=1"])


def test_a_setting_that_has_moved_is_named_with_its_new_name(monkeypatch):
    moved = {"budgets": "launch.budgets", "dataset.growing": "pool.growing"}
    monkeypatch.setattr(older_runs, "MOVED_SETTINGS", moved, raising=False)
    assert compose.explain_unknown_setting("budgets") == "budgets is now launch.budgets"
    for name, new in moved.items():
        with pytest.raises(ConfigError) as refused:
            compose.compose_config([f"{name}=2"])
        assert str(refused.value) == f"{name} is now {new}"


def test_the_same_key_in_other_sections_comes_before_similar_keys():
    names = ["crop.size", "dataset.size", "sizes", "data", "data.workers"]
    assert "did you mean crop.size or dataset.size?" in compose.explain_unknown_setting("size", names)
    assert "did you mean data.workers?" in compose.explain_unknown_setting("data.worker", names)
    assert "did you mean" not in compose.explain_unknown_setting("data.nothing", names)


def write_group(folder, text, name="dataset/mine"):
    path = folder / f"{name}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_groups_in_a_users_folder_are_found_whatever_its_name(tmp_path):
    folder = tmp_path / "it's a folder, mine"
    write_group(folder, "_target_: mine.Mine\n")
    assert compose.compose_config(["dataset=mine"], folder).dataset._target_ == "mine.Mine"
    with pytest.raises(ConfigError, match="nowhere is not a folder"):
        compose.compose_config([], tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a: [1\nb: 2", r"while parsing a flow sequence; in .*mine.yaml\", line 1"),
        ("defaults:\n  - part: nope\n", "In 'dataset/mine': Could not find 'dataset/part/nope'"),
        ("a: ${b", r"no viable alternative at input '\${b'"),
    ],
)
def test_a_broken_file_of_the_user_is_one_sentence(tmp_path, text, sentence):
    write_group(tmp_path, text)
    with pytest.raises(ConfigError, match=sentence) as refused:
        compose.compose_config(["dataset=mine"], tmp_path)
    assert "\n" not in str(refused.value)


def test_hydras_own_error_and_traceback_can_be_had(monkeypatch):
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with pytest.raises(HydraException, match="Could not override 'bugdet'"):
        compose.compose_config(["bugdet=3"])


# what a job logs with would outlive the test
SILENT = ("hydra/job_logging=disabled", "hydra/hydra_logging=disabled")


@pytest.fixture(autouse=True)
def _loggers_as_before():
    """Hydra's `disabled` switches every logger of this process off, for all later tests as well."""
    level = logging.root.level
    yield
    logging.root.setLevel(level)
    for logger in logging.root.manager.loggerDict.values():
        if isinstance(logger, logging.Logger):
            logger.disabled = False


def test_a_bug_in_a_job_keeps_its_type():
    def fail(cfg):
        raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug"):
        compose.run(fail, [*SILENT, "seed=3"])


def test_a_signal_in_the_middle_of_composing_is_not_taken_for_a_wrong_setting():
    def leave_half_way():
        try:
            raise Interrupted(130)
        finally:
            raise AttributeError("OmegaConf puts back what it had set, and finds it half-made")

    def compose_half_way():
        try:
            leave_half_way()
        except AttributeError as error:
            raise ConfigAttributeError(str(error)) from error

    with pytest.raises(Interrupted) as raised, compose.compose_errors_as_config_errors():
        compose_half_way()
    assert raised.value.code == 130


@pytest.mark.slow
def test_flags_may_stand_anywhere_and_jobs_get_their_overrides(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # a sweep names its journal here: the monkeypatch takes it away again
    monkeypatch.setenv(JOURNAL_VARIABLE, "")
    write_group(tmp_path / "own", "_target_: mine.Mine\n")
    seen = []

    def look(cfg):
        seen.append((cfg.seed, cfg.dataset._target_, cfg.run_dir if "run_dir" in cfg else cfg.paths.run_dir))

    compose.run(look, [*SILENT, "seed=4", "--config-dir", "own", "dataset=mine", "name=a"])
    compose.run(look, [*SILENT, "seed=0,1", "-m", "name=b", "--config-dir=own", "dataset=mine"])
    compose.run(look, [*SILENT, "hydra.mode=MULTIRUN", "seed=2,3", "name=c"])
    synthetic = "llpp.datasets.synthetic.dataset.SyntheticFigures"
    assert seen == [
        (4, "mine.Mine", "runs/a/seed4"),
        (0, "mine.Mine", "runs/b/seed0"),
        (1, "mine.Mine", "runs/b/seed1"),
        (2, synthetic, "runs/c/seed2"),
        (3, synthetic, "runs/c/seed3"),
    ]


def test_the_composed_settings_are_printed_and_no_job_runs(capsys):
    compose.run(lambda cfg: pytest.fail("it ran"), ["crop.size=96", "--cfg", "job", "-p", "crop"])
    assert "# @package crop\nsize: 96\n" in capsys.readouterr().out


RUN_YAML = """\
# a remark
defaults:
  - _self_
  - head: gap_fc
  - override hydra/job_logging: llpp

name: me                   # of the run

launch:                    # how it is started
  threads: null            # CPU threads
  hydra: 3
training:

  defaults: 2              # not Hydra's
hydra:
  run: {dir: .}
"""


def test_help_lists_groups_and_every_setting_with_its_comment(tmp_path, monkeypatch):
    monkeypatch.setattr(compose, "conf_dir", lambda: tmp_path)
    (tmp_path / "run.yaml").write_text(RUN_YAML)
    for path in ("head/gap_fc", "head/other", "hydra/job_logging/llpp", "task/pose"):
        write_group(tmp_path, "", path)
    text = compose.help_text()
    assert "\nhead: gap_fc*, other\ntask: pose\n" in text and "job_logging" not in text
    settings = RUN_YAML[RUN_YAML.index("name: me") : RUN_YAML.index("hydra:\n  run")]
    assert text.endswith(f" ==\n{settings}")


def test_help_of_the_real_settings_has_all_sections():
    text = compose.help_text()
    for line in ("\ncrop:", "\n  size: 64", "\nseed: 0", "backbone: hourglass, hourglass_small*"):
        assert line in text
    assert "\nhydra:" not in text and "_self_" not in text
