"""Run directories of an earlier program: they resume, are reported on, and refuse what they refused."""

import shutil
from pathlib import Path

import pytest
from helpers.experiments import FIGURES, tiny
from helpers.recordings import check_recorded

from llpp.errors import OccupiedError
from llpp.report import page
from llpp.rounds import loop

OLD = Path(__file__).parent / "run_before_the_move"  # two of its rounds are done
SMALL = (
    "backbone.channels=4", "backbone.depth=1", "head=gap_fc", "head.widths=[8]", "trainer.precision=32-true",
    "launch.threads=1", *FIGURES,
)  # fmt: skip


@pytest.fixture
def old(tmp_path):
    shutil.copytree(OLD, tmp_path / "old")
    return tmp_path / "old"


def test_an_older_run_resumes_to_the_numbers_that_its_own_program_reached(old):
    state = loop.run_rounds(tiny(old, *SMALL, "rounds=3"))
    assert len(state.rounds) == 3
    check_recorded(old, OLD.with_suffix(".json"))


def test_an_older_run_refuses_other_settings_by_name(old):
    with pytest.raises(OccupiedError, match=r"head_weight: 1\.0 → 2"):
        loop.run_rounds(tiny(old, *SMALL, "rounds=3", "training.head_weight=2"))
    with pytest.raises(OccupiedError, match="ids were added to train"):
        loop.run_rounds(tiny(old, *SMALL, "rounds=3", "dataset.pool=30"))


def test_an_older_run_is_reported_with_its_gallery(old):
    from llpp.config.instantiate import rebuild_run_task

    text = page.write_report([old], old, rebuild_run_task, None).read_text()
    assert "synthetic" in text and "The gallery is left out" not in text
