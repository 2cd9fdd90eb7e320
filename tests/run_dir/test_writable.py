"""Storage that cannot be written is noticed before anything is spent on a run."""

import pytest
from helpers.command import Command
from helpers.experiments import TINY

from llpp.errors import StateError
from llpp.run_dir.writable import check_writable

# The data are missing, too: whoever reads them first says so.
WITHOUT_DATA = (*TINY, "dataset=lspet", "paths.data_root=nowhere", "paths.runs=locked/runs")


@pytest.mark.slow
@pytest.mark.parametrize("words", [[], ["-m", "seed=0,1"]])
def test_a_folder_that_may_not_be_written_is_named_before_the_data_are_read(words, tmp_path):
    (tmp_path / "locked").mkdir(mode=0o555)
    code = Command("run", *words, *WITHOUT_DATA, cwd=tmp_path, ordinary=True).wait(60)
    shown = (tmp_path / "stderr").read_text()
    assert code == 2 and len(shown.splitlines()) == 1
    assert shown.startswith("llpp: the run directory ")
    assert f"cannot be written: {tmp_path}/locked is read-only, or not yours to write to; choose another" in shown


def test_a_file_in_the_place_of_a_folder_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    for place in ("file", "file/runs/a/seed0"):
        with pytest.raises(
            StateError, match=f"cannot be written: {tmp_path}/file is a file; choose another paths.runs="
        ):
            check_writable(tmp_path / place)


def test_nothing_is_made_by_looking(tmp_path):
    check_writable(tmp_path / "runs/a/seed0")
    assert not list(tmp_path.iterdir())
