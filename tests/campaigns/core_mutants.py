"""A campaign of mutants of the mathematical core: does some test notice each?

    python tests/campaigns/core_mutants.py --count 300 --seed 0

A mutant is a module with one operator, number, condition, argument or statement changed (`tests/support/mutation.py`).
It is tried with the tests that run the changed statement, and no others: the quickest first, until one fails, for at
most 60 seconds. All mutants of the alignment rule, the formats and the bounds are tried, and as many as `--count` says,
drawn by `--seed`, of the rest.

Answers are kept in a folder, and only what is not known yet is tried, so the command may be interrupted and started
again; a mutant that survived is tried again if other tests run its statement now. Survivors that no test can notice
are in `core_mutants.json`, each with the reason. The program prints a table and fails at any other survivor.
"""

import argparse
import hashlib
import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.support.covering import ROOT, Session, coverage, run_session
from tests.support.mutation import Mutant, mutants

ALL = {
    "alignment": ("tensortrain/conv/alignment.py",),
    "formats": ("tensortrain/conv/formats.py",),
    "bounds": ("tensortrain/conv/fit/lower_bounds.py", "tensortrain/conv/fit/sweep.py"),
}
DRAWN = (
    "tensortrain/conv/functional.py", "tensortrain/conv/conv_tensor_train.py", "tensortrain/tt/functional.py",
    "tensortrain/tt/tensor_train.py", "tensortrain/tt/matrix.py", "tensortrain/tt/arithmetic.py",
    "tensortrain/tt/container.py", "tensortrain/tt/operators.py", "tensortrain/tt/svd.py",
    "tensortrain/tt/interfaces.py",
    "tensortrain/conv/certify/intervals.py", "tensortrain/conv/certify/lower_bounds.py",
)  # fmt: skip
PATHS = (*(path for paths in ALL.values() for path in paths), *DRAWN)
TESTS = ("tests/tensortrain", "tensortrain/conv", "tensortrain/tt")
OF_COQ = {"test_proofs.py", "test_statements.py"}  # these run nothing of the library
ENOUGH = 20  # seconds that the tests of one mutant take without it; a third of what they may take
EQUIVALENT = Path(__file__).with_suffix(".json")

Answers = dict[str, dict[str, Any]]


def digest(*texts: str) -> str:
    """Of texts, short."""
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]


def covering(folder: Path, paths: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Which lines each test runs; what is known of a file of tests is kept until it or a module changes."""
    kept = folder / "coverage.json"
    known: dict[str, Any] = json.loads(kept.read_text()) if kept.exists() else {}
    modules = digest(*((ROOT / path).read_text() for path in paths))
    files = [str(file.relative_to(ROOT)) for part in TESTS for file in sorted((ROOT / part).rglob("*.py"))]
    files = [file for file in files if Path(file).name not in OF_COQ]
    for file in files:
        now = digest(modules, (ROOT / file).read_text())
        if known.get(file, {}).get("digest") != now:
            known[file] = {"digest": now, "tests": coverage(file, paths)}
            print(f"{file}: {len(known[file]['tests'])} tests", file=sys.stderr, flush=True)
            kept.write_text(json.dumps(known))
    return {name: test for file in files for name, test in known[file]["tests"].items()}


def of_mutant(mutant: Mutant, tests: dict[str, dict[str, Any]]) -> list[str]:
    """The tests that run the statement of a mutant, the quickest first; all of the module for one that imports run.

    What a function's head says is run with the function.
    """
    first, last = mutant.lines
    if mutant.at_import and not mutant.statement.startswith("def "):
        first, last = 1, len(mutant.source)
    ran = [name for name, test in tests.items() if any(first <= n <= last for n in test["lines"].get(mutant.path, ()))]
    ran.sort(key=lambda name: tests[name]["seconds"])
    seconds, kept = 0.0, []
    for name in ran:
        seconds += tests[name]["seconds"]
        if seconds > ENOUGH and kept:
            break
        kept.append(name)
    return kept


def attempt(session: Session, mutant: Mutant, tests: dict[str, dict[str, Any]], answers: Answers) -> dict[str, Any]:
    """What is known of a mutant, or what the tests that run its statement say.

    Tests that noticed other mutants come first, then those that run the least else.
    """
    ran = {name: tests[name]["seconds"] for name in of_mutant(mutant, tests) if name in session.items}
    names, known = digest(*ran), answers.get(mutant.key)
    if known is not None and (known["failed"] is not None or known["tests"] == names):
        return known
    noticed = Counter(answer["failed"] for answer in answers.values())
    extent = {name: sum(map(len, tests[name]["lines"].values())) for name in ran}
    ran = {name: ran[name] for name in sorted(ran, key=lambda name: (-noticed[name], extent[name]))}
    failed = session.first_failure(mutant.path, mutant.source, ran) if ran else None
    return {"failed": failed, "tests": names, "count": len(ran)}


def chosen_mutants(count: int, seed: int) -> list[Mutant]:
    """All of some modules, and so many drawn from the others: each by itself, so that edits leave most of a sample."""
    whole = [mutant for paths in ALL.values() for path in paths for mutant in mutants(path, (ROOT / path).read_text())]
    others = [mutant for path in DRAWN for mutant in mutants(path, (ROOT / path).read_text())]
    return whole + sorted(others, key=lambda mutant: digest(str(seed), mutant.key))[:count]


def table(tried: Sequence[tuple[Mutant, dict[str, Any]]], reasons: dict[str, str]) -> str:
    """Outcomes by module, as Markdown."""
    counts: dict[str, Counter[str]] = {path: Counter() for path in PATHS}
    for mutant, answer in tried:
        kind = "killed" if answer["failed"] is not None else "equivalent" if mutant.key in reasons else "survived"
        counts[mutant.path][kind] += 1
    rows = [f"| `{path}` | {sum(row.values())} | {row['killed']} | {row['equivalent']} | {row['survived']} |"
            for path, row in counts.items() if row]  # fmt: skip
    total = sum(counts.values(), Counter[str]())
    rows.append(f"| all | {sum(total.values())} | {total['killed']} | {total['equivalent']} | {total['survived']} |")
    return "\n".join(["| module | mutants | killed | equivalent | survived |", "|---|---|---|---|---|", *rows])


def main() -> None:
    """Try mutants and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=300, help="how many are drawn of the rest")
    parser.add_argument("--seed", type=int, default=0, help="for drawing them")
    parser.add_argument("--folder", type=Path, default=Path("out/core_mutants"), help="where answers are kept")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.folder.mkdir(parents=True, exist_ok=True)
    reasons: dict[str, str] = json.loads(EQUIVALENT.read_text())
    tests = covering(arguments.folder, PATHS)
    file = arguments.folder / "answers.jsonl"
    known: Answers = {}
    for line in file.read_text().splitlines() if file.exists() else ():
        answer = json.loads(line)
        known[answer.pop("key")] = answer
    tried = []

    def work(session: Session) -> None:
        for mutant in chosen_mutants(arguments.count, arguments.seed):
            answer = attempt(session, mutant, tests, known)
            if answer is not known.get(mutant.key):
                known[mutant.key] = answer
                log.write(json.dumps({"key": mutant.key, **answer}) + "\n")
                log.flush()
            tried.append((mutant, answer))

    with file.open("a") as log:
        run_session(TESTS, work)
    print(table(tried, reasons))
    survivors = [mutant for mutant, answer in tried if answer["failed"] is None and mutant.key not in reasons]
    if survivors:
        sys.exit("\n".join(f"{mutant.path}:{mutant.lines[0]}: {mutant.key}" for mutant in survivors))


if __name__ == "__main__":
    main()
