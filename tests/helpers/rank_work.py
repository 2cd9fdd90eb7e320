"""What the tests of several ranks let them do."""

import numpy as np
import torch
from helpers.experiments import FIGURES, TINY, composed, tiny
from omegaconf import OmegaConf
from pytorch_lightning.plugins.precision import MixedPrecision
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from llpp.config import build
from llpp.config.compose import conf_dir
from llpp.data.datamodule import EpochSampler, PoolDataModule
from llpp.datasets.coco.dataset import CocoKeypoints
from llpp.distributed import collectives, sync_batchnorm
from llpp.errors import ConfigError
from llpp.inference.evaluation import evaluate
from llpp.inference.scorer import PoolScorer
from llpp.rounds import image_files, loop, records
from llpp.rounds.preflight import create_initial_state
from llpp.rounds.progress import measure_progress
from llpp.rounds.ranking import choose_round_ranker
from llpp.rounds.run import RunData
from llpp.rounds.selection import select_from_pool
from llpp.rounds.stopwatch import Stopwatch
from llpp.run_dir import state
from llpp.training.module import RoundPart

composed(*TINY, *FIGURES)  # where processes are forked from, so that none of them has to


def values():
    """Everybody's rank, what the first one has, and every rank's share of ten."""
    return (
        collectives.all_gather_objects(collectives.get_rank()),
        collectives.on_rank_zero(lambda: f"from {collectives.get_rank()}"),
        list(collectives.shard(range(10))),
    )


def refused():
    """An error of the first rank alone."""
    collectives.on_rank_zero(lambda: (_ for _ in ()).throw(ConfigError("lower the budget")))


def different_facts():
    """Facts in which rank 1 differs."""
    collectives.check_equal_across_ranks(
        "settings", {"seed": 0, "head.width": 64 + (collectives.get_rank() == 1)}, "start them with one command"
    )


def order(labelled, batch_size, epoch):
    """The rows that a rank is given in an epoch."""
    sampler = EpochSampler(range(labelled), batch_size, 0, 0)
    sampler.set_epoch(epoch)
    return [key.row for key in sampler], sampler.batch


