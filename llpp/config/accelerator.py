"""Whether this machine has the device that a run asks for."""

from typing import Any

from llpp.errors import ConfigError


def check_accelerator(cfg: Any) -> None:
    """Raise ConfigError if torch finds no GPU here and `trainer.accelerator` is one; imports torch only then."""
    accelerator = cfg.trainer.accelerator
    if accelerator == "cpu":
        return
    import torch

    has_cuda = torch.cuda.is_available()
    has_mps = torch.backends.mps.is_available()
    found = {"cuda": has_cuda, "mps": has_mps, "gpu": has_cuda or has_mps}
    if found[accelerator]:
        return
    reason = "torch finds no GPU here; use trainer=cpu, or check its driver"
    if torch.version.cuda is None and accelerator != "mps":
        reason = "this torch is built without CUDA; use trainer=cpu, or install a CUDA build of torch"
    raise ConfigError(f"trainer.accelerator={accelerator!r}, but {reason}")
