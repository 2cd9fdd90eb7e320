"""What the `compile` setting accepts, and that a network is compiled once in a job."""

import gc

import numpy as np
import pytest
import torch
from helpers.experiments import config, tiny
from torch._dynamo.utils import counters

from llpp.config import build
from llpp.config.kept_settings import keep_older_choices
from llpp.errors import ConfigError
from llpp.rounds import loop
from llpp.run_dir.config_file import read_config
from llpp.run_dir.state import load_state
from llpp.training.compilation import Compilation, choose_setting, parse_compile_setting
from llpp.training.module import RoundPart
from llpp.types import Features, Output


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        (None, Compilation(None, batch=4)),
        ("inductor", Compilation("inductor", batch=4)),
        ("aot_eager", Compilation("aot_eager", batch=4)),
        ("reduce-overhead", Compilation("inductor", "reduce-overhead", batch=4)),
        ("regional", Compilation("inductor", regional=True, batch=4)),
        ({"mode": "max-autotune", "regional": True}, Compilation("inductor", "max-autotune", True, batch=4)),
    ],
)
def test_a_word_or_a_mapping_says_how_to_compile(setting, expected):
    assert parse_compile_setting(setting, batch=4, accumulated=1) == expected


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ("fast", "training.compile='fast' is invalid; expected null, auto, regional, a mode"),
        (True, "training.compile=True is invalid"),
        ({"modes": "default"}, "training.compile.modes is not known; use backend, mode, regional"),
        ({"mode": "fast"}, "training.compile.mode='fast' is invalid; expected one of default, reduce-overhead"),
        ({"regional": 1}, "training.compile.regional=1 is invalid; expected true or false"),
        ({"backend": "cudagraphs", "mode": "max-autotune"}, "is one of inductor's, not of backend 'cudagraphs'"),
    ],
)
def test_a_setting_that_cannot_be_is_refused(setting, sentence):
    with pytest.raises(ConfigError, match=sentence):
        parse_compile_setting(setting, batch=4, accumulated=1)


# The published network gives 28.4 million numbers for an image of 256 pixels.
@pytest.mark.parametrize(
    ("images", "accelerator", "accumulated", "expected"),
    [
        (400_000, "gpu", 1, None),  # by 0.22 ms an image, they gain 89 s of the 91 that compiling takes
        (450_000, "gpu", 1, "reduce-overhead"),
        (450_000, "gpu", 2, None),  # 0.083 ms an image, 59 s
        (750_000, "cuda", 2, "regional"),
        (10_000_000, "cpu", 1, None),
    ],
)
def test_auto_compiles_where_a_run_is_long_enough(images, accelerator, accumulated, expected):
    assert choose_setting(28.4e6 * images, accelerator, accumulated) == expected


@pytest.mark.slow
def test_auto_is_decided_once_and_kept(tmp_path):
    auto = "training.compile=auto"
    loop.run_rounds(tiny(tmp_path, auto, "rounds=1"))
    written, _ = read_config(tmp_path)
    assert written["training"]["compile"] is None, "on a CPU"
    assert load_state(tmp_path / "state.json").result_settings["training.compile"] is None
    loop.run_rounds(tiny(tmp_path, auto, "rounds=2"))
    assert len(load_state(tmp_path / "state.json").rounds) == 2

    path = tmp_path / "config.yaml"
    path.write_text(path.read_text().replace("compile: null", "compile: regional"))
    cfg = config(tmp_path, auto)
    keep_older_choices(cfg)
    assert cfg.training.compile == "regional"


def test_graphs_that_overwrite_added_gradients_are_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"gradients that trainer\.accumulate_grad_batches=2 adds up"):
        tiny(tmp_path, "training.compile=reduce-overhead", "+trainer.accumulate_grad_batches=2")


def test_batches_of_evaluation_are_filled_up_and_cut_again():
    def network(image):
        assert len(image) == 4, "one shape, whatever the batch"
        levels = image.flatten(1).sum(dim=1)[:, None, None, None]
        return Output(levels[:, None], Features({4: 2 * levels}, 3 * levels))

    image = torch.arange(3.0)[:, None, None, None].expand(3, 3, 2, 2)  # sums are 0, 12 and 24
    output = Compilation("eager", batch=4).evaluate(network, image)
    found = (output.raw, output.features.pyramid[4], output.features.penultimate)
    assert [values.flatten().tolist() for values in found] == [[0, 12, 24], [0, 24, 48], [0, 36, 72]]


def compiled():
    return counters["stats"]["unique_graphs"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:You are trying to `self.log")
def test_the_second_round_and_smaller_batches_compile_nothing(tmp_path):
    regional = "training.compile={backend:eager,regional:true}"
    cfg = config(tmp_path, regional, "backbone.depth=1", "data.eval_batch_size=6", "scoring.views=flip")
    experiment = build.build_run(cfg)
    data = experiment.data.make_loaders(list(range(12)), [0], 0)
    batch, five = next(iter(data.train_dataloader())), next(iter(data.make_rows_loader(np.arange(5))))
    uncompiled = build.build_run(config(tmp_path, "backbone.depth=1", "scoring.views=flip"))
    plain = uncompiled.trainer.make_module(RoundPart(0))

    def round_(number):
        before = compiled()
        module = experiment.trainer.make_module(RoundPart(number))
        assert list(module.state_dict()) == list(plain.state_dict())
        module.load_state_dict(plain.state_dict())
        with torch.inference_mode():
            scores = module.eval().predict_step(five, 0)
        module.train().training_step(batch, 0).backward()
        return scores, compiled() - before

    counters.clear()
    scores, first = round_(0)
    assert 0 < first <= 2 * len(plain.backbone.list_regions()), "once for training and once for evaluation"
    with torch.inference_mode():
        expected = plain.eval().predict_step(five, 0)
    for name, value in expected.items():
        assert torch.allclose(scores[name], value, atol=1e-4, equal_nan=True), name
    gc.collect()
    assert round_(1)[1] == 0
