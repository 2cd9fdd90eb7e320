"""Every argument of Lightning's Trainer works, or is refused before anything is built, with what to use instead."""

import inspect
import re

import pytest
import pytorch_lightning as pl
import torch
from helpers.cli import llpp
from helpers.experiments import FIGURES, TINY, config, rows, tiny
from helpers.interruptions import stopped

from llpp.config import compose, trainer_arguments
from llpp.config.read_settings import read_settings
from llpp.errors import ConfigError
from llpp.rounds import loop

PASSED = trainer_arguments.PASSED_BY_LLPP
PARAMETERS = inspect.signature(pl.Trainer.__init__).parameters


def refuse(tmp_path, *overrides):
    """The sentence with which settings are refused, without data and before anything is built."""
    with pytest.raises(ConfigError) as refused:
        read_settings(config(tmp_path, *overrides))
    return str(refused.value)


def test_every_argument_of_the_installed_lightning_has_its_place():
    """A new one needs a run that shows whether it works in rounds; then it goes into one of the three."""
    assert sorted(trainer_arguments.KNOWN) == sorted(set(PARAMETERS) - {"self"})


def test_the_values_that_an_unfit_argument_may_have_are_those_that_change_nothing():
    for name, (harmless, _) in trainer_arguments.UNFIT.items():
        assert PARAMETERS[name].default in harmless, name


@pytest.mark.parametrize(
    ("argument", "sentence"),
    [
        ("strategy=ddp", "'ddp' cannot be used: the number of devices decides; use trainer=ddp trainer.devices=N"),
        (
            "enable_progress_bar=false",
            "False cannot be used: the callbacks decide; use callbacks=none, or callbacks=",
        ),
        ("num_sanity_val_steps=2", "2 cannot be used: all images are checked before round 0; use debug=fdr"),
        ("logger=false", "False cannot be used: loggers are a group; use logger=csv, tensorboard, wandb or none"),
        ("fast_dev_run=true", "True cannot be used: every round is tested and scored as a whole; use debug=fdr"),
        ("overfit_batches=1", "1 cannot be used: a round trains on all images that are labelled; use debug=overfit"),
        (
            "limit_predict_batches=1",
            "1 cannot be used: images without a score cannot be selected; use scoring.subset",
        ),
        ("limit_test_batches=1", "1 cannot be used: tests are scoring passes, which it does not limit; use scoring"),
        ("enable_checkpointing=false", "False cannot be used: testing, scoring and resuming read checkpoints"),
        ("sync_batchnorm=true", "True cannot be used: BatchNorm sees the images of all devices as it is"),
        ("limit_train_batches=0", "0 is invalid; expected null, or a number of batches, 1 or more, or a share"),
        ("limit_train_batches=1.5", "1.5 is invalid; expected null, or a number of batches"),
        ("limit_train_batches=-1", "-1 is invalid; expected null, or a number of batches"),
        ("max_steps=0", "0 is invalid; expected steps per round, 1 or more, or -1 for no limit"),
        ("max_time=00:00:00:00", "'00:00:00:00' is invalid; expected null, or a time above 0"),
        ("max_time={minutes:0}", "{'minutes': 0} is invalid; expected null, or a time above 0"),
        ("accumulate_grad_batches=0", "0 is invalid; expected a whole number, 1 or more"),
        ("profiler=pytorch", "'pytorch' is invalid; expected null, simple or advanced"),
        ("gradient_clip_algorithm=sum", "'sum' is invalid; expected null, norm or value"),
        ("detect_anomaly=3", "3 is invalid; expected true or false"),
        ("deterministic=maybe", "'maybe' is invalid; expected null, or true, false or warn"),
        ("val_check_interval=0", "0 is invalid; expected null, or a number of batches, 1 or more"),
    ],
)
def test_what_cannot_work_is_refused_by_name_with_what_to_use(argument, sentence, tmp_path):
    name = argument.partition("=")[0]
    assert refuse(tmp_path, f"+trainer.{argument}").startswith(f"trainer.{name}={sentence}")


