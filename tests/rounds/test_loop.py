"""The rounds: what they leave behind, and that no way of ending changes where they end."""

import itertools
import json
import signal

import pyarrow.parquet as pq
import pytest
import torch
from helpers import forked
from helpers.experiments import config, rows, tiny
from helpers.kills import MOMENTS, middle_of_fine_tuning, middle_of_the_first_pose_network, prescribe, run_until

from llpp.datasets.pose import LSP_JOINTS
from llpp.errors import ConfigError, OccupiedError, StateError, TrainingError
from llpp.rounds import loop
from llpp.run_dir import lock, state
from llpp.tasks.pose.task import PoseTask
from llpp.training.module import LearningLossModule


def weights(round_dir, which="last"):
    return torch.load(round_dir / f"{which}.ckpt", weights_only=True)["state_dict"]


def selections(run_dir):
    return [r.selected for r in state.load_state(run_dir / "state.json").rounds]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """An undisturbed run."""
    run_dir = tmp_path_factory.mktemp("finished")
    loop.run_rounds(tiny(run_dir))
    return run_dir


@pytest.mark.slow
def test_rounds_label_what_they_selected_and_the_last_selects_nothing(finished):
    first, second, last = selections(finished)
    assert len(first) == len(second) == 6 and last == ()
    assert len({*first, *second}) == 12
    assert all(i.startswith("synthetic/pool") for i in (*first, *second))
    assert [row["labelled"] for row in rows(finished)] == ["12", "18", "24"]
    assert [row["selected"] for row in rows(finished)] == ["6", "6", ""]


@pytest.mark.slow
def test_a_round_leaves_its_scores_selection_and_checkpoint(finished):
    scores = pq.read_table(finished / "round_00/scores.parquet").to_pydict()
    lines = (finished / "round_00/selected.csv").read_text().splitlines()
    chosen = [line.split(",")[1] for line in lines[1:]]
    assert lines[0] == "rank,id,predicted_loss"
    assert chosen == list(selections(finished)[0])
    assert len(scores["id"]) == len(set(scores["id"])) == 24
    by_prediction = sorted(zip(scores["predicted_loss"], scores["id"], strict=True), reverse=True)
    assert chosen == [i for _, i in by_prediction[:6]]
    assert (finished / "round_02/last.ckpt").exists() and not (finished / "round_02/scores.parquet").exists()


@pytest.mark.slow
def test_tested_images_have_what_the_network_says_of_itself_and_their_group(finished):
    """Drawn figures are groups of their own; the maxima of a map whose cells add up to 1 are above 1 / cells."""
    tested = pq.read_table(finished / "round_02/test.parquet").to_pydict()
    own = ["confidence", "distinctness"]
    assert list(tested) == ["id", "group", "predicted_loss", "true_loss", "quality", *own]
    assert tested["group"] == tested["id"]
    assert all(1 / 16**2 < value < 1 for value in tested["confidence"])
    assert all(0 < value < 1 for value in tested["distinctness"])
    failed = sum(value < 0.5 for value in tested["quality"])
    assert float(rows(finished)[2]["failure_share"]) == pytest.approx(failed / len(tested["id"]))
    assert float(rows(finished)[2]["confidence_augrc"]) >= 0


def test_a_row_tells_the_selected_from_the_pool(finished):
    scores = pq.read_table(finished / "round_00/scores.parquet").to_pydict()
    true = dict(zip(scores["id"], scores["true_loss"], strict=True))
    chosen = [true[i] for i in selections(finished)[0]]
    row = rows(finished)[0]
    assert float(row["pool_loss_mean"]) == pytest.approx(sum(true.values()) / 24, rel=1e-5)
    assert float(row["selected_loss_mean"]) == pytest.approx(sum(chosen) / 6, rel=1e-4)
    joints = [float(row[f"test_pck_{name}"]) for name in LSP_JOINTS]
    assert float(row["test_pck"]) == pytest.approx(sum(joints) / 14, abs=1e-6)


def test_the_same_command_again_changes_nothing(finished):
    before = (finished / "state.json").read_bytes()
    loop.run_rounds(tiny(finished))
    assert (finished / "state.json").read_bytes() == before


def test_fewer_rounds_than_are_done_are_refused_and_take_nothing_back(finished):
    names = ("state.json", "config.yaml", "rounds.csv")
    before = [(finished / name).read_bytes() for name in names]
    # a sweep writes no failed.json for this class of errors: the run itself is sound
    with pytest.raises(OccupiedError) as refused:
        loop.run_rounds(tiny(finished, "rounds=2"))
    assert str(refused.value) == (
        f"{finished} has 3 rounds already, more than rounds=2, and none is taken back; set rounds=4 or more to "
        "extend it, or another name=… for a run of 2"
    )
    assert [(finished / name).read_bytes() for name in names] == before


