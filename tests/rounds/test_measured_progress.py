"""What an acquisition gets to know about the run, and about the images that are labelled already."""

from dataclasses import replace

import numpy as np
import pytest
from helpers.experiments import rows, tiny

from llpp.acquisition.random import RandomAcquisition
from llpp.datasets.synthetic.dataset import SyntheticFigures
from llpp.errors import ConfigError, OccupiedError
from llpp.rounds import loop
from llpp.rounds.target import read_target
from llpp.training.module import LearningLossModule


class Watching(RandomAcquisition):
    """Selects at random and keeps what it was shown."""

    needs = frozenset({"progress", "labelled_true_loss", "labelled_pose", "flip_distance"})

    def __init__(self):
        self.seen = []

    def select(self, candidates, budget, rng):
        self.seen.append(candidates)
        return super().select(candidates, budget, rng)


class Aimed(Watching):
    needs = frozenset({"target_pose", "target_embedding"})


def write_ids(tmp_path, *ids):
    file = tmp_path / "ids.txt"
    file.write_text("\n".join(["", *ids, ""]))
    return str(file)


@pytest.mark.slow
def test_the_images_of_a_target_are_scored_wherever_they_are(tmp_path):
    file = write_ids(tmp_path, "synthetic/test-00001", "synthetic/pool-00003", "synthetic/test-00001")
    overrides = ("rounds=2", "trainer.max_epochs=1", "acquisition=herded_loss", f"acquisition.target={file}")
    run = tiny(tmp_path / "run", *overrides)
    ids = run.data.dataset.records.ids
    assert [ids[row] for row in run.target] == ["synthetic/pool-00003", "synthetic/test-00001"]
    aimed = Aimed()
    loop.run_rounds(replace(run, acquisition=aimed))
    (candidates,) = aimed.seen
    assert candidates.columns["target_pose"].shape == (2, 14, 2) and candidates.target_embedding.shape == (2, 8)

    # The same command resumes; another target is another experiment, whatever its file is called.
    loop.run_rounds(replace(run, acquisition=aimed))
    write_ids(tmp_path, "synthetic/test-00002")
    again = tiny(tmp_path / "run", *overrides)
    with pytest.raises(OccupiedError, match=r"acquisition.target"):
        loop.run_rounds(again)


@pytest.mark.parametrize(
    ("ids", "sentence"),
    [
        (["synthetic/test-00001", "cat"], "has 1 ids that are not in dataset synthetic, 'cat' among them; expected"),
        ([], "has no ids; expected one a line, such as 'synthetic/"),
        (None, "cannot be read (No such file or directory); expected a file of ids"),
    ],
)
def test_a_target_that_is_none_is_refused(ids, sentence, tmp_path):
    file = str(tmp_path / "none.txt") if ids is None else write_ids(tmp_path, *ids)
    dataset = SyntheticFigures(initial=2, pool=2, val=1, test=2, size=48)
    with pytest.raises(ConfigError) as refused:
        read_target(file, dataset)
    assert str(refused.value).startswith(f"acquisition.target={file} {sentence}")


@pytest.mark.slow
def test_acquisitions_know_the_round_and_how_good_the_model_was_on_what_it_selected_last(tmp_path, monkeypatch):
    """In round 0, where nothing was selected yet, that is the PCK of the validation images."""
    validations = []
    end_validation = LearningLossModule.on_validation_epoch_end

    def watch(module):
        if not module.trainer.sanity_checking:
            validations.append(float(module.task.summarise_metric(module.val_metric)["pck"]))
        end_validation(module)

    monkeypatch.setattr(LearningLossModule, "on_validation_epoch_end", watch)
    watching = Watching()
    loop.run_rounds(replace(tiny(tmp_path), acquisition=watching))

    first, second = (candidates.progress for candidates in watching.seen)
    assert (first.round, first.rounds, first.labelled) == (0, 3, 12)
    assert (second.round, second.rounds, second.labelled) == (1, 3, 18)
    # The last of two epochs of round 0 was validated with the weights that are tested.
    assert first.competence == pytest.approx(validations[1], abs=1e-5)
    assert second.competence == pytest.approx(float(rows(tmp_path)[0]["selected_pck"]), abs=1e-6)

    labelled = watching.seen[1]
    assert labelled.labelled_true_loss.shape == (18,) and (labelled.labelled_true_loss > 0).all()
    assert labelled.columns["labelled_pose"].shape == (18, 14, 2)
    assert labelled.columns["labelled_pose"].mean(axis=1) == pytest.approx(np.zeros((18, 2)), abs=1e-6)
    assert labelled.columns["flip_distance"].shape == (18,), "24 in the pool, 6 of them labelled"
    assert labelled.labelled_embedding is None and labelled.predicted_loss is None, "nobody has asked for it"
