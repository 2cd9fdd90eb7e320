"""Results of runs that an earlier program recorded: the same configuration gives the same numbers to the digit."""

import pytest
from helpers.recorded_runs import LSPET, RECORDED, RUNS, run_again
from helpers.recordings import check_recorded


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_a_recorded_run_has_the_same_numbers_again(name, tmp_path, monkeypatch):
    if name == "lspet" and not LSPET.is_dir():
        pytest.skip("needs the images of LSPET")
    monkeypatch.setenv("LLPP_DATA", str(LSPET.parent))
    run_again(name, tmp_path)
    check_recorded(tmp_path / "run", RECORDED / f"{name}.json")
