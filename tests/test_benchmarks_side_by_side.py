"""The measurement of runs side by side: what it counts, and a rehearsal on the CPU."""

import json

import pytest

from benchmarks.nvidia_rows import TOY
from benchmarks.side_by_side import REHEARSED, Workload, count_common_steps, measure


def test_only_steps_that_end_while_all_runs_train_are_counted():
    early = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    late = [3.0, 3.5, 4.0, 4.5, 5.0, 5.5, 9.0]
    # From the late run's step 1 at 3.5 s to the early run's last at 6 s: 4, 5, 6 and 4, 4.5, 5, 5.5.
    assert count_common_steps([early, late], warm_up=1) == ([3, 4], 2.5)
    assert count_common_steps([early], warm_up=2) == ([4], 4.0)


def test_runs_that_do_not_train_at_the_same_time_have_no_rate():
    assert count_common_steps([[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]], warm_up=1)[1] == 0
    assert count_common_steps([[0.0, 1.0], [0.0, 1.0]], warm_up=2) == ([0, 0], 0.0)


@pytest.mark.slow
def test_a_sweep_is_measured_as_users_start_it(capsys):
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher", reason="needs the sweep extra")
    measure(TOY, [1], Workload(4, 2, REHEARSED.settings))
    row = json.loads(capsys.readouterr().out)
    assert row["name"] == "rehearsal_side_by_side_1" and row["value"] > 0
    assert row["detail"]["times_one_run"] == 1 and 0 < row["detail"]["seconds"] <= 2
