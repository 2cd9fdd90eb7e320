"""Other people's run directories and datasets: hostile files are one sentence, and nothing of theirs is run."""

import gzip
import io
import json
import logging
import os
import pickle
import signal
import struct
import sys
import warnings
import zipfile
import zlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from helpers.experiments import FIGURES, TINY, tiny
from helpers.run_dirs import row, run_dir, scores
from hydra.core.hydra_config import HydraConfig

from llpp import hashing
from llpp.cli import main
from llpp.cli.report import run_report_command
from llpp.cli.run import run_run_command
from llpp.config import instantiate
from llpp.datasets.coco.dataset import CocoKeypoints
from llpp.datasets.images import read_image
from llpp.datasets.lsp.dataset import LeedsSportsPose
from llpp.datasets.mpii.dataset import MpiiHumanPose
from llpp.errors import ConfigError, DataError, LlppError, StateError
from llpp.report.collect import collect
from llpp.report.failures import read_failure
from llpp.report.files import read_columns
from llpp.rounds import loop
from llpp.run_dir import checkpoints, layout, lock, state
from llpp.tasks.pose.task import PoseTask


class Trap:
    """Unpickled, it makes a file."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch '{self.marker}'",)


@pytest.fixture
def marker(tmp_path):
    """A file that must not be there at the end."""
    path = tmp_path / "marker"
    yield path
    assert not path.exists()


def sentence(error, call, *arguments, **settings):
    """The one line that a call fails with."""
    with pytest.raises(error) as caught:
        call(*arguments, **settings)
    told = str(caught.value)
    assert "\n" not in told and len(told) < 600
    return told


def archived(content, **options):
    """A checkpoint's bytes."""
    file = io.BytesIO()
    torch.save(content, file, **options)
    return file.getvalue()


def repacked(raw, compression=zipfile.ZIP_STORED):
    """The same archive, written by another program."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(raw)) as old, zipfile.ZipFile(file, "w", compression) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    return file.getvalue()


def with_claim(raw, size):
    """The archive with another size, compressed and not, of its first tensor in the directory."""
    raw, place = bytearray(raw), raw.find(b"PK\x01\x02")
    while not raw[place + 46 :].startswith(b"archive/data/0"):
        place = raw.find(b"PK\x01\x02", place + 4)
        assert place > 0
    struct.pack_into("<II", raw, place + 20, size, size)
    return bytes(raw)


WHOLE = archived({"llpp_round": "key", "llpp_code": "code", "state_dict": {"w": torch.ones(400)}})
CHECKPOINTS = {
    "a pickle that runs a command": lambda trap: archived({"llpp_round": trap}),
    "the same in torch's old format": lambda trap: archived(
        {"llpp_round": trap}, _use_new_zipfile_serialization=False
    ),
    "a plain pickle": lambda trap: pickle.dumps(trap),
    "a tensor of a class of its own": lambda trap: archived({"llpp_round": torch.nn.Linear(1, 1)}),
    "a claim of 4 GiB": lambda trap: with_claim(WHOLE, 0xFFFFFFF0),
    "a bomb": lambda trap: repacked(archived({"w": torch.zeros(10_000_000)}), zipfile.ZIP_DEFLATED),
    "no dictionary": lambda trap: archived([1, 2]),
    "nothing": lambda trap: b"",
    "half a file": lambda trap: WHOLE[: len(WHOLE) // 2],
    "noise": lambda trap: b"PK\x03\x04" + bytes(range(256)) * 8,
}


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_a_hostile_checkpoint_is_one_sentence(tmp_path, marker, name):
    path = tmp_path / "last.ckpt"
    path.write_bytes(CHECKPOINTS[name](Trap(marker)))
    readers = (
        lambda: layout.matches_round(path, "key"),
        lambda: layout.read_weights(path),
        lambda: checkpoints.AtomicCheckpointIO().load_checkpoint(path, weights_only=False),
    )
    for reader in readers:
        told = sentence(StateError, reader)
        assert told.startswith(f"{path} cannot be used (") and "delete it" in told and "weights_only" not in told


def test_a_whole_checkpoint_is_read(tmp_path):
    path = tmp_path / "last.ckpt"
    path.write_bytes(WHOLE)
    assert layout.matches_round(path, "key", "code") and not layout.matches_round(path, "another")
    assert layout.read_weights(path)["w"].sum() == 400
    path.write_bytes(archived({"state_dict": {"w": 1}}))
    assert "holds no weights" in sentence(StateError, layout.read_weights, path)
    assert "is missing" in sentence(StateError, layout.read_weights, tmp_path / "best.ckpt")


@pytest.mark.slow
def test_a_checkpoint_that_has_the_key_and_nothing_else_right_is_one_sentence(tmp_path):
    once = ("rounds=1", "trainer.max_epochs=1")
    loop.run_rounds(tiny(tmp_path, *once))
    path = tmp_path / "round_00/last.ckpt"
    good = path.read_bytes()

    def weights(content):
        name = next(iter(content["state_dict"]))
        content["state_dict"][name] = torch.zeros(1).expand(1 << 40)  # 4 TiB, were it ever written out

    def files(content):
        (of,) = (told for name, told in content["callbacks"].items() if "Checkpoint" in name)
        of["last_model_path"] = of["best_model_path"] = "/somewhere/.."

    def progress(content):
        content["loops"] = {"fit_loop": 3}

    for spoil in (weights, files, progress):
        content = torch.load(io.BytesIO(good), weights_only=True)
        spoil(content)
        torch.save(content, path)
        path.with_name("last.ckpt.sha256").unlink(missing_ok=True)  # which would tell
        (tmp_path / "state.json").unlink()
        told = sentence(StateError, lambda: loop.run_rounds(tiny(tmp_path, *once)))
        assert told.startswith(f"{path} cannot be used ("), spoil
    path.unlink()
    assert len(loop.run_rounds(tiny(tmp_path, *once)).rounds) == 1


def stated(**changes):
    """A state file's text with a matching checksum."""
    rounds = [{"number": 0, "row": {"labelled": 4, "test_pck": 0.5}, "selected": ["a"]}]
    body = {"science": {}, "initial": ["b"], "skipped": {}, "rounds": rounds, **changes}
    return json.dumps({"llpp_state": 2, "sha256": hashing.hash_json(body), **body})


