"""What cannot work is refused before a run begins: plug-ins of another kind, values that do not fit."""

import pytest
from helpers.experiments import FIGURES, config

from llpp.acquisition.base import Acquisition
from llpp.config import build
from llpp.errors import ConfigError, StateError
from llpp.rounds import loop


class Nothing:
    """No plug-in of any kind."""


class TooFew(Acquisition):
    """Select fewer than asked for."""

    def select(self, candidates, budget, rng):
        return list(candidates.ids)[: budget - 1]


class Twice(Acquisition):
    """Select one image again and again."""

    def select(self, candidates, budget, rng):
        return [candidates.ids[0]] * budget


class Labelled(Acquisition):
    """Select what is no candidate."""

    def select(self, candidates, budget, rng):
        return ["synthetic/initial-00000", *list(candidates.ids)[1:budget]]


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["pose_loss=mse", "pose_loss.mask=foo"], "pose_loss.mask='foo' is not known; use labelled or all"),
        (["scheduler=one_cycle", "scheduler.warm_up=abc"], "scheduler.warm_up='abc' is invalid; expected a share"),
        (["scheduler=step_decay", "scheduler.at=0.5"], "scheduler.at=0.5 is invalid; expected a list of shares"),
        (["trainer.accelerator=xyz"], "trainer.accelerator='xyz' is invalid; expected cpu, gpu or mps"),
        (["pixel=foo"], "pixel='foo' is invalid; expected null, or a mapping with _target_"),
        ([f"acquisition._target_={__name__}.Nothing"], f"acquisition: {__name__}.Nothing is no Acquisition; derive"),
        (["~acquisition._target_"], "acquisition has no _target_; write `_target_: module.Class` into its YAML file"),
    ],
)
def test_a_value_or_plug_in_that_cannot_work_is_refused(overrides, sentence, tmp_path):
    with pytest.raises(ConfigError) as refused:
        build.build_run(config(tmp_path, *overrides, dataset=FIGURES))
    assert str(refused.value).startswith(sentence) and "\n" not in str(refused.value)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("plug_in", "found"),
    [
        ("TooFew", "5 ids"),
        ("Twice", "'synthetic/pool-00000' twice"),
        ("Labelled", "'synthetic/initial-00000', which is none of the candidates"),
    ],
)
def test_a_selection_that_is_none_ends_the_run_before_anything_is_committed(plug_in, found, tmp_path):
    cfg = config(tmp_path / "run", "trainer.max_epochs=1", dataset=FIGURES)
    cfg.acquisition._target_ = f"{__name__}.{plug_in}"
    with pytest.raises(ConfigError) as refused:
        loop.run_rounds(build.build_run(cfg))
    assert f"{plug_in} selected {found}; expected 6 distinct ids of its 24 candidates" in str(refused.value)
    assert not (tmp_path / "run/round_00/selected.csv").exists()


def test_a_run_directory_that_cannot_be_made_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(StateError, match=r"the run directory .*file/run cannot be made \(Not a directory\); choose"):
        loop.run_rounds(build.build_run(config(tmp_path / "file/run", dataset=FIGURES)))
