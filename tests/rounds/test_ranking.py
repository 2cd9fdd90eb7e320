"""What ranks images by how likely they fail: how a round chooses it, and what follows from that."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from helpers.experiments import composed, config, rows, tiny
from helpers.interruptions import stopped
from helpers.run_dirs import class_task, pose_task
from omegaconf import OmegaConf
from torch import nn

from llpp.acquisition.predicted_loss import PredictedLossAcquisition
from llpp.acquisition.reducible_loss import ReducibleLossAcquisition
from llpp.config.instantiate import rebuild_run_task
from llpp.config.kept_settings import keep_decided_settings
from llpp.errors import ConfigError, OccupiedError, StateError
from llpp.heads.base import LossHead
from llpp.inference.evaluation import Evaluation
from llpp.reliability.rankers import HEAD_RANKER, Ranker
from llpp.report.collect import collect
from llpp.report.failure_scores import build_failure_grids
from llpp.report.gallery import TileBudget, build_gallery
from llpp.report.summary import summarise_section
from llpp.rounds import loop
from llpp.rounds.ranking import choose_round_ranker, describe_ranker
from llpp.run_dir.state import Round, load_state, save_state

NAN = float("nan")
COUNT = 40
RISING = np.arange(COUNT, dtype=np.float32)
TEN_FAIL = np.where(RISING < 30, 1.0, 0.0)
USELESS = np.tile([1.0, 2.0], COUNT // 2)
# Enough training for a network that knows some poses and not others.
BLIND = (
    "ranker=auto", "head=distinctness", "head._target_=test_ranking.BlindHead", "pck.threshold=0.5", "rounds=2",
    "dataset.initial=64", "initial=64", "budget=8", "dataset.val=60", "dataset.test=20", "data.batch_size=8",
    "trainer.max_epochs=10", "trainer.check_val_every_n_epoch=10", "trainer.precision=32-true", "optimizer.lr=5e-3",
    "scheduler=one_cycle",
)  # fmt: skip


class BlindHead(LossHead):
    """Predicts the same for every image."""

    def __init__(self, spec):
        super().__init__()
        self.level = nn.Parameter(torch.zeros(()))

    def forward(self, features):
        return self.level.expand(len(features.penultimate))


def scores(predicted=USELESS, confidence=-RISING, distinctness=USELESS, quality=TEN_FAIL):
    columns = {"predicted_loss": predicted, "true_loss": RISING, "quality": quality}
    columns |= {"confidence": confidence, "distinctness": distinctness}
    return Evaluation({name: np.float32(values) for name, values in columns.items()}, {})


def choose(setting="auto", validated=None, tested=None):
    return choose_round_ranker(setting, pose_task(), tested or scores(), validated)


def test_auto_takes_what_finds_failures_best_on_the_validation_images():
    chosen = choose(validated=scores())
    assert (chosen.ranker.name, chosen.chosen) == ("confidence", "validation")
    assert describe_ranker(chosen, ()) == (
        "failures are ranked by confidence: AUGRC 0.031 against 0.125 of the head on 40 validation images"
    )
    head = choose(validated=scores(predicted=RISING, confidence=USELESS))
    assert head.ranker == HEAD_RANKER and describe_ranker(head, ()) is None


def test_images_without_a_label_or_without_a_finite_prediction_are_not_compared():
    quality = TEN_FAIL.copy()
    quality[:15] = NAN
    assert choose(validated=scores(quality=quality)).comparison.images == 25
    predicted = USELESS.copy()
    predicted[15] = np.inf
    assert choose(validated=scores(quality=quality, predicted=predicted)).chosen == "fallback"
    quality[15] = NAN
    assert choose(validated=scores(quality=quality)).chosen == "fallback"


@pytest.mark.parametrize("validated", [None, scores(quality=np.zeros(COUNT)), scores(quality=np.full(COUNT, NAN))])
def test_without_images_to_choose_by_confidence_ranks_and_the_log_says_so_once(validated):
    chosen = choose(validated=validated)
    assert (chosen.ranker.name, chosen.chosen) == ("confidence", "fallback")
    by_hand = 1.5 + (RISING - 19.5) / RISING.std() * 0.5  # mean and standard deviation of the useless losses
    assert chosen.ranker.compute_scores(scores().columns) == pytest.approx(by_hand, rel=1e-5)
    sentence = describe_ranker(chosen, ())
    assert sentence.startswith("failures are ranked by confidence: to choose by, there would have to be 25 labelled")
    assert describe_ranker(chosen, [Round(0, {}, (), ranker=chosen.to_plain())]) is None


def test_a_setting_decides_without_validation_images_and_without_test_images():
    chosen = choose("distinctness", validated=scores())
    assert (chosen.ranker.name, chosen.chosen, describe_ranker(chosen, ())) == ("distinctness", "setting", None)
    assert choose("head", validated=scores()) is None
    # A pass over no image has the columns of every pass alone.
    empty = Evaluation({name: np.zeros(0, dtype=np.float32) for name in ("predicted_loss", "quality")}, {})
    ranker = choose("confidence", tested=empty).ranker
    assert ranker.compute_scores(scores().columns).tolist() == RISING.tolist()


def test_a_task_without_free_rankers_is_ranked_by_the_head():
    task = pose_task()
    task.free_rankers = ()
    assert choose_round_ranker("auto", task, scores(), scores()) is None
    assert class_task().free_rankers == ("confidence",)


@pytest.mark.slow
def test_a_column_that_the_task_does_not_offer_is_refused_with_those_that_it_does(tmp_path):
    with pytest.raises(ConfigError) as refused:
        tiny(tmp_path, "ranker=entropy")
    assert str(refused.value) == (
        "ranker=entropy is not offered by task=pose; use auto, head, confidence or distinctness"
    )


PAPERS = ("demo", "synthetic_sweep", "paper_mpii", "paper_lsp_lspet", "yoo_kweon_mpii", "yoo_kweon_cifar10")


@pytest.mark.slow
def test_presets_that_compare_the_papers_heads_rank_by_the_head():
    assert {preset: composed(f"experiment={preset}").ranker for preset in PAPERS} == dict.fromkeys(PAPERS, "head")
    assert composed().ranker == composed("experiment=label").ranker == "auto"


@pytest.mark.slow
def test_what_is_selected_is_what_the_ranker_finds(tmp_path):
    """By confidence, the highest scores are the least confident images: another acquisition selects these itself."""
    loop.run_rounds(tiny(tmp_path / "ranked", "ranker=confidence", "rounds=2", "trainer.max_epochs=1"))
    other = ("acquisition=least_confidence", "rounds=2", "trainer.max_epochs=1")
    loop.run_rounds(tiny(tmp_path / "by_itself", *other))
    committed, last = load_state(tmp_path / "ranked/state.json").rounds
    assert committed.selected == load_state(tmp_path / "by_itself/state.json").rounds[0].selected

    table = pq.read_table(tmp_path / "ranked/round_00/scores.parquet").to_pydict()
    assert np.std(table["failure_score"]) > 0 and table["failure_score"] != table["predicted_loss"]
    header, first, *_ = (tmp_path / "ranked/round_00/selected.csv").read_text().splitlines()
    assert header == "rank,id,predicted_loss,failure_score"
    place = table["id"].index(committed.selected[0])
    written = first.split(",")[2:]
    assert [float(value) for value in written] == pytest.approx(
        [table["predicted_loss"][place], table["failure_score"][place]], rel=1e-4
    )
    assert committed.ranker["chosen"] == "setting" and last.ranker["name"] == "confidence"
    tested = pq.read_table(tmp_path / "ranked/round_00/test.parquet").to_pydict()
    arrays = {name: np.float32(tested[name]) for name in ("predicted_loss", "confidence")}
    assert Ranker.from_plain(committed.ranker).compute_scores(arrays).tolist() == tested["failure_score"]


class LossOfTheHead(PredictedLossAcquisition):
    """Compares predicted with true losses, say."""

    takes_failure_scores = False


@pytest.mark.slow
def test_an_acquisition_that_takes_no_failure_scores_has_the_predicted_losses(tmp_path):
    own = "acquisition._target_=test_ranking.LossOfTheHead"
    experiment = tiny(tmp_path, own, "ranker=confidence", "rounds=2", "trainer.max_epochs=1")
    selected = loop.run_rounds(experiment).rounds[0].selected
    table = pq.read_table(tmp_path / "round_00/scores.parquet").to_pydict()

    def list_highest(name):
        return [one for _, one in sorted(zip(table[name], table["id"], strict=True), reverse=True)][: len(selected)]

    assert list(selected) == list_highest("predicted_loss") != list_highest("failure_score")
    assert not ReducibleLossAcquisition.takes_failure_scores


@pytest.fixture(scope="module")
def chosen(tmp_path_factory):
    """A run whose head knows nothing, with validation images to see that by."""
    run_dir = tmp_path_factory.mktemp("chosen")
    loop.run_rounds(tiny(run_dir, *BLIND))
    return run_dir


@pytest.mark.slow
def test_a_useless_head_does_not_select_and_a_killed_run_ends_where_an_undisturbed_one_does(
    chosen, tmp_path, monkeypatch
):
    state = load_state(chosen / "state.json")
    for committed in state.rounds:
        assert committed.ranker["chosen"] == "validation" and committed.ranker["name"] != "head"
    table = pq.read_table(chosen / "round_00/scores.parquet").to_pydict()
    by_score = sorted(zip(table["failure_score"], table["id"], strict=True), reverse=True)
    assert [name for _, name in by_score[:8]] == list(state.rounds[0].selected)

    stopped(monkeypatch, tmp_path, 1, 0, *BLIND)
    assert len(load_state(tmp_path / "state.json").rounds) == 1
    loop.run_rounds(tiny(tmp_path, *BLIND))
    assert rows(tmp_path) == rows(chosen)
    resumed = load_state(tmp_path / "state.json")
    assert [(r.selected, r.ranker) for r in resumed.rounds] == [(r.selected, r.ranker) for r in state.rounds]


@pytest.mark.slow
def test_rounds_and_report_say_what_ranks_and_what_it_reaches(chosen):
    names = [committed.ranker_name for committed in load_state(chosen / "state.json").rounds]
    written = rows(chosen)
    assert [row["ranker"] for row in written] == names
    # A sum with the same for all images ranks as the other column does.
    free = names[1].removeprefix("head+")
    assert free in ("confidence", "distinctness")
    assert written[1]["ranker_augrc"] == written[1][f"{free}_augrc"] != written[1]["failure_augrc"]

    (section,) = collect([chosen]).sections
    (grid,) = build_failure_grids(section)
    labels = [label for label, _, _ in grid.rows]
    assert labels[:4] == [
        "predicted loss",
        "the network's own confidence",
        "the network's own distinctness",
        f"what ranks: {names[1]}",
    ]
    reached = float(written[1]["ranker_augrc"])
    text = summarise_section(section)
    assert "With 72 labelled images, failures are ranked by " in text and f": AUGRC {reached:.3f}, against " in text
    gallery = build_gallery(section, rebuild_run_task(chosen), TileBudget(8, 4000), "selected")
    # The eight that were selected are those with the highest scores.
    assert sorted(picture.numbers["rank"] for picture in gallery.viewer.pictures) == list(range(1, 9))


@pytest.mark.slow
def test_validation_images_that_steered_the_training_are_compared_and_not_written(tmp_path):
    (committed,) = loop.run_rounds(tiny(tmp_path, *BLIND, "training.weights=best", "rounds=1")).rounds
    assert committed.ranker["chosen"] == "validation"
    assert "validation.parquet" not in committed.files and "test.parquet" in committed.files


OLD = Path(__file__).parents[1] / "run_dir/run_before_the_move"


def test_a_run_that_is_older_than_the_setting_keeps_the_head(tmp_path):
    """Its config.yaml has no ranker, until its next start writes that it has the head."""
    shutil.copytree(OLD, tmp_path / "old")
    assert load_state(tmp_path / "old/state.json").result_settings["ranker"] == "head"
    for start in range(2):
        cfg = config(tmp_path / "old", "ranker=auto")
        keep_decided_settings(cfg)
        assert cfg.ranker == "head", f"start {start}"
        (tmp_path / "old/config.yaml").write_text(OmegaConf.to_yaml(cfg, resolve=True))
    cfg = config(tmp_path / "new", "ranker=auto")
    keep_decided_settings(cfg)
    assert cfg.ranker == "auto"


@pytest.mark.slow
def test_another_ranker_is_another_experiment(tmp_path):
    short = ("rounds=1", "trainer.max_epochs=1")
    loop.run_rounds(tiny(tmp_path, *short, "ranker=confidence"))
    with pytest.raises(OccupiedError, match="ranker: 'confidence' → 'auto'"):
        loop.run_rounds(tiny(tmp_path, *short, "ranker=auto"))


@pytest.mark.parametrize(
    "damage", [{"chosen": "luck"}, {"terms": []}, {"offset": "x"}, {"offset": NAN}, {"name": "x" * 101}]
)
def test_a_damaged_ranker_in_the_state_is_refused(tmp_path, damage):
    entry = {**choose("confidence").to_plain(), **damage}
    state = load_state(OLD / "state.json")
    last = state.rounds[-1]
    changed = Round(last.number, last.row, last.selected, last.files, last.machine, entry)
    save_state(type(state)(state.result_settings, state.initial, {}, (*state.rounds[:-1], changed)), tmp_path / "s")
    with pytest.raises(StateError, match="is damaged"):
        load_state(tmp_path / "s")
    assert "ranker" not in json.loads((tmp_path / "s").read_text())["rounds"][0]
