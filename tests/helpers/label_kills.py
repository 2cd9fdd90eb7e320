"""Moments of `llpp label` at which its process kills itself, for `Command(moment=…)`."""

import os
import pathlib
import time
from dataclasses import dataclass
from fnmatch import fnmatch

from helpers.kills import die

from llpp.journal import journal
from llpp.training.module import LearningLossModule


@dataclass(frozen=True)
class Replacing:
    """Just before or after a file gets its new content: the `call`-th whose name, or path, is like `name`."""

    when: str  # before | after
    name: str
    call: int = 1

    def __call__(self):
        replace = pathlib.Path.replace
        calls = 0

        def replaced(path, target):
            nonlocal calls
            is_meant = fnmatch(pathlib.Path(target).as_posix(), f"*/{self.name}")
            calls += is_meant
            if is_meant and calls == self.call and self.when == "before":
                die()
            result = replace(path, target)
            if is_meant and calls == self.call:
                die()
            return result

        pathlib.Path.replace = replaced


@dataclass(frozen=True)
class Appending:
    """Before answers are appended to the journal, when half of their bytes are there, or after that."""

    when: str  # before | half | after

    def __call__(self):
        append = journal.append_answers

        def appended(path, answers):
            if not answers:
                return append(path, answers)
            if self.when == "before":
                die()
            before = path.stat().st_size if path.exists() else 0
            append(path, answers)
            if self.when == "half":
                # As much as the system may have written of the bytes that were handed to it.
                os.truncate(path, (before + path.stat().st_size) // 2)
            die()

        from llpp.labelling import importing

        importing.append_answers = appended


@dataclass(frozen=True)
class Training:
    """Before the first step of a round."""

    def __call__(self):
        LearningLossModule.training_step = die


@dataclass(frozen=True)
class Waiting:
    """Before the first step of a round, until a file is there: no kill, but time to do something else."""

    path: str

    def __call__(self):
        step = LearningLossModule.training_step

        def training_step(module, batch, index):
            deadline = time.monotonic() + 60
            while not pathlib.Path(self.path).exists() and time.monotonic() < deadline:
                time.sleep(0.02)
            return step(module, batch, index)

        LearningLossModule.training_step = training_step
