"""Both commands with Ctrl-C, and with standard streams that are closed, full, without a reader or without glyphs."""

import json
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from tests.support.terminals import COMMANDS, SITUATIONS, Outcome

START = """
import os, signal, sys, time
from tensortrain import terminal
def interrupt():
    os.kill(os.getpid(), signal.SIGINT)
"""
HEARD = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # it is ignored where a suite runs in the background


def program(body: str, **settings) -> subprocess.CompletedProcess[str]:
    """Run a small program, whose `main` and perhaps `load` the body defines, as the commands run."""
    body += "" if "def load" in body else "\ndef load(): return main"
    code = f"{START}{body}\nterminal.run('program', load)"
    settings = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "preexec_fn": HEARD, **settings}
    return subprocess.run([sys.executable, "-c", code], text=True, timeout=300, check=False, **settings)


# ---- every command --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> list[Outcome]:
    folder = tmp_path_factory.mktemp("terminals")
    root = str(Path(__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": root, "OMP_NUM_THREADS": "1", "ZOO_DATA": str(folder / "data")}
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.terminals"], cwd=folder, env=environment, capture_output=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    return [Outcome(*row) for row in json.loads(done.stdout)]


@pytest.mark.parametrize(
    ("situation", "status"), [("ascii", 0), ("closed", 0), ("full", 2), ("unread", 141)], ids=SITUATIONS
)
def test_no_command_ends_with_a_traceback(outcomes, situation, status):
    some = [outcome for outcome in outcomes if outcome.situation == situation]
    assert len(some) == len(COMMANDS) or situation == "closed"
    assert {outcome.command.partition(" ")[0] for outcome in some} == {"tensortrain", "zoo"}
    for outcome in some:
        name = outcome.command.partition(" ")[0]
        full = f"{name}: standard output cannot be written: No space left on device; send it elsewhere"
        assert outcome.status == status, outcome
        assert "Traceback" not in outcome.err, outcome
        assert "Error" not in outcome.err, outcome
        assert outcome.err.splitlines()[-1:] == [full] if status == 2 else full not in outcome.err, outcome


def test_tables_in_ascii_are_whole(outcomes):
    texts = {outcome.command: outcome.out for outcome in outcomes if outcome.situation == "ascii"}
    assert all(text.isascii() and text for text in texts.values())
    models = texts["zoo models"].splitlines()
    assert max(map(len, models)) <= 80
    start = models[0].index("what it is")  # the last column, whose place the columns before it keep in every line
    entries = models[1 : models.index("")]
    assert len(entries) > 20
    assert {line[start - 2 : start] for line in entries} <= {"  ", ""}
    assert all(line[start : start + 1].strip() for line in entries if len(line) > start)
    decomposed = next(text for command, text in texts.items() if "decompose net.st" in command).splitlines()
    assert "4x4x5" in decomposed[1]
    assert "3 | 3" in decomposed[1]
    assert decomposed[0].index("kernel") == decomposed[1].index("4x4x5")


# ---- standard streams -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("print_it", "size", "unbuffered"),
    [
        ("print", 1, ""),
        ("print", 100_000, ""),
        ("print", 100_000, "1"),
        ("__import__('rich.console').console.Console().print", 100_000, ""),
    ],
    ids=["a word", "more than a buffer", "unbuffered", "by rich"],
)
def test_output_that_nobody_reads_or_that_no_disk_holds_ends_the_program(print_it, size, unbuffered):
    body = f"def main():\n try: {print_it}('x ' * {size})\n finally: sys.stderr.write('clean ')"
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    reader, writer = os.pipe()
    os.close(reader)
    unread = program(body, stdout=writer, env=environment)
    os.close(writer)
    assert (unread.returncode, unread.stderr) == (141, "clean ")
    with open("/dev/full", "w") as disk:
        full = program(body, stdout=disk, env=environment)
    message = "program: standard output cannot be written: No space left on device; send it elsewhere"
    assert (full.returncode, sorted(full.stderr.split())) == (2, sorted(f"clean {message}".split()))


def test_streams_that_are_closed_stay_out_of_files(tmp_path):
    """Otherwise the next three files that are opened would be standard input, output and error."""
    body = f"""
def main():
    with open({str(tmp_path / "a")!r}, "w") as first, open({str(tmp_path / "b")!r}, "w") as second:
        print("to standard output"), print("to standard error", file=sys.stderr), sys.stdout.flush()
        os.write(1, b"by a library"), os.write(2, b"by a library")
        assert not sys.stdout.isatty() and first.fileno() > 2 and second.fileno() > 2
    sys.exit(7)
"""

    def close() -> None:
        for number in range(3):
            os.close(number)

    assert program(body, stdout=None, stderr=None, preexec_fn=close).returncode == 7
    assert (tmp_path / "a").read_text() == (tmp_path / "b").read_text() == ""


@pytest.mark.parametrize("where", ["closed", "full", "unread"])
def test_standard_error_that_cannot_be_written_changes_nothing(where):
    body = "def main():\n print('x' * 100_000, file=sys.stderr)\n print('done')\n sys.exit(3)"
    settings = {}
    if where == "closed":
        settings = {"stderr": None, "preexec_fn": partial(os.close, 2)}
    elif where == "full":
        settings = {"stderr": os.open("/dev/full", os.O_WRONLY)}
    else:
        reader, settings["stderr"] = os.pipe()
        os.close(reader)
    done = program(body, **settings)
    assert (done.returncode, done.stdout) == (3, "done\n")


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"PYTHONIOENCODING": "ascii"}, "4x4 - e>.. ? ?? ?"),
        ({"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}, "4x4 - e>.. ? ?? ?"),
        ({"LC_ALL": "C"}, "4×4 – é→.… ² 字 ?"),
        ({"PYTHONIOENCODING": "latin-1"}, "4×4 - é>.. ² ?? ?"),
        ({"PYTHONIOENCODING": "utf-8:strict"}, "4×4 – é→.… ² 字 ?"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else "",
)
def test_glyphs_that_cannot_be_encoded_are_replaced(environment, expected):
    text = ascii("4×4 – é→.… ² 字 \udcff")
    body = f"def main(): print({text}); print({text}, file=sys.stderr)"
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("LC_", "LANG", "PYTHON"))}
    plain["PYTHONPATH"] = str(Path(__file__).parents[1])
    encoding = "latin-1" if "latin-1" in environment.values() else "utf-8"
    done = program(body, env={**plain, **environment}, encoding=encoding)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{expected}\n", f"{expected}\n")


