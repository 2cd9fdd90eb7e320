"""Progress for people: a bar in a terminal of one's own, lines anywhere else, epochs from 1 to n."""

import re
import sys

import pytest
from helpers.experiments import tiny

from llpp.loggers import own_terminal
from llpp.loggers.epoch_lines import LONGEST_SILENCE, EpochLines
from llpp.loggers.progress import EpochBar, make_progress
from llpp.rounds import loop


@pytest.mark.parametrize(
    ("is_terminal", "environment", "expected"),
    [
        (True, {"TERM": "xterm"}, EpochBar),
        (False, {"TERM": "xterm"}, EpochLines),
        (True, {"TERM": "dumb"}, EpochLines),
        (True, {"TERM": "xterm", "LLPP_SIDE_BY_SIDE": "1"}, EpochLines),
    ],
)
def test_a_bar_needs_a_terminal_that_no_other_job_writes_to(is_terminal, environment, expected, monkeypatch):
    monkeypatch.delenv(own_terminal.SIDE_BY_SIDE, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: is_terminal)
    assert type(make_progress()) is expected


@pytest.mark.slow
def test_without_a_terminal_a_round_of_many_epochs_takes_ten_lines(tmp_path, caplog):
    """Of 25 epochs a tenth is 2.5: a line where another tenth is full."""
    caplog.set_level("INFO")
    loop.run_rounds(tiny(tmp_path, "callbacks=default", "rounds=1", "trainer.max_epochs=25"))
    lines = [line for line in caplog.messages if " · epoch " in line]
    assert [int(re.search(r"epoch (\d+)/25", line)[1]) for line in lines] == [3, 5, 8, 10, 13, 15, 18, 20, 23, 25]
    assert all(line.isprintable() and " · round 0 · " in line and " · pose loss " in line for line in lines)
    assert all("last epoch in about " in line for line in lines[:-1]) and "last epoch" not in lines[-1]


@pytest.mark.slow
def test_a_bar_counts_epochs_from_1_to_n(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("llpp.loggers.progress.has_own_terminal", lambda: True)
    loop.run_rounds(tiny(tmp_path, "callbacks=default", "rounds=1", "trainer.max_epochs=3"))
    assert "round 0 · epoch 3/3 · last epoch in about " in capsys.readouterr().out


def test_lines_come_as_often_as_asked_for_and_after_a_long_silence():
    asked, free = EpochLines(every=5), EpochLines(every=None)
    assert [epoch for epoch in range(1, 13) if asked._is_due(epoch, 1000, 1e9)] == [5, 10]
    assert [epoch for epoch in range(1, 1001) if free._is_due(epoch, 1000, 0.0)] == list(range(100, 1001, 100))
    assert free._is_due(1, 1000, LONGEST_SILENCE) and not free._is_due(1, 1000, LONGEST_SILENCE - 1)
    assert [epoch for epoch in range(1, 4) if free._is_due(epoch, 3, 0.0)] == [1, 2, 3], "never two for one epoch"