def first_round(**changes):
    return stated(rounds=[{"number": 0, "row": {"labelled": 4}, "selected": [], **changes}])


@pytest.mark.parametrize("version", [1, 2, 3])
@pytest.mark.parametrize(
    "text",
    [
        '{"llpp_state": 2, "sha256": "", "rounds": ' + "[" * 200_000 + "]" * 200_000 + "}",
        '{"llpp_state": 2, "sha256": "", "rounds": ' + "9" * 1_000_000 + "}",
        stated(initial=[]),
        stated(initial="ab"),
        stated(science=[]),
        stated(skipped={"a": {}}),
        stated(rounds={}),
        stated(more=1),
        stated(redrawn="0"),
        first_round(number=".."),
        first_round(number=1),
        first_round(selected=[1]),
        first_round(row={"labelled": 4.5}),
        first_round(row={"labelled": None}),
        first_round(row={"labelled": 4, "test_pck": "0.5"}),
        first_round(row={"labelled": 4, "test_pck": 10**400}),
        first_round(row={"labelled": 4, "test_undefined": float("inf")}),
    ],
)
def test_a_hostile_state_is_one_sentence(tmp_path, text, version):
    (tmp_path / "state.json").write_text(text.replace('"llpp_state": 2', f'"llpp_state": {version}'))
    message = sentence(StateError, state.load_state, tmp_path / "state.json")
    assert "state.json is damaged: it" in message and "restore it from a backup, or delete" in message


def test_a_state_that_is_too_large_or_no_file_is_one_sentence(tmp_path):
    path = tmp_path / "state.json"
    path.write_text(stated())
    assert state.load_state(path).labelled == ("b", "a")
    with path.open("ab") as file:
        file.truncate(1 << 40)  # takes no space
    assert "it has 1,099,511,627,776 bytes, more than the limit of 2,147,483,648" in sentence(
        StateError, state.load_state, path
    )
    path.unlink()
    os.mkfifo(path)  # whoever opens it waits for ever
    assert "it is not a regular file" in sentence(StateError, state.load_state, path)


