"""torch.compile for the network: what of it is compiled, and batches of one size so that it is compiled once.

Compiled code belongs to the source of `forward`, not to a network: the next round's network, which is new, finds that
of the first round.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from llpp.backbones.base import Backbone
from llpp.errors import ConfigError, expect
from llpp.types import Output

MODES = ("default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs")
GRAPH_MODES = ("reduce-overhead", "max-autotune")  # modes that replay recorded CUDA graphs
REGIONAL = "regional"  # a word for {regional: true}
AUTO = "auto"  # by the work of a run; see `choose_setting`
# Numbers that convolutions give in all training steps of a run, from which on compiling pays. Measured with the
# published network on an H200 (benchmarks/RESULTS.md): graphs save 7.8 ps for each of them after 91 s more for the
# first step, regions 2.9 ps after 59 s.
GRAPHS_BREAK_EVEN = 1.2e13
REGIONS_BREAK_EVEN = 2.0e13


@dataclass(frozen=True)
class Compilation:
    """How the network is compiled; `batch` is the number of images that batches of evaluation are filled up to.

    A batch of another size would be compiled again, and cuDNN would time its algorithms for it.
    `regional` compiles the regions that a network names, those of one kind once, which takes a fraction of the time.
    """

    backend: str | None = "inductor"  # None: nothing is compiled
    mode: str = "default"
    regional: bool = False
    batch: int = 0

    def __post_init__(self) -> None:
        if self.backend is not None:
            expect(
                self.backend in _list_backends(),
                "training.compile.backend",
                self.backend,
                "a backend of torch.compile",
            )
        expect(self.mode in MODES, "training.compile.mode", self.mode, f"one of {', '.join(MODES)}")
        expect(isinstance(self.regional, bool), "training.compile.regional", self.regional, "true or false")
        if self.mode != "default" and self.backend != "inductor":
            raise ConfigError(
                f"training.compile.mode={self.mode!r} is one of inductor's, not of backend {self.backend!r}; leave "
                "one out"
            )

    @property
    def graphs(self) -> bool:
        """Whether CUDA graphs are recorded: their results are overwritten in the next step."""
        return self.mode in GRAPH_MODES or self.backend == "cudagraphs"

    def begin_job(self) -> None:
        """Forget what other jobs of this process have compiled: torch keeps a few versions of a source only."""
        if self.backend is not None:
            torch.compiler.reset()

    def prepare(self, backbone: Backbone) -> None:
        """Let `backbone` be compiled when it is first called; names of weights stay."""
        if self.backend is None:
            return
        options = {"mode": self.mode} if self.backend == "inductor" else {}
        for part in backbone.list_regions() if self.regional else (backbone,):
            part.compile(backend=self.backend, **options)

    def begin_step(self) -> None:
        """To be called before each step: what the one before has left in CUDA graphs is no longer needed."""
        if self.graphs:
            torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]

    def evaluate(self, backbone: Backbone, image: Tensor) -> Output:
        """The network's output for (B, 3, H, W); a smaller batch is filled up to `batch` images."""
        count, missing = len(image), self.batch - len(image)
        if missing <= 0:
            whole: Output = backbone(image)
            return whole
        filled: Output = backbone(torch.cat([image, image[-1:].expand(missing, -1, -1, -1)]))
        return filled.take_first(count)


EAGER = Compilation(backend=None)


def choose_setting(conv_outputs: float, accelerator: str, accumulated: int) -> str | None:
    """What training.compile=auto means for a run: graphs or regions where they gain more than compiling takes.

    On CPUs, of which there is no such measurement, nothing is compiled.

    Args:
        conv_outputs: numbers that convolutions give in all training steps of the run, on each device.
        accelerator: the trainer's.
        accumulated: batches that a step of the optimiser adds up, of which graphs would overwrite the gradients.
    """
    if accelerator not in ("gpu", "cuda"):
        return None
    if accumulated == 1 and conv_outputs >= GRAPHS_BREAK_EVEN:
        return "reduce-overhead"
    if accumulated > 1 and conv_outputs >= REGIONS_BREAK_EVEN:
        return REGIONAL
    return None


def _list_backends() -> list[str]:
    return torch.compiler.list_backends(None)  # None: those for debugging, too


def parse_compile_setting(setting: object, batch: int, accumulated: int) -> Compilation:
    """What training.compile asks for: null, a backend, a mode of inductor, regional, or a mapping of these.

    `batch` is that of evaluation, 0 to leave its batches as they are; `accumulated` the number of batches that a step
    of the optimiser adds up.

    Raises:
        ConfigError: it is none of these, or does not go together with adding up.
    """
    chosen = Compilation(**_parse_options(setting), batch=batch)
    if chosen.graphs and accumulated > 1:
        raise ConfigError(
            f"training.compile.mode={chosen.mode!r} overwrites the gradients that trainer.accumulate_grad_batches="
            f"{accumulated} adds up; use default or max-autotune-no-cudagraphs, or do not accumulate"
        )
    return chosen


def _parse_options(setting: object) -> dict[str, Any]:
    if setting is None:
        return {"backend": None}
    if isinstance(setting, Mapping):
        known = ("backend", "mode", "regional")
        if strangers := sorted(str(key) for key in setting if key not in known):
            raise ConfigError(f"training.compile.{strangers[0]} is not known; use {', '.join(known)}")
        return {str(key): value for key, value in setting.items()}
    expected = f"null, auto, regional, a mode ({', '.join(MODES)}), a backend of torch.compile, or a mapping of these"
    expect(setting in (REGIONAL, *MODES, *_list_backends()), "training.compile", setting, expected)
    if setting == REGIONAL:
        return {"regional": True}
    return {"mode": setting} if setting in MODES else {"backend": setting}
