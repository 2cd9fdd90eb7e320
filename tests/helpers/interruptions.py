"""Runs that are stopped at a chosen moment, and files that are damaged."""

import zipfile

import pytest
from helpers.experiments import tiny

from llpp.rounds import loop
from llpp.training.module import LearningLossModule


class Stopped(BaseException):
    """The end of a run at a chosen moment."""


def stop_in(monkeypatch, number, epoch):
    """Let training end in the middle of an epoch."""
    step = LearningLossModule.training_step

    def training_step(self, batch, index):
        if (self.round_number, self.current_epoch, index) == (number, epoch, 1):
            raise Stopped
        return step(self, batch, index)

    monkeypatch.setattr(LearningLossModule, "training_step", training_step)


def stopped(monkeypatch, run_dir, number, epoch, *overrides):
    with monkeypatch.context() as patch, pytest.raises(Stopped):
        stop_in(patch, number, epoch)
        loop.run_rounds(tiny(run_dir, *overrides))


def flip_a_bit(path):
    """In the middle of the largest tensor of a checkpoint, or of any other file."""
    raw, place = bytearray(path.read_bytes()), path.stat().st_size // 2
    if path.suffix == ".ckpt":
        with zipfile.ZipFile(path) as archive:
            part = max(archive.infolist(), key=lambda part: part.file_size * ("/data/" in part.filename))
        place = part.header_offset + 200 + part.file_size // 2
    raw[place] ^= 0b0100
    path.write_bytes(raw)