CONFIGS = {
    "a Python object": "name: !!python/object/apply:os.system ['touch {marker}']",
    "a Python module": "name: !!python/module:this",
    "a billion laughs": "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]",
    "depth": "name: " + "[" * 400,
    "a tag without a value": "name: !!timestamp nothing",
    "no mapping": "- 1",
    "a list for a name": "name: [1]",
    "a number for a group": "pck: 3",
    "a long number": "seed: 0x" + "f" * 400,
    "too much": "name: " + "x" * 300_000,
}


@pytest.mark.parametrize("name", CONFIGS)
def test_a_hostile_config_is_one_sentence(tmp_path, marker, name):
    folder = run_dir(tmp_path / "a", [row(0, 10, 0.5)])
    (folder / "config.yaml").write_text(CONFIGS[name].replace("{marker}", str(marker)))
    for call in (lambda: collect([folder]), lambda: instantiate.rebuild_run_task(folder)):
        assert "has no readable config.yaml" in sentence(StateError, call)


POSE = (
    "  _target_: llpp.tasks.pose.task.PoseTask\n  _partial_: true\n"
    "  loss: {_target_: llpp.tasks.pose.losses.HeatmapMSE}\n  pck: {}\n  heatmap: {sigma: 1.0, peak: 10.0}\n"
)


def figures(folder, dataset, task=POSE):
    """A run directory whose config has this dataset and task."""
    run_dir(folder, [row(0, 10, 0.5)])
    (folder / "config.yaml").write_text(f"name: a\nseed: 0\nrounds: 2\ndataset:\n{dataset}task:\n{task}")
    return folder


DRAWN = (
    "  _target_: llpp.datasets.synthetic.dataset.SyntheticFigures\n"
    "  size: 48\n  initial: 4\n  pool: 4\n  val: 2\n  test: 2\n"
)


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "subprocess.Popen",
        "builtins.eval",
        "pickle.loads",
        "llpp.cli.main.os.system",
        "llpp.config.build.np.load",
        "llpp.files.replace_text",  # ours, but it writes files
        "llpp.datasets.lsp.dataset.Path",
        "llpp.datasets.lsp.dataset.read_joints",
        "llpp.datasets.lsp.joints_mat.scipy.io.loadmat",
        "llpp.datasets.pose.PoseDataset.get_normaliser.__globals__",
        "llpp.datasets.nothing.Here",
        "llpp.datasets.",
        "llpp.tasks.pose.task.np.load",
        "llpp.tasks.pose.drawing.draw_person",
        "llpp.tasks.pose.task.PoseTask.draw.__globals__",
        "llpp.tasks.pose.task.HeatmapCodec.__class__",
        "llpp.tasks.nothing.Here",
        "llpp.tasks.",
        "torch.load",
        "",
    ],
)
def test_only_our_datasets_and_tasks_are_built_from_a_config(tmp_path, marker, target):
    alone = f"  _target_: {target!r}\n  _args_: ['touch {marker}']\n"
    nested = f"  more: [{{inner: {{_target_: {target!r}, _partial_: true, _args_: ['touch {marker}']}}}}]\n"
    hostile = ((alone, POSE), (DRAWN + nested, POSE), (DRAWN, alone), (DRAWN, POSE + nested))
    for number, (dataset, task) in enumerate(hostile):
        folder = figures(tmp_path / str(number), dataset, task)
        message = sentence(ConfigError, instantiate.rebuild_run_task, folder)
        expected = (
            f"config.yaml names _target_ {target!r}, which is neither a part of llpp that such a file may name nor in"
        )
        assert expected in message
        assert "trusted_packages=…" in message


def test_a_loss_of_an_older_config_is_checked_like_a_task(tmp_path, marker):
    older = (
        f"pose_loss: {{_target_: os.system, _args_: ['touch {marker}']}}\npck: {{}}\ncodec: {{sigma: 1, peak: 1}}\n"
    )
    folder = figures(tmp_path, DRAWN)
    text = (folder / "config.yaml").read_text()
    (folder / "config.yaml").write_text(text.partition("task:")[0] + older)
    assert "names _target_ 'os.system'" in sentence(ConfigError, instantiate.rebuild_run_task, folder)


