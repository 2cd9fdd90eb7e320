"""Configuration → how crops are kept, cut and resampled."""

from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf

from llpp import fingerprint
from llpp.crop_cache.cache import CropCache
from llpp.datasets.base import PoseDataset
from llpp.errors import ConfigError, expect
from llpp.state import digest
from llpp.transforms import PersonCrop

OF_THE_RUN = ("grow", "cache", "resident")  # what a dataset's node says about the run


def check(cfg: DictConfig) -> None:
    """Raise ConfigError about settings of crops that do not go together."""
    cache, resident = cfg.dataset.cache, cfg.dataset.resident
    expect(isinstance(cache, bool), "dataset.cache", cache, "true or false")
    expect(resident in (None, "device"), "dataset.resident", resident, "null or device")
    if cfg.crop.resample not in ("auto", "worker", "device"):
        raise ConfigError(f"crop.resample={cfg.crop.resample!r} is not known; use auto, worker or device")
    for fits, wrong in (
        (cache, "dataset.cache=false: set it to true"),
        (cfg.crop.resample != "worker", "crop.resample=worker: set it to device"),
        (not cfg.pixel, "a pixel augmentation, which works in the loading processes: set pixel=null"),
    ):
        if resident and not fits:
            raise ConfigError(f"dataset.resident=device does not go with {wrong}, or set dataset.resident=null")


def science(cfg: DictConfig) -> dict[str, Any]:
    """What the settings of `crop` do not tell, but results depend on.

    Where crops are resampled: the pixels differ a little. Whether they come from the cache: augmented ones were then
    resampled twice, and end at the margin.
    """
    return {"resample": resample(cfg), **({"cache": True} if cfg.dataset.cache else {})}


def resample(cfg: DictConfig) -> str:
    """Where crops are resampled: worker or device."""
    automatic = "worker" if cfg.trainer.accelerator == "cpu" and not cfg.dataset.resident else "device"
    return automatic if cfg.crop.resample == "auto" else str(cfg.crop.resample)


def crop_cache(cfg: DictConfig, data: PoseDataset) -> CropCache:
    """The crops of a dataset, not built yet."""
    expect(cfg.crop.margin is not None, "crop.margin", None, "a factor of 1 or more, with dataset.cache=true")
    expect(isinstance(cfg.cache_dir, str), "cache_dir", cfg.cache_dir, "a folder, with dataset.cache=true")
    source = ""
    if not data.paths:  # its program and settings decide what is drawn
        settings = cast(dict[str, Any], OmegaConf.to_container(cfg.dataset, resolve=True))
        drawn = {name: value for name, value in settings.items() if name not in OF_THE_RUN}
        source = digest([drawn, fingerprint.code({"dataset": drawn})])
    return CropCache(Path(cfg.cache_dir), data, PersonCrop(cfg.crop.size, cfg.crop.padding, cfg.crop.margin), source)
