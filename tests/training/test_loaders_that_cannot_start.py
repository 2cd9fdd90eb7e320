"""Lightning hides why processes that load images could not start; a run says it."""

import errno
import os

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.demos.boring_classes import BoringModel, RandomDataset
from torch.utils.data import DataLoader

from llpp.training.round_trainer import errors_of_loaders_shown


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of the half-made loader, as it goes
def test_the_systems_error_is_raised_and_not_that_of_lightnings_clean_up(monkeypatch, tmp_path):
    def refuse(*_):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    # a loader's first step towards its processes
    monkeypatch.setattr(torch.multiprocessing, "Queue", refuse)
    loader = DataLoader(RandomDataset(32, 4), num_workers=1)
    trainer = pl.Trainer(max_epochs=1, accelerator="cpu", logger=False, default_root_dir=tmp_path, barebones=True)
    with pytest.raises(OSError, match="Too many open files"), errors_of_loaders_shown():
        trainer.fit(BoringModel(), loader)


def test_other_errors_pass_unchanged():
    with pytest.raises(RuntimeError, match="of the user's own"), errors_of_loaders_shown():
        raise RuntimeError("of the user's own")
