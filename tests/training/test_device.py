"""The host never waits for the device in a step: operations that would make it wait, caught on the CPU too."""

import numpy as np
import pytest
import torch
from helpers.experiments import config, tiny
from helpers.host_waits import Waits
from test_contracts import options
from torch.utils.data import DataLoader

from llpp.config import build
from llpp.config.instantiate import make_task
from llpp.data.device_resampling import resample
from llpp.data.image_preparation import ImagePreparation
from llpp.errors import TrainingError
from llpp.inference.evaluation import evaluate
from llpp.rounds import loop
from llpp.tasks.pose.task import PoseTask
from llpp.training.divergence import NonFiniteLossMonitor, check_weights
from llpp.training.dropout_passes import DropoutPasses
from llpp.training.gradient_lengths import LabelledImages
from llpp.training.masked_mean import MaskedMean
from llpp.training.module import RoundPart


@pytest.mark.parametrize(
    "wait",
    [
        lambda x: float(x.sum()),
        lambda x: x[x > 0],
        lambda x: x[:, [0, 1]],
        lambda x: x.nonzero(),
        lambda x: x + torch.tensor([1.0, 2.0]),
        lambda x: x.new_tensor([1.0, 2.0]),
        torch.linalg.inv,
        lambda x: "positive" if x.sum() > 0 else "not",
    ],
)
def test_what_makes_the_host_wait_is_noticed(wait):
    x = torch.eye(2)
    with Waits() as waits:
        wait(x)
    assert waits.found


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A tiny experiment for its data."""
    return tiny(tmp_path_factory.mktemp("made"))


def loaders_and_module(cfg, dataset, labelled):
    """Loaders of some rows and a fresh network, as a config asks for them."""
    task = make_task(cfg, dataset)
    data = build._build_loader_factory(cfg, dataset, task, None)(labelled, [0], 0)
    torch.manual_seed(0)
    return data, build.build_module(cfg, dataset, task, ImagePreparation(cfg.crop.size), RoundPart(0))


VARIANTS = [
    *(f"{group}={name}" for group in ("head", "objective", "pose_loss", "auxiliary") for name in options(group)),
    "objective.pairs=all",
    "scoring.views=flip",
    "scoring.views=six",
    "crop.resample=device",
    "pck.exclude=[neck]",
    "pck.curve=[0.1,0.3]",
    "training.detach_from_epoch=0",
    "backbone.dropout=0.3",
    "trainer.precision=bf16-mixed",
]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:You are trying to `self.log")
@pytest.mark.parametrize("variant", VARIANTS)
def test_no_step_waits_for_the_device(made, tmp_path, variant):
    data, module = loaders_and_module(config(tmp_path, variant), made.data.dataset, list(range(8)))
    batch = next(iter(data.train_dataloader()))
    module.dropout = DropoutPasses(2)
    module.extra_columns = module.optional_columns
    labels = {name: batch[name] for name in ("joints", "visible", "normaliser")}
    module.labelled = LabelledImages(torch.rand(len(batch["row"]), module.backbone.penultimate_channels), labels)
    optimizer = torch.optim.Adam(module.parameters(), fused=True)
    low = torch.autocast("cpu", torch.bfloat16, enabled="bf16" in variant)
    with low:
        module.train().training_step(batch, 0).backward()  # whatever is made once
        module.eval().predict_step(batch, 0)
    optimizer.step()
    with Waits() as waits, low:
        optimizer.zero_grad()
        module.train().training_step(batch, 1).backward()
        optimizer.step()
        with torch.inference_mode():
            module.eval().validation_step(batch, 0)
            module.predict_step(batch, 0)
    assert waits.found == {}


def ready(loader):
    """The batches of a loader, made before anything is counted: that is the workers' part."""
    return DataLoader(list(loader), batch_size=None)


def waits_of(run, *arguments):
    with Waits() as waits:
        run(*arguments)
    return sum(waits.found.values())


@pytest.mark.slow
def test_more_steps_of_an_epoch_or_of_a_pass_are_no_more_waiting(tmp_path):
    overrides = ("trainer.log_every_n_steps=100", "trainer.max_epochs=1", "trainer.gradient_clip_val=1.0")

    def fit(images):
        experiment = tiny(tmp_path, *overrides, "data.eval_batch_size=2")
        data, rows = experiment.data.make_loaders(list(range(images)), [0, 1], 0), np.arange(images)
        training, pool = ready(data.train_dataloader()), ready(data.make_rows_loader(rows))
        data.make_rows_loader = lambda *_: pool
        module = experiment.trainer.make_module(RoundPart(0))
        trainer = experiment.trainer.make_trainer(tmp_path / "a", "key", False)
        steps = waits_of(trainer.fit, module, training, ready(data.val_dataloader()))
        assert trainer.global_step == images // 4
        return steps, waits_of(evaluate, trainer, module, data, rows, frozenset({"embedding", "joints"}))

    assert fit(8) == fit(16)


