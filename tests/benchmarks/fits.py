"""Errors and processor seconds of kernel fits, at an earlier commit and now, in alternating processes.

    git worktree add /tmp/before 637de81
    python -m tests.benchmarks.fits /tmp/before DATA_ROOT [--kernels smooth gaussian] [--budgets .2 .4] [--rounds 1]

DATA_ROOT holds `cnn/` with a CIFAR-10 ResNet-20; without it, `-` as DATA_ROOT leaves its kernels out. For each kernel
and budget one process imports the packages of the earlier working tree and another those of this one; each fits
"depthwise", "auto", and the format that its "auto" chose, by itself, on one thread. Printed are the errors, the
processor seconds, and three ratios: depthwise now / before (asked: at most .5), auto now / its winner alone (asked: at
most 3), and the error of auto now / before (asked: at most 1).
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import median

HERE = Path(__file__).parents[2]
RESNET = "resnet20-12fca82f.th"

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


def main() -> None:
    """Print a line for each kernel and budget, and exit with status 1 if a ratio is above what is asked."""
    import tempfile

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=Path, help="working tree of the earlier commit")
    parser.add_argument("root", help="folder of the data, or -")
    parser.add_argument("--kernels", nargs="+", default=[""], help="parts of the names of the kernels")
    parser.add_argument("--budgets", nargs="+", type=float, default=[0.1, 0.2, 0.4])
    parser.add_argument("--rounds", type=int, default=1, help="repetitions, of which the median counts")
    arguments = parser.parse_args()
    missed = 0
    print(
        "kernel budget | depthwise before, now, ratio of s | auto before, now, error ratio | now / winner alone, cores"
    )
    workers = {"before": Worker(arguments.before.resolve()), "now": Worker(HERE)}
    with tempfile.TemporaryDirectory() as folder:
        for path in write_kernels(Path(folder), arguments.root, arguments.kernels):
            for budget in arguments.budgets:
                rows: dict[tuple[str, str], list[tuple[float, float, str]]] = {}
                for name in ("depthwise", "auto", "winner"):
                    for _ in range(arguments.rounds):
                        for tree, worker in workers.items():
                            rows.setdefault((tree, name), []).append(worker.fit(path, name, budget))
                seconds = {key: median(s for _, s, _ in fits) for key, fits in rows.items()}
                error = {key: fits[0][0] for key, fits in rows.items()}
                old, new = ("before", "depthwise"), ("now", "depthwise")
                first, second = ("before", "auto"), ("now", "auto")
                faster, share = seconds[new] / seconds[old], seconds[second] / seconds["now", "winner"]
                worse = error[second] / error[first]
                missed += (faster > 0.5) + (share > 3) + (worse > 1)
                print(
                    f"{path.stem} {budget:.0%} | {error[old]:.4f} {seconds[old]:.2f} s, {error[new]:.4f}"
                    f" {seconds[new]:.2f} s, {faster:.2f} | {error[first]:.4f} {seconds[first]:.1f} s,"
                    f" {error[second]:.4f} {seconds[second]:.1f} s, {worse:.4f} | {share:.2f}, {rows[second][0][2]}",
                    flush=True,
                )
    for worker in workers.values():
        worker.close()
    sys.exit(missed > 0)


if __name__ == "__main__":
    main()