@pytest.mark.slow
def test_more_rounds_continue_a_finished_run(tmp_path):
    loop.run_rounds(tiny(tmp_path / "long", "rounds=3"))
    loop.run_rounds(tiny(tmp_path / "short", "rounds=2"))
    loop.run_rounds(tiny(tmp_path / "short", "rounds=3"))
    # round 1 was the last of the short run, so it had not selected: extending it must not pretend that it had
    assert [r["labelled"] for r in rows(tmp_path / "short")] == ["12", "18", "24"]
    assert selections(tmp_path / "short") == selections(tmp_path / "long")


@pytest.mark.slow
@pytest.mark.parametrize("moment", MOMENTS, ids=lambda moment: moment.__name__)
def test_a_killed_run_ends_where_an_undisturbed_one_does(moment, finished, tmp_path):
    process = forked.context().Process(target=run_until, args=(moment, tmp_path))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert len(selections(tmp_path)) < 3
    loop.run_rounds(tiny(tmp_path))
    assert selections(tmp_path) == selections(finished)
    assert rows(tmp_path) == rows(finished)
    undisturbed, resumed = weights(finished / "round_02"), weights(tmp_path / "round_02")
    assert [name for name, value in undisturbed.items() if not torch.equal(value, resumed[name])] == []


PAPER = (
    "rounds=2", "training.base=backbone", "training.init=previous", "training.weights=best", "training.best_by=loss",
    "trainer.max_epochs=4", "scheduler=plateau", "scheduler.patience=0", "scheduler.cooldown=0", "optimizer.lr=0.02",
)  # fmt: skip


@pytest.fixture
def as_published(tmp_path_factory):
    """An undisturbed run whose learning rate and weights the validation decides."""
    run_dir = tmp_path_factory.mktemp("published")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LearningLossModule, "validation_step", LearningLossModule.validation_step)  # to be put back
        prescribe()
        loop.run_rounds(tiny(run_dir, *PAPER))
        yield run_dir


@pytest.mark.slow
@pytest.mark.parametrize("moment", [middle_of_the_first_pose_network, middle_of_fine_tuning])
def test_a_killed_run_forgets_neither_its_best_epoch_nor_its_learning_rate(moment, as_published, tmp_path):
    process = forked.context().Process(target=run_until, args=(moment, tmp_path / "there", PAPER))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    (tmp_path / "there").rename(tmp_path / "here")  # and it may be moved meanwhile
    loop.run_rounds(tiny(tmp_path / "here", *PAPER))
    assert rows(tmp_path / "here") == rows(as_published)
    for name, which in itertools.product(("round_00/backbone", "round_01"), ("best", "last")):
        undisturbed, resumed = (weights(folder / name, which) for folder in (as_published, tmp_path / "here"))
        assert [key for key, value in undisturbed.items() if not torch.equal(value, resumed[key])] == [], (
            name,
            which,
        )


@pytest.mark.slow
def test_a_checkpoint_of_another_experiment_is_not_resumed(finished, tmp_path):
    loop.run_rounds(tiny(tmp_path, "rounds=1", "optimizer.lr=0.02"))
    (tmp_path / "state.json").unlink()
    loop.run_rounds(tiny(tmp_path))
    assert rows(tmp_path) == rows(finished)


def test_another_config_is_refused_by_name_of_what_differs(finished, tmp_path):
    before = (finished / "state.json").read_bytes()
    with pytest.raises(
        ConfigError, match=r"different config \(training.head_weight: 1.0 → 0.5\); choose another name=… or delete"
    ):
        loop.run_rounds(tiny(finished, "training.head_weight=0.5"))
    assert (finished / "state.json").read_bytes() == before
    loop.run_rounds(
        tiny(finished, "data.workers=1", "trainer.log_every_n_steps=3", "name=other", "report.write=true")
    )


def test_a_directory_in_use_says_who_has_it(finished):
    with lock.lock_run_dir(finished):
        with pytest.raises(
            StateError, match=r"is in use by process \d+ on .*; wait for it.* is dead .*, delete .*lock"
        ):
            loop.run_rounds(tiny(finished))
        (finished / "lock").unlink()  # as the sentence says, of a dead machine's
        loop.run_rounds(tiny(finished))
    loop.run_rounds(tiny(finished))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda text: text[: len(text) // 2], "not a complete state file"),
        (lambda text: text.replace("pool-0001", "pool-0002", 1), "its checksum does not fit its content"),
        (lambda text: "", "not a complete state file"),
        (lambda text: text.replace('"llpp_state": 3', '"llpp_state": 4'), "has version 4, this llpp reads up to 3"),
        (lambda text: "[1]", "not a complete state file"),
    ],
)
def test_a_damaged_state_is_never_read_as_something_else(finished, tmp_path, damage, sentence):
    damaged = damage((finished / "state.json").read_text())
    (tmp_path / "state.json").write_text(damaged)
    with pytest.raises(StateError, match=sentence):
        loop.run_rounds(tiny(tmp_path))
    assert (tmp_path / "state.json").read_text() == damaged


