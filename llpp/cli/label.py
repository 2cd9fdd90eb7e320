"""The verb `llpp label`."""

import json
import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from llpp.config import compose
from llpp.config.label_words import list_words_for_once, merge_words, quote_value, read_kept_words, translate_words
from llpp.errors import ConfigError

if TYPE_CHECKING:
    from omegaconf import DictConfig

HELP = """\
llpp label FOLDER [OPTION=VALUE ...]   ask people for labels, batch by batch; the same command continues

The first time, it lists the images and films of FOLDER and writes a batch for a labelling tool. Later, it reads the
answers, trains a round as soon as there are enough, and writes the next batch. It never waits for people: its last
line says what it waits for.

  joints=FILE        names of the joints: YAML, a COCO file, DeepLabCut's config.yaml …, or coco17, mpii16, lsp14
  tool=NAME          {tools}
  budget=N           images in a batch
  boxes=…            image (one person or animal in each), a COCO file of boxes, or onnx:MODEL
  labels=FILE        a file or folder of answers to read, besides the inbox
  labelling=FOLDER   where batches and answers are kept (default: labelling/NAME)
  --json             the last line as JSON

Any other option is one of `llpp run`; what is given the first time holds for later starts.

== What only people's labels have: label.OPTION=VALUE ==
{settings}"""


def run_label_command(arguments: list[str]) -> int:
    """Do what can be done for a project's labels now; return the exit status."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if not arguments or "--help" in arguments or "-h" in arguments:
        print(_compose_help(), end="")
        return 0 if arguments else 2
    as_json = "--json" in arguments
    words = [word for word in arguments if word != "--json"]
    folder = _find_folder(words)
    words.remove(folder)
    _check_words(words)

    from llpp.labelling.session import Outcome
    from llpp.launch import gpu_sharing, job, label_job

    root = Path(folder)
    typed = translate_words(words)
    kept = merge_words(read_kept_words(root, typed), typed)
    overrides = [
        "experiment=label",
        f"name={quote_value(root.resolve().name)}",
        f"dataset.root={quote_value(folder)}",
        *kept,
        *list_words_for_once(typed),
    ]

    labelling = [word for word in words if word.startswith(("labelling=", "dataset.labelling="))]
    command = shlex.join(["llpp", "label", folder, *labelling])

    def start(cfg: "DictConfig") -> None:
        def label() -> Outcome:
            gpu_sharing.check_job(cfg)
            return label_job.run_labelling(cfg, job.run_rounds_job, command, kept)

        outcome = job.run_unless_refused(label)
        if as_json:
            print(json.dumps(outcome.to_json()), flush=True)
        else:
            label_job.print_outcome(outcome)

    job.install_signal_handlers()
    compose.run(start, overrides)
    return 0


def _compose_help() -> str:
    tools = [name for name in compose.groups()["oracle"] if name != "simulated"]
    settings = (compose.conf_dir() / "label" / "default.yaml").read_text(encoding="utf-8")
    return HELP.format(tools=", ".join(tools), settings=settings.partition("\n")[2])


def _find_folder(words: Sequence[str]) -> str:
    """Return the one word that is a folder; ConfigError if there is none, or several."""
    others = [word for word in words if "=" not in word and not word.startswith("-")]
    # A folder may be called a=b.
    folders = others or [word for word in words if Path(word).is_dir()]
    if len(folders) != 1:
        found = ", ".join(map(repr, folders)) or "none"
        raise ConfigError(
            f"llpp label needs one folder of images or films, got {found}; expected llpp label FOLDER OPTION=VALUE …"
        )
    if not Path(folders[0]).is_dir():
        raise ConfigError(f"there is no folder {folders[0]}; give the folder of your images or films")
    return folders[0]


def _check_words(words: Sequence[str]) -> None:
    """Raise ConfigError about what `llpp run` takes and this verb does not: several runs, or another folder."""
    for word in words:
        if word in ("-m", "--multirun"):
            raise ConfigError(
                "-m starts several runs, and only one run of a project asks people; leave it out, or compare methods "
                "with the labels that there are: llpp run -m dataset=project oracle=simulated …"
            )
        if word.startswith("-"):
            raise ConfigError(f"{word} is not known to llpp label; expected --json, or OPTION=VALUE")
        if word.startswith("dataset.root="):
            raise ConfigError(f"{word} would be a second folder; give one, as in llpp label FOLDER")
