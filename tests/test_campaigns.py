"""Short forms of the campaigns; the long ones are run by hand: `python tests/campaigns/NAME.py`."""

import os
import random
import subprocess
import sys
from pathlib import Path

import torch

from tests.campaigns import mutants
from tests.campaigns.formats import FORMATS, Format
from tests.support.deep import deep

CAMPAIGNS = Path(__file__).parent / "campaigns"
QUICK = {"tensor train", "torch file", "sharded index", "run: versions.json", "exported weights", "KTH sequences"}


def command(name: str, *words: str) -> subprocess.CompletedProcess[str]:
    """A campaign as a user types it; it forks, so that it needs a process of its own."""
    return subprocess.run(
        [sys.executable, str(CAMPAIGNS / name), *words], capture_output=True, text=True, timeout=300, check=False
    )


def test_killed_commands_end_as_unbroken_ones() -> None:
    count = "2" if deep() else "1"
    result = command("kills.py", "--chosen", count, "--random", count, "--seed", "1", "--seconds", "60")
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.count("tried") == 7


def test_mutated_files_are_refused_or_read_right() -> None:
    names = [form.name for form in FORMATS if form.name in QUICK]
    result = command("mutants.py", "--count", "120", "--seed", "1", "--seconds", "60", "--formats", *names)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "all" in result.stdout


def test_derivatives_agree() -> None:
    result = command("derivatives.py", "--seconds", "3", "--seed", "1")
    assert result.returncode == 0, result.stdout + result.stderr


def test_violations_are_noticed(tmp_path: Path) -> None:
    """A reader that lets other errors through, and one that believes whatever a file holds."""

    def write(folder: Path) -> Path:
        (folder / "number").write_text("7")
        return folder / "number"

    def read(folder: Path) -> int:
        return int((folder / "number").read_text(errors="replace")[:3])

    case = mutants.Case(Format("number", write, read, checked="content"), tmp_path)
    good, foreign, silent = case.read_all([b"7", b"x", b"8"])
    assert mutants.Campaign.judge(good, good, True)[0] == "same content"
    assert mutants.Campaign.judge(good, foreign, True)[0] == "foreign error"
    assert mutants.Campaign.judge(good, silent, True)[0] == "silent"
    assert mutants.Campaign.judge(good, silent, False)[0] == "other content"


def test_a_crash_and_a_hang_end_nothing_else(tmp_path: Path) -> None:
    def write(folder: Path) -> Path:
        (folder / "number").write_text("7")
        return folder / "number"

    def read(folder: Path) -> int:
        if (folder / "number").read_bytes() == b"crash":
            os._exit(3)
        return 7

    outcomes = [r.outcome for r in mutants.Case(Format("n", write, read), tmp_path).read_all([b"7", b"crash", b"7"])]
    assert outcomes == ["accepted", "crash", "accepted"]


def test_structures_are_changed_in_every_way() -> None:
    rng = random.Random(0)
    plain = {"a": [1, {"b": torch.zeros(2)}], "c": "text"}
    changed = [mutants.mutate_structure(plain, rng, [None, 3]) for _ in range(200)]
    assert all(mutants.fingerprint(one) != mutants.fingerprint(plain) for one in changed)
    assert len({mutants.fingerprint(one) for one in changed}) > 15
