"""Output: what a terminal cannot show, and readers that leave; in processes of their own, as their streams are."""

import os
import signal
import subprocess
import sys

import pytest
from helpers.cli import llpp
from helpers.experiments import FIGURES, TINY

LINE = "test PCK 0.060 · ρ(predicted, true loss) 0.17 – 0.43 … 片"


def python(code, encoding="utf-8", **pipes):
    """Start a process that runs `code` after it has imported llpp.terminal."""
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    return subprocess.Popen([sys.executable, "-c", f"from llpp import terminal\n{code}"], env=environment, **pipes)


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [
        ("utf-8", LINE),
        ("latin-1", "test PCK 0.060 · rho(predicted, true loss) 0.17 - 0.43 ... \\u7247"),
        ("ascii", "test PCK 0.060 - rho(predicted, true loss) 0.17 - 0.43 ... \\u7247"),
    ],
)
def test_symbols_that_a_terminal_lacks_have_stand_ins(encoding, shown):
    code = f"terminal.accept_any_text()\nprint({LINE!r})"
    out, _ = python(code, encoding, stdout=subprocess.PIPE).communicate()
    assert out.decode(encoding) == f"{shown}\n"


def test_a_file_name_that_is_not_utf8_is_shown(tmp_path):
    name = os.fsdecode(b"caf\xe9.jpg")
    out, _ = python(f"terminal.accept_any_text()\nprint({name!r})", stdout=subprocess.PIPE).communicate()
    assert out == b"caf\\udce9.jpg\n"


WRITER = (
    "import logging, sys\n"
    "{prepare}\n"
    "logging.basicConfig(stream=sys.stdout, format='%(message)s')\n"
    "sys.stdin.readline()\n"  # until the reader has left
    "for _ in range(3):\n"
    "    print('printed', flush=True)\n"
    "    logging.warning('logged')\n"
    "sys.stderr.write('went on')\n"
)


def test_a_process_that_outlives_its_reader_goes_on_without_a_word():
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = python(WRITER.format(prepare="terminal.outlive_readers()"), **pipes)
    process.stdout.close()
    process.stdin.write(b"\n")
    process.stdin.close()
    assert process.stderr.read() == b"went on" and process.wait() == 0


def test_what_is_written_arrives_while_there_is_a_reader(tmp_path):
    process = python(
        WRITER.format(prepare="terminal.outlive_readers()"), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    out, _ = process.communicate(b"\n")
    assert out == b"printed\nlogged\n" * 3


def test_no_file_gets_the_number_of_a_stream_that_is_missing(tmp_path):
    code = (
        "from llpp import terminal\n"
        "terminal.open_missing_streams()\n"
        "terminal.outlive_readers()\n"
        "print('lost')\n"
        "with open('kept', 'w') as file:\n"
        "    file.write(f'{file.fileno() > 2}')\n"
    )
    subprocess.run(["sh", "-c", 'exec "$0" -c "$1" <&- >&- 2>&-', sys.executable, code], cwd=tmp_path, check=True)
    assert (tmp_path / "kept").read_text() == "True"


def test_an_unbuffered_process_writes_at_once(monkeypatch):
    monkeypatch.setenv("PYTHONUNBUFFERED", "1")
    code = "import sys\nterminal.outlive_readers()\nsys.stdout.write('1 of 2')\nsys.stdin.readline()"
    process = python(code, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout.read(6) == b"1 of 2" and process.poll() is None
    process.communicate(b"\n")


@pytest.mark.slow
def test_a_command_that_only_shows_something_ends_with_its_reader_as_unix_tools_do(tmp_path):
    command = [sys.executable, "-m", "llpp", "data", "cache", "list"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    assert process.stderr.read() == b"" and process.wait() == 128 + signal.SIGPIPE


def test_a_command_that_draws_tables_ends_with_its_reader_too():
    code = (
        "from llpp.console import TableConsole\n"
        "import sys\n"
        "sys.stdin.readline()\n"
        "with terminal.end_with_reader():\n"
        "    TableConsole().print('a table')\n"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = python(code, **pipes)
    process.stdout.close()
    process.stdin.write(b"\n")
    process.stdin.close()
    assert process.stderr.read() == b"" and process.wait() == 128 + signal.SIGPIPE


@pytest.mark.slow
@pytest.mark.parametrize("callbacks", ["default", "lines"])
def test_a_run_goes_on_when_its_reader_has_left(callbacks, tmp_path):
    command = [sys.executable, "-m", "llpp", "run", *TINY, *FIGURES, "rounds=1", f"callbacks={callbacks}"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    assert process.stderr.read() == b"" and process.wait() == 0
    assert list(tmp_path.glob("runs/*/seed0/rounds.csv"))


@pytest.mark.slow
def test_an_ascii_terminal_shows_a_run_and_its_bars(tmp_path):
    terminal = {"PYTHONIOENCODING": "ascii", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    overrides = ("rounds=1", "callbacks=default", "report.write=true")
    done = llpp("run", *TINY, *FIGURES, *overrides, cwd=tmp_path, anew=True, **terminal)
    assert done.returncode == 0, done.stderr
    assert done.stderr == "" and "rho(predicted, true loss)" in done.stdout and done.stdout.isascii()
    shown = llpp("report", "runs", cwd=tmp_path, anew=True, **terminal)
    assert shown.returncode == 0 and shown.stdout.isascii(), shown.stderr
