"""Bits that flip and files that end early: recognised, and done again or refused, never silently wrong."""

import pytest
import torch
from helpers.experiments import rows, tiny
from helpers.interruptions import Stopped, flip_a_bit, stop_in, stopped
from helpers.run_dirs import pose_task

from llpp import hashing
from llpp.analysis import measured
from llpp.errors import StateError
from llpp.report import figures, gallery, page
from llpp.report.collect import collect
from llpp.rounds import loop, notices
from llpp.run_dir import checkpoints, layout, state

SHORT = ("trainer.max_epochs=1",)
PREVIOUS = ("trainer.max_epochs=1", "training.init=previous")


def truncate(path):
    path.write_bytes(path.read_bytes()[:-100])


def weights(path):
    return torch.load(path, weights_only=True)["state_dict"]


def same(one, other):
    ours, theirs = weights(one), weights(other)
    return [name for name, value in ours.items() if not torch.equal(value, theirs[name])] == []


def warnings(caplog):
    return [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Two rounds of two epochs."""
    run_dir = tmp_path_factory.mktemp("undisturbed")
    loop.run_rounds(tiny(run_dir, "rounds=2", "training.weights=best"))
    return run_dir


@pytest.fixture(scope="module")
def fine_tuned(tmp_path_factory):
    """Three rounds of one epoch, each from the weights of the one before."""
    run_dir = tmp_path_factory.mktemp("fine_tuned")
    loop.run_rounds(tiny(run_dir, *PREVIOUS))
    return run_dir


@pytest.mark.slow
@pytest.mark.parametrize(
    ("damage", "name"),
    [(flip_a_bit, "last.ckpt"), (truncate, "last.ckpt"), (flip_a_bit, "best.ckpt")],
    ids=["a bit of a tensor", "half a file", "a bit of the best epoch"],
)
def test_a_round_whose_checkpoint_is_damaged_is_trained_again_from_its_start(
    damage, name, undisturbed, tmp_path, monkeypatch, caplog
):
    settings = ("rounds=1", "training.weights=best")
    stopped(monkeypatch, tmp_path, 0, 1, *settings)
    damage(tmp_path / "round_00" / name)
    if damage is flip_a_bit:
        assert checkpoints.read(tmp_path / "round_00" / name)["epoch"] == 0, "torch notices nothing"
    loop.run_rounds(tiny(tmp_path, *settings))
    (told,) = warnings(caplog)
    assert told.endswith(f"round_00/{name} is missing or damaged; this round is trained again from its start")
    (row,), expected = rows(tmp_path), rows(undisturbed)[0]
    assert row == {column: expected[column] for column in row}
    assert same(tmp_path / "round_00/last.ckpt", undisturbed / "round_00/last.ckpt")


@pytest.mark.slow
def test_a_whole_checkpoint_is_gone_on_from(undisturbed, tmp_path, monkeypatch, caplog):
    stopped(monkeypatch, tmp_path, 0, 1, "rounds=1", "training.weights=best")
    with monkeypatch.context() as patch:
        stop_in(patch, 0, 0)  # comes by only if the round begins anew
        loop.run_rounds(tiny(tmp_path, "rounds=1", "training.weights=best"))
    assert warnings(caplog) == [] and rows(tmp_path)[0]["test_loss"] == rows(undisturbed)[0]["test_loss"]


@pytest.mark.parametrize("moment", range(6))
def test_no_crash_while_a_checkpoint_is_replaced_makes_a_good_one_look_bad(moment, tmp_path, monkeypatch):
    path = tmp_path / "last.ckpt"
    checkpoints.replace(path, lambda part: part.write_bytes(b"first"))
    for content in (b"second", b"third"):  # crashes in a row
        left, move = [moment], type(path).replace

        def crashing(self, target, left=left, move=move):
            if left[0] in (0, 1):  # before a file is put in its place, or after
                _ = left[0] and move(self, target)
                raise Stopped
            left[0] -= 2
            return move(self, target)

        with monkeypatch.context() as patch, pytest.raises(Stopped):
            patch.setattr(type(path), "replace", crashing)
            checkpoints.replace(path, lambda part, content=content: part.write_bytes(content))
        assert checkpoints.verified_digest(path), path.read_bytes()
    checkpoints.replace(path, lambda part: part.write_bytes(b"fourth"))
    assert path.with_name("last.ckpt.sha256").read_text() == f"{checkpoints.verified_digest(path)}  last.ckpt\n"
    path.write_bytes(b"fourtj")
    assert checkpoints.verified_digest(path) is None


def test_a_checkpoint_without_a_digest_has_to_fit_its_archives_own(tmp_path):
    path = tmp_path / "last.ckpt"
    torch.save({"state_dict": {"w": torch.ones(4000)}}, path)
    assert checkpoints.verified_digest(path)
    flip_a_bit(path)
    assert checkpoints.read(path)["state_dict"]["w"].shape == (4000,) and checkpoints.verified_digest(path) is None
    for text in ("", "nonsense", "\x00" * 99):
        torch.save({"w": 1}, path)
        path.with_name("last.ckpt.sha256").write_text(text)
        assert checkpoints.verified_digest(path) is None


@pytest.mark.slow
def test_an_extended_run_makes_its_damaged_last_round_again(fine_tuned, tmp_path, monkeypatch, caplog):
    loop.run_rounds(tiny(tmp_path, "rounds=1", *PREVIOUS))
    flip_a_bit(tmp_path / "round_00/last.ckpt")
    loop.run_rounds(tiny(tmp_path, "rounds=1", *PREVIOUS))  # a finished run needs no weights
    assert warnings(caplog) == []
    stopped(monkeypatch, tmp_path, 1, 0, *PREVIOUS)
    assert "round_00/last.ckpt is missing or damaged" in warnings(caplog)[0]
    assert rows(tmp_path) == rows(fine_tuned)[:1]


@pytest.mark.slow
def test_a_round_is_done_again_if_the_next_one_starts_from_its_damaged_weights(
    fine_tuned, tmp_path, monkeypatch, caplog
):
    stopped(monkeypatch, tmp_path, 2, 0, *PREVIOUS)
    first, second = (tmp_path / f"round_0{number}/last.ckpt" for number in (0, 1))
    flip_a_bit(second)
    whole, before = first.read_bytes(), (tmp_path / "state.json").read_bytes()
    truncate(first)
    with pytest.raises(
        StateError, match=r"round_00/last.ckpt is missing or damaged, and round 1 starts from it; res"
    ):
        loop.run_rounds(tiny(tmp_path, *PREVIOUS))
    assert (tmp_path / "state.json").read_bytes() == before
    first.write_bytes(whole)
    stopped(monkeypatch, tmp_path, 1, 0, *PREVIOUS)  # and this may be interrupted, too
    assert (tmp_path / "state.json").read_bytes() == before
    loop.run_rounds(tiny(tmp_path, *PREVIOUS))
    assert f"{second} is missing or damaged; round 1 is done again" in warnings(caplog)
    assert rows(tmp_path) == rows(fine_tuned)
    assert same(tmp_path / "round_02/last.ckpt", fine_tuned / "round_02/last.ckpt")


def test_an_older_programs_round_that_is_trained_again_has_the_augmentation_of_present_ones(tmp_path, caplog):
    """Two rounds were that program's; the second one's weights are gone."""
    row = {"labelled": 12}
    first = state.Round(0, row, ("a",))
    second = state.Round(1, row, ("b",), {"last.ckpt": "its digest"})
    older = state.RunState({}, ("c",), {}, (first, second), redrawn=2)
    again = loop.drop_round_to_redo(tiny(tmp_path, *PREVIOUS), older)
    assert again.rounds == (first,) and again.redrawn == 1
    notices.log_other_draws(again, tmp_path)
    assert "round 1 is done again" in warnings(caplog)[0] and "from round 1 on" in warnings(caplog)[1]


@pytest.mark.slow
def test_a_damaged_base_model_is_not_taken_over_but_replaced(tmp_path, caplog):
    def row(name):
        loop.run_rounds(tiny(tmp_path / name, f"training.base_models={tmp_path}/base", "rounds=1", *SHORT))
        return rows(tmp_path / name)[0]

    first = row("a")
    (shared,) = (tmp_path / "base").glob("*/last.ckpt")
    raw = shared.read_bytes()
    shared.unlink()  # it is another name of the run's own file
    shared.write_bytes(raw)
    flip_a_bit(shared)
    second = row("b")
    (warning,) = warnings(caplog)
    assert "is damaged; it is trained again and replaced" in warning
    assert second == first and second["base_reused"] == "0"
    assert checkpoints.verified_digest(shared) and row("c")["base_reused"] == "1"
    assert checkpoints.verified_digest(tmp_path / "c/round_00/last.ckpt")


@pytest.mark.slow
def test_a_round_says_what_it_left(undisturbed):
    first, last = state.load_state(undisturbed / "state.json").rounds
    every = {"last.ckpt", "best.ckpt", "test.parquet", "constant.parquet", "watched.parquet"}
    assert set(first.files) == {*every, "scores.parquet", "selected.csv", "predictions.parquet"}
    assert set(last.files) == every
    assert not any(layout.is_damaged(undisturbed, r, name) for r in (first, last) for name in r.files)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["test.parquet", "scores.parquet", "predictions.parquet"])
def test_a_damaged_table_is_left_out_of_the_report_by_name(name, undisturbed, tmp_path):
    path, held = undisturbed / "round_00" / name, (undisturbed / "round_00" / name).read_bytes()

    def shown():
        (section,) = collect([undisturbed]).sections
        shown_images = gallery.build_gallery(section, pose_task(), gallery.TileBudget(4, 20_000), "images")
        losses = figures.read_test_losses(section.first_run, 0)
        return shown_images.problems, list(page.describe_damage(section)), losses

    try:
        problems, told, losses = shown()
        assert not any("missing or damaged" in problem for problem in problems) and told == [] and losses
        for damage in (flip_a_bit, lambda path: path.unlink()):
            damage(path)
            problems, told, losses = shown()
            if name == "test.parquet":
                assert told[0].startswith(f"{path} is missing or damaged") and losses is None
            else:
                (problem,) = problems
                assert problem.endswith(f"{name} of this round is missing or damaged.")
            path.write_bytes(held)
    finally:
        path.write_bytes(held)


@pytest.mark.slow
def test_a_damaged_table_is_not_analysed(undisturbed):
    path, held = undisturbed / "round_00/test.parquet", (undisturbed / "round_00/test.parquet").read_bytes()
    try:
        flip_a_bit(path)
        with pytest.raises(StateError, match=r"round_00/test.parquet cannot be read as a score table; restore it"):
            measured.read_measured_run(undisturbed)
    finally:
        path.write_bytes(held)


@pytest.mark.slow
def test_a_bit_of_a_state_is_never_read_as_something_else(undisturbed, tmp_path):
    raw, path = (undisturbed / "state.json").read_bytes(), tmp_path / "state.json"
    for bit in range(0, 8 * len(raw), 131):  # a prime: every bit of a byte has its turn
        damaged = bytearray(raw)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        with pytest.raises(StateError):
            state.load_state(path)
    path.write_bytes(raw)
    assert state.load_state(path) == state.load_state(undisturbed / "state.json")


@pytest.mark.slow
def test_a_state_of_an_older_llpp_has_no_digests_and_is_read(undisturbed, tmp_path):
    body = {
        "science": {},
        "initial": ["a"],
        "skipped": {},
        "rounds": [{"number": 0, "row": {"labelled": 1}, "selected": ["b"]}],
    }
    (tmp_path / "state.json").write_text(
        state.json.dumps({"llpp_state": 1, "sha256": hashing.hash_json(body), **body}), encoding="utf-8"
    )
    (found,) = state.load_state(tmp_path / "state.json").rounds
    assert found.files == {} and not layout.is_damaged(tmp_path, found, "last.ckpt")