# ---- Ctrl-C -----------------------------------------------------------------------------------------------------

SWALLOWED = """
import os, signal, time
try:
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(.1)
except BaseException:
    raise ImportError("as extension modules turn it")
"""


@pytest.fixture
def swallowing(tmp_path: Path) -> dict[str, str]:
    """An environment with a module `swallowing`, while whose import Ctrl-C is pressed."""
    (tmp_path / "swallowing.py").write_text(SWALLOWED)
    return {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{Path(__file__).parents[1]}"}


def interrupted(done: subprocess.CompletedProcess[str], before: str = "") -> bool:
    return (done.returncode, done.stdout, done.stderr) == (130, before, "program: interrupted\n")


def test_ctrl_c_while_the_program_is_loaded_ends_it_at_once(swallowing):
    body = "def load():\n try: import swallowing\n except ImportError: print('without it')\n return print"
    done = program(body, env=swallowing)
    assert interrupted(done), done


def test_ctrl_c_during_a_later_import_waits_for_its_end(swallowing):
    """So that the program removes its files, and does not take the module for missing."""
    body = """
def main():
    with terminal.reported("program"):
        try: import swallowing
        finally: sys.stdout.write("clean\\n")
        for _ in range(6000): time.sleep(.1)
"""
    done = program(body, env=swallowing)
    assert interrupted(done, "clean\n"), done


@pytest.mark.parametrize(
    "body",
    [
        "def main(): interrupt()",
        "def main(): pass\ndef load(): interrupt(); return main",
        "def main():\n with terminal.reported('program'):\n  try: interrupt()\n  finally: interrupt(); time.sleep(600)",
        "def main():\n class A:\n  def __del__(self): interrupt(); time.sleep(.1)\n A(); time.sleep(600)",
        "def main():\n import atexit\n atexit.register(interrupt)",
        "def main():\n import threading\n threading.Thread(target=lambda: (time.sleep(.2), interrupt())).start()",
        "def main(): pass\ntry: terminal.run('program', lambda: main)\nfinally: interrupt(); time.sleep(600)",
    ],
    ids=[
        "once",
        "between its import and its start",
        "again while it stops",
        "in a destructor",
        "at the end",
        "while threads end",
        "after its end",
    ],
)
def test_ctrl_c_ends_the_program_with_one_line(body):
    done = program(body)
    assert interrupted(done), done


def test_ctrl_c_during_an_import_that_is_the_last_thing_done():
    """Its alarm would kill the process when Python has removed its handlers, as it does at its end."""
    body = """
import atexit
atexit.register(lambda: (signal.signal(signal.SIGALRM, signal.SIG_DFL), time.sleep(.1)))
def main():
    class Finder:
        def find_spec(self, *_): interrupt(); time.sleep(.001)
    sys.meta_path.insert(0, Finder())
    try: import nowhere
    except ImportError: print("done")
"""
    done = program(body)
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", ""), done


def test_ctrl_c_that_is_ignored_stays_ignored():
    done = program(
        "def main(): interrupt(); print('goes on')", preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_IGN)
    )
    assert (done.returncode, done.stdout) == (0, "goes on\n")


def test_a_warning_is_one_line():
    done = program("import warnings\ndef main(): warnings.warn('no digits\\n  here')")
    assert (done.returncode, done.stderr) == (0, "program: warning: no digits here\n")


def test_other_ends_of_a_program_are_as_ever():
    assert program("def main(): sys.exit('a message')").stderr == "a message\n"
    failed = program("def main(): 1 / 0")
    assert failed.returncode == 1
    assert "ZeroDivisionError" in failed.stderr


@pytest.mark.parametrize("command", [["tensortrain", "info", "none"], ["zoo", "models"]], ids=" ".join)
def test_ctrl_c_at_any_time_of_a_real_start(command):
    """From the moment on that the command has begun to load."""
    for delay in (0.1, 0.4):
        process = subprocess.Popen(
            [sys.executable, "-X", "importtime", "-m", *command], stderr=subprocess.PIPE, text=True, preexec_fn=HEARD
        )
        lines = iter(process.stderr.readline, "")
        assert any("tensortrain.terminal" in line for line in lines)
        next(lines)  # another import has ended, that of the command
        try:
            process.wait(delay)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)
        err = process.stderr.read()
        assert process.wait(60) in (0, 2, 130)
        assert "Traceback" not in err
        assert process.returncode == 0 or f"{command[0]}: " in err
