"""Compare the losses and weights of training with those at an earlier commit, step by step and bit for bit.

    git worktree add /tmp/before 637de81
    python tests/benchmarks/trajectories.py /tmp/before

Each case (a model, a precision, one or two processes) is trained on the CPU with the packages of either working tree,
from the same seed and on the same clips. The losses of all steps, the gradients' norms, the validations and the weights
at the end are compared.

Since 637de81 the parameters have another order, because cells hold their convolutions as modules; so the norm of all
gradients is summed in another order, and where gradients are clipped by it the weights differ by rounding. Without
clipping (`--clip-norm 0`) the losses and weights have the same bits. Conv-TT-LSTM is an exception: its chain now
computes with channels last, as all other convolutions do, and so adds up in another order.
"""

import argparse
import csv
import itertools
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

MODELS = ["conv-lstm", "conv-tt-lstm-sw", "predrnn-pp"]
PRECISIONS = ["32-true", "64-true", "bf16-mixed", "bf16-true"]
HERE = Path(__file__).parents[2]
NAMES = ("loss", "gradient_norm", "validation_loss", "validation_mse")

WORKER = """
import sys
import torch
import zoo
from zoo.settings import Training

model, precision, processes, steps, clip_norm, folder = sys.argv[1:]
torch.set_num_threads(1)
now = hasattr(Training(), "batch_size")
batch, log, clip, size = ("batch_size", "log_every", "clip_norm", "size") if now else (
    "batch", "finite_every", "clip", "canvas")
recipe = zoo.recipe(
    model,
    "demo",
    options={"hidden": [4, 6], "kernel": 3, "patch": 8},
    data={"source": "embedded", size: 32, "observed": 3, "length": 7},
    training={
        "steps": int(steps), batch: 4, log: 1, clip: float(clip_norm), "l1": 1.0,
        "validate_every": 10, "validation_clips": 6,
        "precision": precision, "accelerator": "cpu", "devices": int(processes),
    },
)
zoo.fit(recipe, folder, progress=False)
"""


def train(tree: Path, model: str, precision: str, processes: int, steps: int, clip_norm: float, folder: Path) -> None:
    """Train with the packages of one working tree; several processes are started as `torchrun` starts them."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port = listening.getsockname()[1]
    ranks = []
    for rank in range(processes):
        environment = os.environ | {"PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"}
        if processes > 1:
            environment |= {
                "TORCHELASTIC_RUN_ID": "trajectories",
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
                "GROUP_RANK": "0",
                "WORLD_SIZE": str(processes),
                "LOCAL_WORLD_SIZE": str(processes),
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(port),
            }
        words = [model, precision, str(processes), str(steps), str(clip_norm), str(folder)]
        ranks.append(subprocess.Popen([sys.executable, "-c", WORKER, *words], cwd=tree, env=environment))
    statuses = [rank.wait() for rank in ranks]
    if any(statuses):
        raise SystemExit(f"{model} in {precision} cannot be trained with the packages of {tree}; see the error above")


def difference(before: Path, now: Path) -> str:
    """What differs between two runs and by how much, relative to the largest value, or an empty string."""
    rows = [list(csv.DictReader((folder / "metrics.csv").open())) for folder in (before, now)]
    if len(rows[0]) != len(rows[1]):
        return f"{len(rows[0])} rows before, {len(rows[1])} now"
    apart = {}
    for name in NAMES:
        columns = [torch.tensor([float(row[name] or "nan") for row in part], dtype=torch.float64) for part in rows]
        apart[name] = _relative(*(column.nan_to_num() for column in columns))
    apart["weights"] = _weights_apart(before, now)
    return ", ".join(f"{name} by {value:.0e}" for name, value in apart.items() if value)


def _weights_apart(before: Path, now: Path) -> float:
    """The largest relative difference between the weights of two runs.

    Their names, order and shapes may have changed, so each is compared with the nearest one of as many entries.
    """
    old, new = (
        [weight.double().flatten() for weight in torch.load(path, weights_only=True)["weights"].values()]
        for path in (folder / "checkpoints" / "last.ckpt" for folder in (before, now))
    )
    if sorted(map(len, old)) != sorted(map(len, new)):
        return float("inf")
    return max(min(_relative(weight, other) for other in new if len(other) == len(weight)) for weight in old)


def _relative(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).abs().max() / a.abs().max().clamp(min=1e-30))


def main() -> None:
    """Print a line for each case, and exit with status 1 if any differs."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("before", type=Path, help="working tree of the earlier commit")
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--precisions", nargs="+", default=PRECISIONS)
    parser.add_argument("--processes", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--clip-norm", type=float, default=0.05)
    parser.add_argument("--runs", type=Path, help="folder to keep the earlier commit's runs in, for another comparison")
    arguments = parser.parse_args()
    apart = False
    with tempfile.TemporaryDirectory() as temporary:
        kept = (arguments.runs or Path(temporary)).resolve()
        for case in itertools.product(arguments.models, arguments.precisions, arguments.processes):
            name = "-".join(map(str, case))
            before, now = kept / f"before-{name}", Path(temporary) / f"now-{name}"
            train(arguments.before.resolve(), *case, arguments.steps, arguments.clip_norm, before)
            train(HERE, *case, arguments.steps, arguments.clip_norm, now)
            text = difference(before, now)
            apart = apart or bool(text)
            print(f"{case[0]:16} {case[1]:11} {case[2]} process(es): {text or 'the same bits'}", flush=True)
    sys.exit(apart)


if __name__ == "__main__":
    main()
