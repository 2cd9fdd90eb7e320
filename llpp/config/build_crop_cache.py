"""Configuration → how crops are kept, cut and resampled."""

from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf

from llpp.config import fingerprint, read_settings
from llpp.data.crop_cache.cache import CropCache
from llpp.data.person_crop import PersonCrop
from llpp.datasets.base import PoseDataset
from llpp.errors import expect
from llpp.hashing import hash_json


def collect_crop_result_settings(cfg: DictConfig) -> dict[str, Any]:
    """What the settings of `crop` do not tell, but results depend on.

    Where crops are resampled: the pixels differ a little. Whether they come from the cache: augmented ones were then
    resampled twice and sharpened, and end at the margin.
    """
    return {"resample": read_settings.resolve_resampling(cfg), **({"cache": True} if cfg.dataset.cache else {})}


def build_crop_cache(cfg: DictConfig, data: PoseDataset) -> CropCache:
    """The crops of a dataset, not built yet."""
    expect(cfg.crop.margin is not None, "crop.margin", None, "a factor of 1 or more, with dataset.cache=true")
    expect(isinstance(cfg.cache_dir, str), "cache_dir", cfg.cache_dir, "a folder, with dataset.cache=true")
    source = ""
    if not data.paths:  # its program and settings decide what is drawn
        told = cast(dict[str, Any], OmegaConf.to_container(cfg.dataset, resolve=True))
        drawn = {name: value for name, value in told.items() if name not in read_settings.DATASET_RUN_KEYS}
        source = hash_json([drawn, fingerprint.hash_program({"dataset": drawn})])
    return CropCache(Path(cfg.cache_dir), data, PersonCrop(cfg.crop.size, cfg.crop.padding, cfg.crop.margin), source)
