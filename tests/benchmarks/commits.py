"""Check that a training step is not slower than at an earlier commit, by timing both working trees in turn.

    git worktree add /tmp/before 637de81
    python tests/benchmarks/commits.py /tmp/before

For each model one process imports the packages of the earlier working tree and another those of this one. Both set up
the same training step of the `small` preset on one thread and then take it in turn, one pair after the other, each
pair in the opposite order of the last; a process that waits computes nothing. The seconds are those of the processor,
so that other programs on the machine matter little. Of the ratios (this tree's seconds over the earlier ones) the
median is printed with the 95 % interval that the order of the ratios alone gives, whatever their distribution.
"""

import argparse
import math
import os
import subprocess
import sys
from pathlib import Path
from statistics import median

MODELS = [
    "conv-lstm",
    "conv-tt-lstm-sw",
    "conv-tt-lstm-fw",
    "predrnn",
    "causal-lstm",
    "causal-lstm-s2t",
    "predrnn-ghu",
    "predrnn-pp",
]
HERE = Path(__file__).parents[2]

WORKER = """
import sys, time
import torch
from zoo.benchmark import benchmark_recipe, make_trial
from zoo.data import make_dataset

torch.set_num_threads(1)
recipe = benchmark_recipe(sys.argv[1], "small", int(sys.argv[2]), 20, 0.5)
trial = make_trial(recipe, "training", make_dataset(recipe.data, "train"), torch.device("cpu"))
trial.run()
print("ready", flush=True)
for _ in sys.stdin:
    start = time.process_time()
    trial.run()
    print(time.process_time() - start, flush=True)
"""


class Worker:
    """A process that takes one training step whenever it is asked to, with the packages of one working tree.

    Args:
        tree: the working tree.
        model: a registered model of the zoo.
        batch_size: clips in a step.
    """

    def __init__(self, tree: Path, model: str, batch_size: int) -> None:
        environment = os.environ | {"PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-c", WORKER, model, str(batch_size)],
            cwd=tree,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        if self._answer() != "ready":
            raise SystemExit(f"{model} cannot be trained with the packages of {tree}; see the error above")

    def seconds(self) -> float:
        """Processor seconds of one more step."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return float(self._answer())

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def _answer(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


def median_interval(values: list[float]) -> tuple[float, float]:
    """The narrowest symmetric interval of order statistics that holds the median with at least 95 % probability.

    >>> median_interval([float(n) for n in range(1, 21)])
    (6.0, 15.0)
    """
    n, ordered = len(values), sorted(values)
    lowest = 0
    # P(fewer than k of n values lie below the median), for growing k
    below = 0.0
    for k in range(n // 2):
        below += math.comb(n, k) / 2**n
        if below > 0.025:
            break
        lowest = k
    return ordered[lowest], ordered[n - 1 - lowest]


def compare(before: Path, model: str, batch_size: int, pairs: int, most: int, bound: float) -> list[float]:
    """Ratios of this tree's seconds to the earlier tree's. More than `pairs` are taken while the bound is not shown."""
    trees = {"before": before, "now": HERE}
    workers = {name: Worker(tree, model, batch_size) for name, tree in trees.items()}
    ratios: list[float] = []
    try:
        while len(ratios) < pairs or (len(ratios) < most and median_interval(ratios)[1] > bound):
            order = list(trees) if len(ratios) % 2 else list(reversed(trees))
            seconds = {name: workers[name].seconds() for name in order}
            ratios.append(seconds["now"] / seconds["before"])
    finally:
        for worker in workers.values():
            worker.close()
    return ratios


def main() -> None:
    """Print a line for each model, and exit with status 1 if the bound is not shown for all of them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("before", type=Path, help="working tree of the earlier commit")
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--batch-size", type=int, default=2)
    parser.add_argument("--pairs", type=int, default=20, help="pairs of steps for each model, at least")
    parser.add_argument("--most", type=int, default=80, help="pairs at most, where the bound is not shown before")
    parser.add_argument("--bound", type=float, default=1.03, help="for the interval's upper end")
    arguments = parser.parse_args()
    worst = 0.0
    for model in arguments.models:
        ratios = compare(
            arguments.before.resolve(),
            model,
            arguments.batch_size,
            arguments.pairs,
            arguments.most,
            arguments.bound,
        )
        low, high = median_interval(ratios)
        worst = max(worst, high)
        print(f"{model:16} now / before {median(ratios):.3f}  [{low:.3f}, {high:.3f}]  {len(ratios)} pairs", flush=True)
    sys.exit(worst > arguments.bound)


if __name__ == "__main__":
    main()
