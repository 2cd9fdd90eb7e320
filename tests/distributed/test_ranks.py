"""Several processes, one experiment: N ranks train, score and select as one would."""

import io
import math
import socket

import numpy as np
import pytest
import torch
from helpers import rank_work
from helpers.experiments import rows, tiny
from helpers.rank_processes import on_ranks

from llpp import report
from llpp.rounds import loop

pytestmark = pytest.mark.slow


def test_ranks_hear_each_other_and_the_first():
    for found in on_ranks(3, rank_work.values):
        assert found[:2] == ([0, 1, 2], "from 0")
    assert [found[2] for found in on_ranks(3, rank_work.values)] == [[0, 3, 6, 9], [1, 4, 7], [2, 5, 8]]


def test_an_error_of_the_first_rank_is_told_on_every_rank():
    assert on_ranks(2, rank_work.refused, fails=True) == ["lower the budget"] * 2


def test_ranks_that_differ_are_told_so_on_every_rank():
    told = on_ranks(2, rank_work.different_facts, fails=True)
    assert (
        told == ["ranks 0 and 1 do not have the same settings (head.width: 64 ≠ 65); start them with one command"] * 2
    )


def test_a_global_batch_is_that_of_one_process():
    alone, batch = rank_work.order(23, 6, epoch=1)
    assert (len(alone), batch) == (18, 6), "the incomplete fourth batch is left out"
    for count in (2, 3):
        shares = on_ranks(count, rank_work.order, 23, 6, 1)
        assert [batch for _, batch in shares] == [6 // count] * count
        for number in range(3):  # the same images meet in every step
            each = 6 // count
            together = {row for share, _ in shares for row in share[number * each : (number + 1) * each]}
            assert together == set(alone[6 * number : 6 * number + 6])


def test_two_halves_of_a_batch_have_its_statistics_and_gradients():
    gradients, buffers = rank_work.statistics()
    for theirs, their_buffers in on_ranks(2, rank_work.statistics):
        for name, gradient in gradients.items():
            assert np.abs(theirs[name] - gradient).max() < 1e-6, name
        for name, value in buffers.items():
            assert np.allclose(their_buffers[name], value, atol=1e-6), name


GRADIENT = ("training.head_weight=0.7", "objective.pairs=all", "data.batch_size=8", "trainer.log_every_n_steps=1")


def largest_difference(one, other):
    """Relative to the largest gradient of the layer."""
    return max(np.abs(one[n] - other[n]).max() / max(1e-3, np.abs(one[n]).max()) for n in one)


@pytest.mark.parametrize("objective", ["kl", "ranking"])
def test_two_ranks_with_half_a_batch_have_the_gradient_of_one_with_all_of_it(objective, tmp_path):
    overrides = (*GRADIENT, f"objective={objective}")
    alone = rank_work.first_gradients(tmp_path / "one", *overrides)
    for found in on_ranks(2, rank_work.first_gradients, tmp_path / "two", *overrides, "trainer.devices=2"):
        assert largest_difference(alone, found) < 1e-6
    local = on_ranks(
        2, rank_work.first_gradients, tmp_path / "local", *overrides, "trainer.devices=2", "training.pairs=local"
    )
    assert largest_difference(alone, local[0]) > 1e-3, "training.pairs=local is something else"


def test_two_ranks_turn_the_images_that_one_would_for_the_head(tmp_path):
    # An untrained network's maps are flat, and teach the head too little to be compared.
    overrides = (
        *GRADIENT, "objective=kl", "head=heatmap_conv", "training.head_weight=1e6", "auxiliary=link_lengths",
        "auxiliary.trains_backbone=true",
    )  # fmt: skip
    alone = rank_work.first_gradients(tmp_path / "one", *overrides)
    assert max(np.abs(gradient).max() for name, gradient in alone.items() if name.startswith("head.")) > 0.01
    for found in on_ranks(2, rank_work.first_gradients, tmp_path / "two", *overrides, "trainer.devices=2"):
        assert largest_difference(alone, found) < 1e-6


POOLS = ([], [3], list(range(7)), list(range(5, 30)))


def test_scores_are_those_of_one_process_bit_by_bit(tmp_path):
    overrides = (
        "data.batch_size=6", "data.eval_batch_size=4", "scoring.views=six",
        "acquisition=mc_dropout", "backbone.dropout=0.3",
    )  # fmt: skip
    alone = rank_work.scored(tmp_path / "one", POOLS, *overrides)
    for count in (2, 3):
        found = on_ranks(
            count, rank_work.scored, tmp_path / str(count), POOLS, *overrides, f"trainer.devices={count}"
        )
        for number, (columns, pck) in enumerate(alone):
            first, their_pck = found[0][number]
            assert {n: c.tobytes() for n, c in first.items()} == {n: c.tobytes() for n, c in columns.items()}
            assert np.array_equal(list(pck.values()), list(their_pck.values()), equal_nan=True)
            for rank in range(1, count):  # no more than its own batches
                pool, held = POOLS[number], found[rank][number][0]
                batches = [pool[i : i + 4] for i in range(0, len(pool), 4)][rank::count]
                assert all(len(column) == sum(map(len, batches)) for column in held.values())


ACQUISITIONS = (
    "predicted_loss", "random", "core_set", "loss_proportional", "true_loss", "stratified_power", "herded_loss",
    "reducible_loss", "flip_distance", "adaptive", "egl",
)  # fmt: skip


def test_every_acquisition_selects_the_same_ids_in_the_same_order_on_any_number_of_ranks(tmp_path):
    # the base model of the first one is taken over, so that all have the same weights
    common = (
        "trainer.max_epochs=1",
        "data.batch_size=6",
        "data.eval_batch_size=5",
        "audit=0.5",
        "audit_tilt=0.5",
        f"training.base_models={tmp_path}",
    )
    alone, tested, _ = rank_work.selections(tmp_path / "1", ACQUISITIONS, *common)
    assert len({tuple(ids) for ids, _ in alone.values()}) > 2
    for count in (2, 3):
        overrides = (*common, f"trainer.devices={count}")
        found = on_ranks(count, rank_work.selections, tmp_path / str(count), ACQUISITIONS, *overrides)
        for selections, row, reused in found:
            assert reused and selections == alone, "ids, their order and what is measured on them"
            assert row == tested, "metrics are exactly those of one process"


def test_a_run_on_two_ranks_goes_on_alone_and_the_row_says_so(tmp_path):
    on_ranks(2, rank_work.rounds, tmp_path, "rounds=2", "trainer.devices=2", "trainer.max_epochs=1")
    loop.run_rounds(tiny(tmp_path, "rounds=3", "trainer.max_epochs=1"))
    assert [row["devices"] for row in rows(tmp_path)] == ["2", "1", "1"], "round 1 selects only when it is extended"
    page = report.write_report([tmp_path], tmp_path, lambda _: None, None).read_text()
    here = socket.gethostname()
    assert f"round 0 on 2 devices of {here}, then rounds 1, 2 on 1 device of {here}" in page


def test_a_damaged_round_of_two_ranks_is_made_again_while_their_pool_grows(tmp_path):
    short = ("trainer.devices=2", "trainer.max_epochs=1", "training.init=previous")
    on_ranks(2, rank_work.rounds, tmp_path, "rounds=1", *short)
    checkpoint = tmp_path / "round_00/last.ckpt"
    whole = checkpoint.read_bytes()
    checkpoint.write_bytes(whole[:-100])
    found = on_ranks(2, rank_work.rounds, tmp_path, "rounds=2", "dataset.pool=30", "pool.grow=true", *short)
    assert found[0] == found[1] and found[0].grown[0].added == 6
    assert [row["pool"] for row in rows(tmp_path)] == ["30", "24"]
    ours, before = (torch.load(io.BytesIO(raw), weights_only=True) for raw in (checkpoint.read_bytes(), whole))
    assert all(torch.equal(ours["state_dict"][name], value) for name, value in before["state_dict"].items())


def test_weights_that_drifted_apart_stop_all_ranks(tmp_path):
    told = on_ranks(2, rank_work.drifting_rounds, tmp_path, fails=True)
    assert all("ranks 0 and 1 do not have the same weights" in sentence for sentence in told)
    assert not rank_work.committed(tmp_path).rounds


def test_a_rank_that_cannot_see_the_run_directory_is_named_on_every_rank(tmp_path):
    told = on_ranks(2, rank_work.unseen_directory, tmp_path, fails=True)
    assert all(
        "rank 1 on" in sentence and "which rank 0 wrote; choose a paths.runs=… on storage" in sentence
        for sentence in told
    )


def test_ranks_with_other_settings_never_begin(tmp_path):
    told = on_ranks(2, rank_work.settings_of_their_own, tmp_path, fails=True)
    assert all("do not have the same settings, data and program (optimizer.lr: 0.001 ≠ 0.002)" in s for s in told)
    assert not (tmp_path / "state.json").exists()


@pytest.mark.parametrize(
    "overrides",
    [
        (
            "trainer.precision=bf16-mixed",
            "+trainer.accumulate_grad_batches=2",
            "trainer.gradient_clip_val=0.5",
            "rounds=1",
        ),
        (
            "training.weights=best",
            "training.base=backbone",
            "training.init=previous",
            "scheduler=plateau",
            "training.best_by=loss",
        ),
    ],
    ids=["bf16, accumulated, clipped", "as the paper trains"],
)
def test_settings_compose_with_ranks(overrides, tmp_path):
    found = on_ranks(2, rank_work.rounds, tmp_path, "rounds=2", "trainer.devices=2", *overrides)
    assert found[0] == found[1] and 0 < found[0].rounds[-1].row["test_loss"] < 100


def test_fp16_leaves_out_the_steps_whose_gradients_overflow(tmp_path):
    overrides = ("+trainer.accumulate_grad_batches=2", "trainer.gradient_clip_val=0.5", "rounds=1")
    found = on_ranks(2, rank_work.half_precision, tmp_path, *overrides, "trainer.devices=2", "trainer.max_epochs=6")
    assert found[0] == found[1]
    scale, steps, loss = found[0]
    left_out = math.log2(rank_work.SCALE / scale)  # each halves the scale
    assert left_out > 0 and steps == 12 - left_out, "six epochs of three batches, two to a step"
    assert 0 < loss < 100