@pytest.mark.parametrize(
    ("dataset", "task"),
    [
        ("  _target_: llpp.tasks.pose.losses.HeatmapMSE\n", POSE),
        (DRAWN, "  _target_: llpp.tasks.pose.losses.HeatmapMSE\n"),
        (DRAWN, "  _target_: llpp.datasets.synthetic.dataset.SyntheticFigures\n  _partial_: true\n"),
        (DRAWN, POSE.replace("pck: {}", "pck: 3")),
        (DRAWN, POSE.replace("  _partial_: true\n", "")),
    ],
    ids=["a loss as dataset", "a loss as task", "a dataset as task", "a number for a group", "no partial"],
)
def test_a_class_of_ours_in_the_wrong_place_is_one_sentence(tmp_path, dataset, task):
    sentence(ConfigError, instantiate.rebuild_run_task, figures(tmp_path, dataset, task))


@pytest.mark.parametrize("target", ["{a: 1}", "[os.system, 1]", "1", "null"])
def test_a_target_that_is_no_name_is_refused(tmp_path, target):
    text = f"  _target_: {target}\n"
    for folder in (figures(tmp_path / "a", text), figures(tmp_path / "b", DRAWN, text)):
        assert "trusted_packages" in sentence(ConfigError, instantiate.rebuild_run_task, folder)


def test_our_own_datasets_are_built_with_their_task(tmp_path):
    task = instantiate.rebuild_run_task(figures(tmp_path / "a", DRAWN))
    assert isinstance(task, PoseTask) and len(task.dataset.records.ids) == 12
    merged = "  _target_: llpp.datasets.merged.MergedDataset\n  parts:\n    one:\n"
    merged += "".join(f"    {line}\n" for line in DRAWN.splitlines())
    assert len(instantiate.rebuild_run_task(figures(tmp_path / "b", merged)).dataset.records.ids) == 12
    for name, folder in (
        ("dataset", figures(tmp_path / "c", "  size: 3\n")),
        ("task", figures(tmp_path / "d", DRAWN, "  size: 3\n")),
    ):
        assert f"has no {name}" in sentence(ConfigError, instantiate.rebuild_run_task, folder)


@pytest.mark.parametrize(
    "value",
    [
        "${oc.env:SESAME}",
        r'"\\${oc.env:SESAME}"',
        "${oc.decode:${oc.env:SESAME}}",
        '"${oc.create:{_target_: os.system}}"',
    ],
)
def test_nothing_is_looked_up_for_a_config(tmp_path, monkeypatch, value):
    monkeypatch.setenv("SESAME", "open-sesame")
    hostile = [(f"  _target_: {value}\n", POSE), (DRAWN, f"  _target_: {value}\n")]
    for more in (f"  root: {value}\n", f"  {value}: 1\n"):
        hostile += [(DRAWN + more, POSE), (DRAWN, POSE + more)]
    for dataset, task in hostile:
        folder = figures(tmp_path, dataset, task)
        message = sentence(ConfigError, instantiate.rebuild_run_task, folder)
        assert "has the interpolation" in message and "open-sesame" not in message
        assert "open-sesame" not in str(collect([folder]))


PLUG_IN = """
import os
from os import system
from llpp.datasets.synthetic.dataset import SyntheticFigures

class Mine(SyntheticFigures):
    name = "mine"
"""


