"""Errors and processor seconds of kernel fits, at an earlier commit and now, in alternating processes.

    git worktree add /tmp/before 637de81
    python -m tests.benchmarks.fits /tmp/before DATA_ROOT [--kernels smooth gaussian] [--budgets .2 .4] [--rounds 1]

DATA_ROOT holds `cnn/` with a CIFAR-10 ResNet-20; without it, `-` as DATA_ROOT leaves its kernels out. For each kernel
and budget one process imports the packages of the earlier working tree and another those of this one; each fits
"depthwise" and "auto", and the present one also the format that its "auto" chose, by itself, on one thread. Printed
are errors, processor seconds, and ratios: depthwise now / before (asked: at most .5 of the seconds), auto now / before
(asked: at most 1 of the error), and auto / its winner alone (asked: at most 3 times the seconds). The usual kernels
take about five minutes of processor time, most of it at the earlier commit; `--kernels` and `--budgets` take a part.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

HERE = Path(__file__).parents[2]
RESNET = "resnet20-12fca82f.th"
USUAL = ["layer3.0.conv2", "layer3.1.conv1", "layer3.2.conv2", "smooth16", "gaussian16"]
_PAIR = ("error before", "error now", "ratio", "s before", "s now", "ratio")
COLUMNS = ["kernel", "parameters kept", *(f"{name}: {c}" for name in ("depthwise", "auto") for c in _PAIR)]
COLUMNS += ["auto / winner alone", "form that auto chose"]
LIMITS = {7: 0.5, 10: 1.0, 14: 3.0}  # of the columns with ratios that are asked for

WORKER = """
import json, sys, time
import torch
import tensortrain as tt

torch.set_num_threads(1)
print("ready", flush=True)
for line in sys.stdin:
    path, name, budget = json.loads(line)
    weight = torch.load(path, weights_only=True)
    if name == "winner":
        name, limits = winner
    else:
        limits = {"budget": budget}
    start = time.process_time()
    chain = tt.ConvTensorTrain.decompose(weight, name, progress=False, **limits)
    seconds = time.process_time() - start
    if name == "auto":
        ranks = chain.ranks
        blocks = [None if g == 1 else (a // g, b // g) for g, a, b in zip(chain.groups, ranks[:-1], ranks[1:])]
        winner = tt.formats.Format(chain.kernel_sizes, tuple(blocks)), {"ranks": list(ranks[1:-1]) or None, "budget": 1}
    print(json.dumps([chain.error, seconds, str(chain).splitlines()[1].split(None, 1)[1]]), flush=True)
"""


class Worker:
    """A process that fits kernels with the packages of one working tree, whenever it is asked to."""

    def __init__(self, tree: Path) -> None:
        environment = os.environ | {"PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-c", WORKER],
            cwd=tree,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        if self._answer() != "ready":
            raise SystemExit(f"the packages of {tree} cannot be imported; see the error above")

    def fit(self, path: Path, name: str, budget: float) -> tuple[float, float, str]:
        """Error, processor seconds and cores of one fit; the name "winner" is what the last "auto" chose."""
        assert self._process.stdin is not None
        print(json.dumps([str(path), name, budget]), file=self._process.stdin, flush=True)
        error, seconds, cores = json.loads(self._answer())
        return error, seconds, cores

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def _answer(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


def write_kernels(folder: Path, root: str, patterns: list[str]) -> list[Path]:
    """The kernels whose names hold one of the patterns, a file for each."""
    import torch

    from tests.support import oracles

    makers = {"smooth": oracles.smooth, "gaussian": oracles.gaussian}
    kernels = {f"{kind}{channels}": make(channels, 5, 0) for kind, make in makers.items() for channels in (64, 16)}
    if root != "-":
        tensors = torch.load(Path(root) / "cnn" / RESNET, map_location="cpu", weights_only=True)["state_dict"]
        kernels |= {name: w for name, w in tensors.items() if tuple(w.shape) == (64, 64, 3, 3)}
    paths = []
    for name, weight in kernels.items():
        if any(pattern in name for pattern in patterns):
            paths.append(folder / f"{name}.pt")
            torch.save(weight.double(), paths[-1])
    return paths


def row(workers: dict[str, Worker], path: Path, budget: float, rounds: int) -> list[str]:
    """Measure one kernel at one budget; a line of the table."""
    fits: dict[tuple[str, str], list[tuple[float, float, str]]] = {}
    for name in ("depthwise", "auto", "winner"):
        for _ in range(rounds):
            for tree, worker in workers.items():
                if (tree, name) != ("before", "winner"):
                    fits.setdefault((tree, name), []).append(worker.fit(path, name, budget))
    seconds = {key: median(s for _, s, _ in several) for key, several in fits.items()}
    error = {key: several[0][0] for key, several in fits.items()}
    old, new, first, second = ("before", "depthwise"), ("now", "depthwise"), ("before", "auto"), ("now", "auto")
    cells = [path.stem.removeprefix("module.").removesuffix(".weight"), f"{budget:.0%}"]
    for a, b in ((old, new), (first, second)):
        cells += [f"{error[a]:.4f}", f"{error[b]:.4f}", f"{error[b] / error[a]:.4f}"]
        cells += [f"{seconds[a]:.2f}", f"{seconds[b]:.2f}", f"{seconds[b] / seconds[a]:.2f}"]
    return [*cells, f"{seconds[second] / seconds['now', 'winner']:.2f}", fits[second][0][2].partition("  ")[0]]


def main() -> None:
    """Write a table row by row, and exit with status 1 if a ratio is above what is asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=Path, help="working tree of the earlier commit")
    parser.add_argument("root", help="folder of the data, or -")
    parser.add_argument("--kernels", nargs="+", default=USUAL, help="parts of the names of the kernels")
    parser.add_argument("--budgets", nargs="+", type=float, default=[0.2, 0.4])
    parser.add_argument("--rounds", type=int, default=1, help="repetitions, of which the median counts")
    arguments = parser.parse_args()
    missed = 0
    table = csv.writer(sys.stdout, lineterminator="\n")
    table.writerow(COLUMNS)
    workers = {"before": Worker(arguments.before.resolve()), "now": Worker(HERE)}
    with tempfile.TemporaryDirectory() as folder:
        for path in write_kernels(Path(folder), arguments.root, arguments.kernels):
            for budget in arguments.budgets:
                cells = row(workers, path, budget, arguments.rounds)
                table.writerow(cells)
                sys.stdout.flush()
                missed += any(float(cells[i]) > most for i, most in LIMITS.items())
    for worker in workers.values():
        worker.close()
    sys.exit(missed > 0)


if __name__ == "__main__":
    main()