class Network(nn.Module):
    """Convolutions with BatchNorm between them."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 3), nn.BatchNorm2d(2)
        )

    def forward(self, image):
        return self.net(image).mean(dim=(1, 2, 3))


def statistics():
    """Gradients, outputs and statistics of BatchNorm over a batch of 8, shared by the ranks."""
    torch.manual_seed(0)
    network, images = Network(), torch.randn(8, 3, 9, 9)
    sync_batchnorm.synchronise(network, cuda=False)
    wrapped = DistributedDataParallel(network) if collectives.get_world_size() > 1 else network
    mine = images[collectives.get_rank() :: collectives.get_world_size()]
    loss = wrapped(mine).square().mean()
    loss.backward()
    gradients = {name: p.grad.numpy() for name, p in network.named_parameters()}
    return gradients, {name: b.numpy() for name, b in network.named_buffers()}


def first_gradients(run_dir, *overrides):
    """Gradients of the first step of a round, with the rank's share of the batch, in double precision.

    In single precision BatchNorm over few values magnifies the rounding of sums in another order.
    """
    experiment = tiny(run_dir, *overrides)
    rows = list(range(12))
    data = experiment.data.make_loaders(rows, rows[:2], 0)
    torch.manual_seed(0)
    module = experiment.trainer.make_module(RoundPart(0)).double()
    image = module.prepare_images
    module.prepare_images = lambda batch: image(batch).double()
    if collectives.get_world_size() > 1:
        sync_batchnorm.synchronise(module, cuda=False)
    found = {}

    def keep(*_):
        found.update({n: p.grad.clone().numpy() for n, p in module.named_parameters()})
        trainer.should_stop = True

    trainer = experiment.trainer.make_trainer(run_dir, "key", False)
    module.on_before_optimizer_step = lambda *_: found or keep()
    trainer.fit(module, data)
    return found


def scored(run_dir, pools, *overrides):
    """Scores of each of some pools by an untrained network: what each rank holds, and PCK."""
    experiment = tiny(run_dir, *overrides)
    data: PoolDataModule = experiment.data.make_loaders(list(range(12)), [0, 1], 0)
    torch.manual_seed(0)
    module = experiment.trainer.make_module(RoundPart(0))
    trainer = experiment.trainer.make_trainer(run_dir, "key", False)
    columns = (
        "pose", "joint_confidence", "flip_distance", "view_distance", "top_peak_entropy", "dropout_disagreement"
    )  # fmt: skip
    kept = frozenset({"embedding", *columns})
    found = [evaluate(trainer, module, data, np.array(rows, dtype=int), kept) for rows in pools]
    return [({name: np.asarray(column) for name, column in f.columns.items()}, f.metric) for f in found]


def rounds(run_dir, *overrides):
    """A whole run."""
    return loop.run_rounds(tiny(run_dir, *overrides))


SCALE = 2.0**20  # with which the first gradients of a tiny run overflow in fp16


def half_precision(run_dir, *overrides):
    """A whole run in fp16: the last scale of its gradients, the optimiser's steps, and its last row.

    Settings refuse fp16 on a CPU, because it is slow there; the arithmetic is the same.
    """
    experiment = tiny(run_dir, *overrides)
    make, scaler = experiment.trainer.make_trainer, torch.amp.GradScaler("cpu", init_scale=SCALE)

    def make_trainer(*arguments):
        trainer = make(*arguments)
        trainer.strategy._precision_plugin = MixedPrecision("16-mixed", "cpu", scaler)
        return trainer

    object.__setattr__(experiment.trainer, "make_trainer", make_trainer)
    row = loop.run_rounds(experiment).rounds[-1].row
    adam = torch.load(run_dir / "round_00/last.ckpt", weights_only=True)["optimizer_states"][0]["state"]
    return scaler.get_scale(), int(adam[0]["step"]) if adam else 0, row["test_loss"]


def selections(run_dir, acquisitions, *overrides):
    """What each of some acquisitions selects after round 0, and the row of that round up to there."""
    experiment = tiny(run_dir, *overrides)
    begun = create_initial_state(experiment.settings, experiment.result_settings, experiment.data)
    pool = loop.build_pool(experiment, begun)
    task = experiment.data.task
    validation = experiment.data.select_rows("val", begun)
    data = experiment.data.make_loaders(pool.labelled.tolist(), validation, 0)
    trained = experiment.trainer.train(0, begun.labelled, data, 0, "")
    scorer = PoolScorer(trained.trainer, trained.module, data)
    found = {}
    for name in acquisitions:
        # Some of them ask the pool for its space, which the task chooses.
        group = {"pool": {"space": "pose"}, name: OmegaConf.load(conf_dir() / f"acquisition/{name}.yaml")}
        acquisition = build.make(OmegaConf.create(group)[name])
        progress = measure_progress(experiment.settings, task, pool, begun, validation, None, scorer)
        selection = select_from_pool(
            acquisition, experiment.oracle, task, experiment.settings, pool, 0, scorer, Stopwatch(), progress
        )
        row = collectives.on_rank_zero(lambda made=selection: records.build_selection_row(task, made))
        found[name] = selection.ids, row
    free_columns = frozenset(task.free_rankers)
    tested = scorer.score(experiment.data.select_rows("test", begun), free_columns)
    validated = scorer.score(validation, free_columns)
    chosen = collectives.on_rank_zero(lambda: choose_round_ranker("auto", task, tested, validated))
    acquisition = build.make(OmegaConf.load(conf_dir() / "acquisition/predicted_loss.yaml"))
    selection = select_from_pool(
        acquisition, experiment.oracle, task, experiment.settings, pool, 0, scorer, Stopwatch(), ranker=chosen.ranker
    )
    found["ranked"] = selection.ids, chosen.to_plain()
    row = collectives.on_rank_zero(lambda: records.build_row(0, task, 12, 0, tested))
    return found, row, trained.reused


def drifting_rounds(run_dir):
    """A run in which rank 1 changes a weight behind the others' backs."""
    experiment = tiny(run_dir, "rounds=1", "trainer.max_epochs=1", "trainer.devices=2")
    make = experiment.trainer.make_trainer

    def make_trainer(*arguments):
        trainer = make(*arguments)
        fit = trainer.fit

        def drifting(module, *rest, **more):
            fit(module, *rest, **more)
            if collectives.get_rank() == 1:
                next(module.parameters()).data += 1e-3

        trainer.fit = drifting
        return trainer

    object.__setattr__(experiment.trainer, "make_trainer", make_trainer)
    return loop.run_rounds(experiment)


def unseen_directory(run_dir):
    """A run whose rank 1 looks into another folder, as on a machine without the shared storage."""
    from llpp.rounds import preflight

    preflight.VISIBILITY_TIMEOUT = 0.2
    experiment = tiny(run_dir, "rounds=1")
    check = loop.check_state_visible
    elsewhere = run_dir / "elsewhere"
    loop.check_state_visible = lambda folder, sha: check(elsewhere if collectives.get_rank() == 1 else folder, sha)
    return loop.run_rounds(experiment)


def settings_of_their_own(run_dir):
    """A run that each rank was started for with another learning rate."""
    return loop.run_rounds(tiny(run_dir, f"optimizer.lr={0.001 * (1 + collectives.get_rank())}"))


def committed(run_dir):
    """The state that a run left."""
    return state.load_state(run_dir / "state.json")


def prepared(run_dir):
    """Name of the crop cache that all ranks read, and the sum of its pixels."""
    experiment = tiny(run_dir, "crop.cache=true", f"paths.cache_dir={run_dir}/caches")
    experiment.data.open_crops()
    return experiment.data.crops.name, int(experiment.data.crops.all_pixels.sum())


def described_images(root, run_dir):
    """Names, sizes and digests of the images of a COCO folder."""
    data = RunData(CocoKeypoints(str(root), val=1, test=1), None, None, None)
    found = image_files.check_images(run_dir, state.RunState({}, ("coco/0001.png#101",), {}), data, True, False)
    return list(found.names), found.size.tolist(), found.digest.tolist()