@pytest.fixture
def plug_in(tmp_path, monkeypatch):
    """A package of the user's."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site/minefield.py").write_text(PLUG_IN)
    monkeypatch.syspath_prepend(tmp_path / "site")
    yield "minefield"
    sys.modules.pop("minefield", None)


def test_a_trusted_package_builds_what_it_defines_and_not_what_it_imports(tmp_path, marker, plug_in):
    folder = figures(
        tmp_path / "a", DRAWN.replace("llpp.datasets.synthetic.dataset.SyntheticFigures", "minefield.Mine")
    )
    assert "neither" in sentence(ConfigError, instantiate.rebuild_run_task, folder, trusted=["mine", "minefields"])
    assert plug_in not in sys.modules  # what is not trusted is not even imported
    assert instantiate.rebuild_run_task(folder, trusted=[plug_in]).dataset.name == "mine"
    for target in ("minefield.system", "minefield.os.system", "minefield.Mine.__class__", "minefield.Nothing"):
        text = f"  _target_: {target}\n  _args_: ['touch {marker}']\n"
        sentence(ConfigError, instantiate.rebuild_run_task, figures(tmp_path / "b", text), trusted=[plug_in])


@pytest.mark.slow
def test_the_report_trusts_the_packages_that_it_is_told_of(tmp_path, marker, plug_in, capsys):
    folder = figures(
        tmp_path / "a", DRAWN.replace("llpp.datasets.synthetic.dataset.SyntheticFigures", "minefield.Mine")
    )
    target = tmp_path / "precious"
    target.write_text("mine")
    (folder / ".report.html.part").symlink_to(target)  # where the report is written first
    run_report_command([str(folder)])
    page = (folder / "report.html").read_text()
    assert "The gallery is left out" in page and "names _target_ &#39;minefield.Mine&#39;" in page
    for spelling in ("--trusted-packages=other,minefield", "trusted_packages=[other,minefield]"):
        run_report_command([str(folder), spelling])
        page = (folder / "report.html").read_text()
        assert "The gallery is left out" not in page and "4 val" not in page and "2 val" in page
    assert target.read_text() == "mine"


def test_an_error_brings_no_codes_to_the_terminal(capsys):
    with pytest.raises(SystemExit):
        main.fail("no\x1b]0;title\x07 such\nfile")
    assert capsys.readouterr().err == "llpp: no ]0;title  such file\n"


def test_a_link_for_a_lock_empties_nothing(tmp_path):
    (tmp_path / "precious").write_text("mine")
    (tmp_path / "lock").symlink_to(tmp_path / "precious")
    with pytest.raises(StateError, match=r"lock is a link, .*; delete it"), lock.lock_run_dir(tmp_path):
        pass
    assert (tmp_path / "precious").read_text() == "mine"


def columns_of(path):
    return read_columns(path, ("predicted_loss", "true_loss"))


def test_a_hostile_score_table_is_not_read(tmp_path, marker):
    scores(tmp_path)
    path = tmp_path / "test.parquet"
    assert columns_of(path)["true_loss"].tolist() == pytest.approx([0.2, 0.3])
    good = pq.read_table(path)
    losses = pa.array([0.25, 0.5])
    nested = pa.array([[0.25], [0.5]])
    missing = pa.array([0.25, None])
    for told in (pa.array(["a", "b"]), nested, missing, pa.array([b"a", b"b"])):
        pq.write_table(pa.table({"predicted_loss": told, "true_loss": losses}), path)
        assert columns_of(path) is None
    pq.write_table(good, path, compression="gzip")
    assert columns_of(path) is None
    zeros = pa.array(np.zeros(11_000_000, dtype=np.float32))
    pq.write_table(pa.table({"predicted_loss": zeros, "true_loss": zeros}), path)
    assert path.stat().st_size < 1e5 and columns_of(path) is None
    for content in (b"", b"PAR1", b"PAR1" + bytes(99) + b"PAR1", b"no table"):
        path.write_bytes(content)
        assert columns_of(path) is None
    kind = {b"ARROW:extension:name": b"arrow.py_extension_type"}
    kind[b"ARROW:extension:metadata"] = pickle.dumps(Trap(marker))
    schema = pa.schema([pa.field(name, losses.type, metadata=kind) for name in ("predicted_loss", "true_loss")])
    pq.write_table(pa.table([losses, losses], schema=schema), path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it tells of the pickle that it leaves alone
        columns_of(path)


def test_a_note_about_a_failure_is_never_another(tmp_path):
    for text in ("[" * 200_000, '{"reason": ' + "9" * 10_000 + "}", "1", "\x00"):
        (tmp_path / "failed.json").write_text(text)
        assert read_failure(tmp_path).reason == "failed.json cannot be read"


def matrix(rows, claimed):
    """A MATLAB 5 element: `joints` of 14 × 3 × rows doubles, whose data claims so many bytes."""

    def element(kind, data):
        return struct.pack("<II", kind, len(data)) + data + bytes(-len(data) % 8)

    head = element(6, struct.pack("<II", 6, 0)) + element(5, struct.pack("<iii", 14, 3, rows)) + element(1, b"joints")
    return struct.pack("<II", 14, min(claimed + len(head) + 8, 0xFFFFFFF8)) + head + struct.pack("<II", 9, claimed)


@pytest.mark.slow
def test_a_matlab_bomb_ends_its_reader_only(tmp_path):
    """The reading process may take 4 GiB in all."""
    header = b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack("<HH", 0x0100, 0x4D49)
    packed = zlib.compress(matrix(12_780_000, 12_780_000 * 14 * 3 * 8) + bytes(1_000_000))
    (tmp_path / "joints.mat").write_bytes(header + struct.pack("<II", 15, len(packed)) + packed)
    told = sentence(DataError, LeedsSportsPose, str(tmp_path), val=1, test=1)
    assert "joints.mat was not read: it unpacks to more than 4 GiB" in told


@pytest.mark.slow
def test_a_gzip_bomb_is_left_after_the_first_bytes(tmp_path):
    with gzip.open(tmp_path / "mpii_annotations.json.gz", "wb", compresslevel=1) as file:
        for _ in range(140):
            file.write(b"[" + b" " * (1 << 20))
    told = sentence(DataError, MpiiHumanPose, str(tmp_path))
    assert "has more than 134,217,728 bytes; MPII's annotations have 50 MB" in told


def png(width, height):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def test_an_image_that_claims_to_be_enormous_is_one_sentence(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(png(17_000, 17_000))
    assert "claims to have more pixels than are decoded" in sentence(DataError, read_image, path)
    with path.open("ab") as file:
        file.truncate(1 << 40)
    assert "1,099,511,627,776 bytes" in sentence(DataError, read_image, path)
    path.unlink()
    os.mkfifo(path)
    assert "it is not a regular file" in sentence(DataError, read_image, path)


def test_a_pipe_or_too_large_a_file_for_annotations_is_one_sentence(tmp_path):
    os.mkfifo(tmp_path / "annotations.json")
    told = sentence(LlppError, CocoKeypoints, str(tmp_path), "annotations.json", "images")
    assert "annotations.json cannot be read (it is not a regular file)" in told


SECRETS = {
    "api_key": "sesame-key-1",
    "token": "sesame-token-2",
    "password": "sesame-password-3",
    "login": "sesame-login-4",
    "inline": "sesame-inline-5",
    "environment": "5e5a3e0123456789abcdef0123456789abcdef01",
}


@pytest.fixture
def as_a_process(tmp_path, monkeypatch):
    """What a command changes of its process is changed back."""
    wandb = pytest.importorskip("wandb", reason="the wandb extra is not installed")
    for name in ("CACHE_DIR", "CONFIG_DIR", "DATA_DIR"):
        monkeypatch.setenv(f"WANDB_{name}", str(tmp_path / "home"))
    monkeypatch.setenv("WANDB_API_KEY", SECRETS["environment"])
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setattr(sys, "argv", sys.argv)
    monkeypatch.chdir(tmp_path)
    root, handler = logging.getLogger(), signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(root, "handlers", root.handlers)
    level = root.level
    yield
    root.setLevel(level)
    signal.signal(signal.SIGTERM, handler)
    HydraConfig.instance().cfg = None
    wandb.teardown()  # it would remember the key


@pytest.mark.slow
def test_no_file_that_a_run_writes_holds_a_secret(tmp_path, capsys, as_a_process):
    """As a sweep of two jobs, the second of which fails with an address in its reason."""
    mirror = f"'https://me:{SECRETS['login']}@example.org/data'"
    given = [
        "logger=wandb", "logger.wandb.offline=true", f"+logger.wandb.settings.api_key={SECRETS['api_key']}",
        "+logger.csv={_target_: pytorch_lightning.loggers.CSVLogger, save_dir: '${paths.run_dir}', name: logs}",
        f"+trackers=[{{token: {SECRETS['token']}}},{{nested: {{password: {SECRETS['password']}}}}}]",
        f"+mirror={mirror}", f"+note='api_key={SECRETS['inline']}'", f"budget=6,{mirror}",
        "paths.runs=runs", "paths.run_dir=${paths.runs}/job${hydra:job.num}", "rounds=1", "trainer.max_epochs=1",
        "report.write=true",
    ]  # fmt: skip
    assert run_run_command(["-m", *TINY, *FIGURES, *given]) == 1
    assert "2 jobs: 1 done, 1 failed" in capsys.readouterr().err
    written = {str(p.relative_to(tmp_path)): p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    for name in ("runs/multirun.yaml", "runs/job0/config.yaml", "runs/job0/report.html", "runs/job1/failed.json"):
        assert b"***" in written[name]
    assert any(name.endswith(".wandb") for name in written) and "runs/job0/logs/version_0/metrics.csv" in written
    leaks = {(name, kind) for name, text in written.items() for kind in SECRETS if SECRETS[kind].encode() in text}
    assert leaks == set()
