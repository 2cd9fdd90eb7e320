"""Configuration → how crops are kept, cut and resampled."""

from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf

from llpp.config import fingerprint, read_settings
from llpp.data.crop_cache.cache import CropCache
from llpp.data.person_crop import PersonCrop
from llpp.datasets.base import AnyDataset
from llpp.errors import expect
from llpp.hashing import hash_json


def collect_crop_result_settings(cfg: DictConfig) -> dict[str, Any]:
    """The settings of `crop` that results depend on, with what was decided for them.

    Where crops are resampled: the pixels differ a little. Whether they come from the cache: augmented ones were then
    resampled twice and sharpened, and end at the margin.
    """
    settings = cast(dict[str, Any], OmegaConf.to_container(cfg.crop, resolve=True))
    settings["resample"] = read_settings.resolve_resampling(cfg)
    del settings["resident"]
    if not cfg.crop.cache:
        del settings["cache"]
    return settings


def build_crop_cache(cfg: DictConfig, data: AnyDataset) -> CropCache:
    """The crops of a dataset, not built yet."""
    expect(cfg.crop.margin is not None, "crop.margin", None, "a factor of 1 or more, with crop.cache=true")
    folder = cfg.paths.cache_dir
    expect(isinstance(folder, str), "paths.cache_dir", folder, "a folder, with crop.cache=true")
    source = ""
    if not data.paths:
        # Images without files of their own are identified by the program, its settings and a digest of all pixels.
        settings = cast(dict[str, Any], OmegaConf.to_container(cfg.dataset, resolve=True))
        source = hash_json([settings, fingerprint.hash_program({"dataset": settings}), data.pixel_digest])
    return CropCache(Path(folder), data, PersonCrop(cfg.crop.size, cfg.crop.padding, cfg.crop.margin), source)