@pytest.mark.slow
def test_a_loss_that_is_not_finite_stops_with_its_place_and_keeps_the_last_commit(finished, tmp_path, monkeypatch):
    compute_losses, step = PoseTask.compute_losses, LearningLossModule.training_step

    def compute_spoiled_losses(self, output, batch):
        losses, has_target = compute_losses(self, output, batch)
        return losses * torch.nan, has_target

    def training_step(self, batch, index):
        with monkeypatch.context() as patch:
            if self.round_number == 1:
                patch.setattr(PoseTask, "compute_losses", compute_spoiled_losses)
            return step(self, batch, index)

    with monkeypatch.context() as patch:
        patch.setattr(LearningLossModule, "training_step", training_step)
        with pytest.raises(TrainingError, match=r"the loss is not finite in round 1, epoch 1, batch 1 "):
            loop.run_rounds(tiny(tmp_path))
    assert len(selections(tmp_path)) == 1
    loop.run_rounds(tiny(tmp_path))
    assert rows(tmp_path) == rows(finished)


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["budget=13"], r"budget=13 exceeds the unlabelled pool \(11 left after round 1, 36 training ids in all\)"),
        (["initial=13"], "initial=13 exceeds the 12 training ids that may be labelled before round 0"),
        (["rounds=0"], "rounds=0 is invalid; expected null, or a whole number, 1 or more"),
        (["initial=1"], "initial=1 is invalid; expected a whole number, 2 or more"),
        (["training.init=warm"], "training.init='warm' is not known; use fresh or previous"),
        (["crop.size=48"], "crop.size=48 does not fit the backbone.* such as 32 or 64"),
        (["head.strides=[2,4]"], r"head wants features at strides \[2\]; this backbone offers \[4, 8, 16, 32\]"),
        (["crop.resample=gpu"], "crop.resample='gpu' is not known"),
        (["dataset.initial=0", "dataset.pool=0"], "dataset synthetic has no train records"),
        (["training.pairs=some"], "training.pairs='some' is not known; use global or local"),
        (["launch.rank_timeout=0"], "launch.rank_timeout=0 is invalid; expected seconds, above 0"),
        (
            ["training.weights=best", "trainer.check_val_every_n_epoch=5"],
            "check_val_every_n_epoch=5 exceeds trainer.max_epochs=2",
        ),
        (["trainer.precision=12"], "12"),
        (["data.batch_size=0"], "data.batch_size=0 is invalid; expected a whole number, 2 or more"),
        (["data.eval_batch_size=0"], "data.eval_batch_size=0 is invalid"),
        (["data.workers=-1"], "data.workers=-1 is invalid"),
        (["crop.padding=0"], "crop.padding=0 is invalid; expected a factor above 0"),
        (["crop.resample=device", "crop.margin=0.5"], "crop.margin=0.5 is invalid"),
        (["augmentation.flip=2"], "augmentation.flip=2 is invalid; expected a probability"),
        (["augmentation.scale=-2"], "augmentation.scale=-2 is invalid"),
        (["trainer.max_epochs=0"], "trainer.max_epochs=0 is invalid"),
        (["task.heatmap.sigma=0"], "task.heatmap.sigma=0 is invalid"),
        (["task.heatmap.peak=0"], "task.heatmap.peak=0 is invalid"),
        (["pck.threshold=-1"], "pck.threshold=-1 is invalid"),
        (["training.detach_from_epoch=-1"], "training.detach_from_epoch=-1 is invalid"),
        (["training.head_weight=-1"], "training.head_weight=-1 is invalid"),
        (["backbone.stacks=0"], "backbone.stacks=0 is invalid"),
        (["backbone.channels=6"], "backbone.channels=6 is invalid; expected a multiple of 4"),
        (["optimizer.lr=-1"], "optimizer.lr=-1 is invalid; expected a number, 0 or more"),
        (["launch.threads=0"], "launch.threads=0 is invalid"),
        (["initial=2.5"], "initial=2.5 is invalid; expected a whole number"),
        (["head.reduction=max"], "head.reduction='max' is not known"),
        (["objective.pairs=some"], "objective.pairs='some' is not known"),
        (["pck.exclude=[nose]"], r"unknown joints \['nose'\]"),
    ],
)
def test_bad_settings_are_told_before_anything_is_written(tmp_path, overrides, sentence):
    with pytest.raises(ConfigError, match=sentence):
        loop.run_rounds(tiny(tmp_path / "run", *overrides))
    assert not (tmp_path / "run/state.json").exists()