def test_losses_are_looked_at_now_and_then_and_the_first_bad_step_is_named():
    watch = NonFiniteLossMonitor(round_number=3)
    watch.steps_between_checks = 4
    good, bad = torch.tensor(1.0), torch.tensor(torch.nan)
    watch.add(0, 7, good, {"train/pose_loss": good})
    watch.add(1, 0, bad, {"train/pose_loss": torch.tensor(0.25)})
    watch.add(1, 1, bad, {"train/pose_loss": bad})
    with pytest.raises(
        TrainingError, match=r"in round 3, epoch 2, batch 1 \(train/pose_loss 0.25\); lower optimizer"
    ):
        watch.add(1, 2, good, {"train/pose_loss": good})
    watch.check()  # nothing is left to say
    watch.add(2, 0, bad, {})
    with pytest.raises(TrainingError, match="epoch 3, batch 1"):
        watch.check()


@pytest.mark.slow
def test_nothing_is_saved_after_a_loss_that_is_not_finite(tmp_path, monkeypatch):
    losses = PoseTask.compute_losses
    seen = []

    def spoiled(self, output, batch):
        per_image, has_target = losses(self, output, batch)
        seen.extend([0] * output.raw.requires_grad)  # in training only
        return per_image * (torch.nan if len(seen) == 5 else 1.0), has_target  # three batches are an epoch

    monkeypatch.setattr(PoseTask, "compute_losses", spoiled)
    with pytest.raises(TrainingError, match=r"round 0, epoch 2, batch 2 \(train/pose_loss nan, "):
        loop.run_rounds(tiny(tmp_path, "trainer.log_every_n_steps=100", "rounds=1"))
    assert len(seen) == 6, "the epoch ends, and its end is not saved"
    kept = torch.load(tmp_path / "round_00/last.ckpt")
    assert kept["epoch"] == 0 and all(v.isfinite().all() for v in kept["state_dict"].values())


def test_weights_that_the_last_step_spoilt_are_not_saved():
    check_weights([torch.ones(3), torch.tensor(7)], 0, 0)
    with pytest.raises(TrainingError, match="the weights are not finite at the end of round 1, epoch 3; lower"):
        check_weights([torch.ones(3), torch.tensor([0.0, torch.inf])], 1, 2)


def test_the_mean_of_known_values():
    mean = MaskedMean()
    mean.update(torch.tensor([1.0, 100.0, 2.0]), torch.tensor([True, False, True]))
    mean.update(torch.tensor([torch.nan, 6.0]), torch.tensor([False, True]))
    assert mean.compute() == 3.0
    mean.reset()
    mean.update(torch.tensor([1.0]), torch.tensor([False]))
    assert mean.compute().isnan()


def test_mixed_precision_moves_no_pixel():
    """A shift by 10.25 pixels of a ramp over 128: bfloat16 coordinates would be off by up to half a pixel."""
    ramp = torch.arange(128, dtype=torch.uint8).expand(128, 128)[None, :, :, None].repeat(1, 1, 1, 3)
    shift = torch.eye(3)[None].clone()
    shift[0, 0, 2] = -10.25
    with torch.autocast("cpu", torch.bfloat16):
        moved = resample(ramp, shift, 96)
    expected = (torch.arange(96) + 10.25).expand(3, 96, 96)[None]
    assert moved.dtype == torch.float32 and (moved - expected).abs().max() < 1e-3


@pytest.mark.parametrize(("accelerator", "pinned", "filled"), [("gpu", True, 5), ("cpu", False, 0)])
def test_a_gpu_gets_page_locked_batches_of_one_size_by_itself(made, tmp_path, accelerator, pinned, filled):
    cfg = config(tmp_path, f"trainer.accelerator={accelerator}", "data.eval_batch_size=5")
    data, module = loaders_and_module(cfg, made.data.dataset, [0, 1])
    assert data.loading.pin_memory is pinned
    assert module.compilation.batch == filled
