"""One start of a run whose labels people give: read their answers, train a round if there are enough, ask for more.

All of it but the training is done in the process that the user started: it reads the answers before the ranks exist,
and writes the next batch after they have ended, so no rank ever waits for people.
"""

import logging
import sys
from collections.abc import Callable, Sequence

from omegaconf import DictConfig, open_dict

from llpp.config import labelling as labelling_config
from llpp.config import read_settings
from llpp.config.read_settings import asks_people
from llpp.errors import ConfigError
from llpp.labelling import session
from llpp.labelling.session import Outcome
from llpp.launch import launcher
from llpp.run_dir.lock import lock_run_dir

log = logging.getLogger(__name__)


def run_labelling(
    cfg: DictConfig,
    train: Callable[[DictConfig], str],
    command: str = "the same command again",
    words: Sequence[str] = (),
) -> Outcome:
    """Do what can be done now, and return what the run waits for.

    Args:
        cfg: composed, with an oracle that asks people.
        train: trains and commits one round of a config, in this process or in others.
        command: what continues, in words.
        words: settings of the command line that later starts are to repeat.

    Raises:
        LlppError: something that the user has to correct.
    """
    if launcher.is_worker():
        raise ConfigError(
            "people's labels are read by one process before the others exist, and torchrun has started several; "
            "start llpp without torchrun, with trainer.devices=N"
        )
    if not asks_people(cfg):
        raise ConfigError(
            "the oracle of this run asks nobody for labels; set tool=label_studio or another labelling tool, or use "
            "llpp run with dataset=project oracle=simulated for the labels that there are"
        )
    read_settings.check_folder_names(cfg)
    read_settings.read_settings(cfg)
    with open_dict(cfg):
        cfg.label.words = list(words)
    labelling = labelling_config.build_labelling(cfg, command)
    labelling.folder.path.mkdir(parents=True, exist_ok=True)
    with lock_run_dir(labelling.folder.path, "choose another labelling=…"):
        outcome = session.prepare_round(labelling)
        if outcome.snapshot is None:
            return outcome
        with open_dict(cfg):
            cfg.dataset.snapshot = str(outcome.snapshot)
        train(cfg)
        # The batch is read from what was committed, as after an interruption.
        return session.finish_round(labelling)


def print_outcome(outcome: Outcome) -> None:
    """Print what the run waits for as the last line."""
    for handler in logging.getLogger().handlers:
        handler.flush()
    sys.stderr.flush()
    print(outcome.line, flush=True)