def test_an_argument_that_does_not_exist_is_refused_with_the_names_that_are_like_it(tmp_path):
    sentence = "trainer.max_step is not known to Lightning's Trainer; did you mean max_steps or "
    assert refuse(tmp_path, "+trainer.max_step=3").startswith(sentence)
    assert refuse(tmp_path, "+trainer.nonsense=3") == (
        "trainer.nonsense is not known to Lightning's Trainer; leave it out"
    )


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("trainer.fast_dev_run=true", "trainer.fast_dev_run cannot be used: every round is tested and scored"),
        ("trainer.strategy=ddp", "trainer.strategy cannot be used: the number of devices decides"),
        (
            "trainer.max_steps=3",
            "trainer.max_steps is not set so far; write it with a plus, as in +trainer.max_steps",
        ),
        ("trainer.max_step=3", "trainer.max_step is not known; did you mean +trainer.max_steps?"),
        ("trainer.max_epoch=3", "trainer.max_epoch is not known; did you mean trainer.max_epochs?"),
        ("trainer.nonsense=3", "trainer.nonsense is not known; `llpp run --help` lists all settings"),
    ],
)
def test_an_argument_without_its_plus_gets_the_same_advice(word, sentence):
    with pytest.raises(ConfigError) as refused:
        compose.compose_config([word])
    assert str(refused.value).startswith(sentence)


def test_what_is_to_be_used_instead_exists():
    unfit = [advice for _, advice in trainer_arguments.UNFIT.values()]
    words = re.findall(r"\b(debug|callbacks|logger|trainer)=(\w+)", " ".join([*PASSED.values(), *unfit]))
    assert {("debug", "fdr"), ("debug", "overfit"), ("callbacks", "lines"), ("logger", "csv")} <= set(words)
    choices = compose.groups()
    for group, choice in words:
        assert choice in choices[group]
    cfg = compose.compose_config([])
    assert "subset" in cfg.scoring and "test" in cfg.dataset and "runs" in cfg.paths


@pytest.mark.parametrize("argument", ["fast_dev_run=false", "overfit_batches=0.0", "enable_checkpointing=true"])
def test_a_value_that_changes_nothing_is_no_reason_to_refuse_an_older_run(argument, tmp_path):
    read_settings(config(tmp_path, f"+trainer.{argument}"))


@pytest.mark.slow
def test_an_epoch_of_round_0_has_the_batches_that_are_asked_for(tmp_path):
    """12 images in batches of 4 are 3 batches: 0.33 of them is none, 0.34 is one."""
    read_settings(config(tmp_path, "+trainer.limit_train_batches=0.34"))
    sentence = (
        "trainer.limit_train_batches=0.33 leaves none of the 3 batches of round 0 (initial=12, data.batch_size=4)"
    )
    assert refuse(tmp_path, "+trainer.limit_train_batches=0.33").startswith(sentence)
    read_settings(config(tmp_path, "+trainer.val_check_interval=3"))
    for words, batches in ((["+trainer.val_check_interval=4"], 3),
                           (["+trainer.val_check_interval=3", "+trainer.limit_train_batches=2"], 2)):  # fmt: skip
        found = refuse(tmp_path, *words)
        assert f"exceeds the {batches} batches of an epoch of round 0" in found
        read_settings(config(tmp_path, *words, "trainer.check_val_every_n_epoch=null"))


@pytest.mark.slow
def test_the_best_epoch_needs_a_validation_in_every_round(tmp_path):
    """The last of three rounds has 12 + 2 · 6 images, 6 batches; two of them make a step if they are added up."""
    best = "training.weights=best"
    wanted = "training.weights=best needs a validation, but trainer."
    assert refuse(tmp_path, best, "+trainer.limit_val_batches=0").startswith(
        f"{wanted}limit_val_batches=0 leaves it out"
    )
    assert refuse(tmp_path, best, "trainer.check_val_every_n_epoch=3").startswith(
        f"{wanted}check_val_every_n_epoch=3"
    )
    assert "ends the last round before its first one, after 6 steps" in refuse(tmp_path, best, "+trainer.max_steps=5")
    read_settings(config(tmp_path, best, "+trainer.max_steps=6"))
    added = "+trainer.accumulate_grad_batches=2"
    assert "after 3 steps" in refuse(tmp_path, best, "+trainer.max_steps=2", added)
    read_settings(config(tmp_path, best, "+trainer.max_steps=3", added))
    read_settings(config(tmp_path, best, "trainer.check_val_every_n_epoch=null", "+trainer.val_check_interval=4"))