@pytest.mark.slow
def test_a_pool_may_run_dry_but_not_drier(tmp_path):
    loop.run_rounds(tiny(tmp_path, "budget=12"))
    with pytest.raises(ConfigError, match=r"budget=12 exceeds the unlabelled pool \(0 left after round 2"):
        loop.run_rounds(tiny(tmp_path, "budget=12", "rounds=4"))
    assert [row["labelled"] for row in rows(tmp_path)] == ["12", "24", "36"]


@pytest.mark.slow
def test_previous_weights_are_where_a_round_starts(tmp_path):
    still = ("rounds=2", "optimizer.lr=0", "trainer.max_epochs=1")
    for init in ("fresh", "previous"):
        loop.run_rounds(tiny(tmp_path / init, f"training.init={init}", *still))

    def kept(init):
        first, second = (weights(tmp_path / init / f"round_0{n}") for n in (0, 1))
        return all(torch.equal(first[k], second[k]) for k in first if k.endswith("weight"))

    assert kept("previous") and not kept("fresh")


@pytest.mark.slow
def test_best_weights_are_those_of_the_best_validation(tmp_path):
    loop.run_rounds(tiny(tmp_path, "rounds=1", "training.weights=best", "trainer.max_epochs=3"))
    best = torch.load(tmp_path / "round_00/best.ckpt", weights_only=True)
    assert "val/pck" in str(best["callbacks"]) and best["epoch"] < 3


@pytest.mark.slow
def test_a_detached_head_leaves_the_backbone_alone(tmp_path):
    def backbone(name, *overrides):
        loop.run_rounds(tiny(tmp_path / name, "rounds=1", *overrides))
        return {k: v for k, v in weights(tmp_path / name / "round_00").items() if k.startswith("backbone")}

    def same(first, second):
        return all(torch.equal(first[k], second[k]) for k in first)

    alone = backbone("alone", "training.head_weight=0")
    assert same(alone, backbone("detached", "training.head_weight=3", "training.detach_from_epoch=0"))
    assert not same(alone, backbone("joint", "training.head_weight=3"))
    assert not same(alone, backbone("half", "training.head_weight=3", "training.detach_from_epoch=1"))


@pytest.mark.slow
def test_workers_change_nothing(finished, tmp_path):
    loop.run_rounds(tiny(tmp_path, "data.workers=2"))
    assert rows(tmp_path) == rows(finished)


@pytest.mark.slow
@pytest.mark.parametrize("acquisition", ["random", "core_set", "loss_proportional", "true_loss"])
def test_every_acquisition_runs_its_rounds_and_starts_from_the_same_model(acquisition, finished, tmp_path):
    loop.run_rounds(tiny(tmp_path, f"acquisition={acquisition}", "rounds=2"))
    assert len(selections(tmp_path)[0]) == 6
    assert rows(tmp_path)[0]["test_pck"] == rows(finished)[0]["test_pck"]
    assert rows(tmp_path)[0]["test_loss"] == rows(finished)[0]["test_loss"]


@pytest.mark.slow
def test_the_oracle_selects_the_highest_true_losses(tmp_path):
    loop.run_rounds(tiny(tmp_path, "acquisition=true_loss", "rounds=2"))
    scores = pq.read_table(tmp_path / "round_00/scores.parquet").to_pydict()
    by_loss = sorted(zip(scores["true_loss"], scores["id"], strict=True), reverse=True)
    assert list(selections(tmp_path)[0]) == [i for _, i in by_loss[:6]]


@pytest.mark.slow
def test_random_needs_no_pass_over_the_pool(tmp_path):
    loop.run_rounds(tiny(tmp_path, "acquisition=random", "rounds=2", "scoring.evaluate_pool=false"))
    row = rows(tmp_path)[0]
    assert not (tmp_path / "round_00/scores.parquet").exists()
    assert row["pool_pck"] == "" and row["selected_pck"] != ""


@pytest.mark.slow
def test_device_resampling_runs_the_same_rounds(tmp_path):
    loop.run_rounds(tiny(tmp_path, "crop.resample=device", "rounds=2"))
    assert len(selections(tmp_path)[0]) == 6


def test_the_state_lists_ids_and_settings_in_the_open(finished):
    content = json.loads((finished / "state.json").read_text())
    assert content["llpp_state"] == 3 and content["science"]["objective._target_"].endswith("KLObjective")
    assert (finished / "config.yaml").read_text().count("run_dir:") == 1
    assert config(finished).seed == 0
