"""What decides results is recorded alike, whoever composed the config."""

from helpers.experiments import FIGURES, TINY
from omegaconf import OmegaConf

from llpp.config import build


def test_ranks_of_a_job_record_what_a_single_process_records(compose, tmp_path):
    """The launcher resolves links such as `task.pck: ${pck}` before it hands the config to its ranks."""
    cfg = compose(*TINY, *FIGURES, f"paths.run_dir={tmp_path}")
    resolved = OmegaConf.create(OmegaConf.to_container(cfg, resolve=True))
    alone = build.build_run(cfg).result_settings
    assert build.build_run(resolved).result_settings == alone
    assert alone["pck.threshold"] == 0.2 and not any(name.startswith("task.pck") for name in alone)


def test_a_setting_that_no_longer_follows_its_section_is_recorded(compose, tmp_path):
    cfg = compose(*TINY, *FIGURES, f"paths.run_dir={tmp_path}")
    cfg = OmegaConf.create(OmegaConf.to_container(cfg, resolve=True))
    cfg.task.pck.threshold = 0.5
    assert build.build_run(cfg).result_settings["task.pck.threshold"] == 0.5