def test_a_share_of_the_validation_is_a_batch_at_least(tmp_path):
    with pytest.raises(ConfigError, match=r"trainer.limit_val_batches=0.4 is less than one of 2 batches"):
        tiny(tmp_path, "data.eval_batch_size=2", "+trainer.limit_val_batches=0.4")
    tiny(tmp_path, "data.eval_batch_size=2", "+trainer.limit_val_batches=0.5")


def test_a_precision_whose_package_is_missing_is_one_sentence(tmp_path):
    with pytest.raises(ConfigError, match="transformer_engine"):
        tiny(tmp_path, "trainer.precision=transformer-engine")


ARGUMENTS = (
    "limit_train_batches=2", "accumulate_grad_batches=2", "val_check_interval=0.5", "limit_val_batches=1",
    "min_epochs=1", "min_steps=1", "max_steps=9", "max_time=00:01:00:00", "gradient_clip_algorithm=value",
    "deterministic=true", "detect_anomaly=true", "inference_mode=false", "reload_dataloaders_every_n_epochs=1",
    "enable_autolog_hparams=false", "profiler=simple",
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Anomaly Detection has been enabled")
def test_arguments_of_the_trainer_work_in_rounds(tmp_path):
    """Two epochs of two batches, of which two make one step: two steps in each round."""
    wanted = [f"+trainer.{argument}" for argument in ARGUMENTS]
    loop.run_rounds(tiny(tmp_path, "rounds=2", "trainer.gradient_clip_val=1", *wanted))
    assert [row["steps"] for row in rows(tmp_path)] == ["2", "4"]


@pytest.mark.slow
def test_a_training_of_so_many_steps_resumes_with_the_epoch_that_it_was_in(tmp_path, monkeypatch):
    """Round 1 has 18 images, 4 batches: seven steps end in its second epoch, in which it is stopped."""
    settings = ("rounds=2", "+trainer.max_steps=7")
    loop.run_rounds(tiny(tmp_path / "undisturbed", *settings))
    stopped(monkeypatch, tmp_path / "stopped", 1, 1, *settings)
    loop.run_rounds(tiny(tmp_path / "stopped", *settings))
    assert rows(tmp_path / "stopped") == rows(tmp_path / "undisturbed")
    # Round 0 has 12 images: its two epochs are six steps.
    assert [row["steps"] for row in rows(tmp_path / "stopped")] == ["6", "13"]


@pytest.mark.slow
@pytest.mark.parametrize("words", [["trainer=gpu"], ["trainer.accelerator=cuda"], ["trainer.accelerator=mps"]])
@pytest.mark.skipif(torch.cuda.is_available() or torch.backends.mps.is_available(), reason="this machine has a GPU")
def test_a_gpu_that_is_not_there_is_noticed_before_the_data_are_read(words, tmp_path):
    refused = llpp("run", *TINY, *words, "dataset=lspet", "paths.data_root=nowhere", cwd=tmp_path)
    assert refused.returncode == 2
    assert refused.stderr.startswith("llpp: trainer.accelerator=") and "; use trainer=cpu" in refused.stderr


@pytest.mark.slow
def test_several_devices_do_not_start_with_settings_that_cannot_work(tmp_path):
    words = ["trainer.devices=2", "+trainer.strategy=ddp"]
    refused = llpp("run", *TINY, *FIGURES, *words, cwd=tmp_path)
    assert refused.returncode == 2 and refused.stderr.startswith("llpp: trainer.strategy='ddp' cannot be used")
    assert len(refused.stderr.splitlines()) == 1 and not list(tmp_path.iterdir())
