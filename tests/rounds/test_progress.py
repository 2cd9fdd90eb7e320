"""What an acquisition gets to know about the run, and about the images that are labelled already."""

from dataclasses import replace

import numpy as np
import pytest
from helpers.experiments import rows, tiny

from llpp.acquisition.random import RandomAcquisition
from llpp.rounds import loop
from llpp.training.module import LearningLossModule


class Watching(RandomAcquisition):
    """Selects at random and keeps what it was shown."""

    needs = frozenset({"progress", "labelled_true_loss", "labelled_pose", "flip_distance"})

    def __init__(self):
        self.seen = []

    def select(self, candidates, budget, rng):
        self.seen.append(candidates)
        return super().select(candidates, budget, rng)


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
