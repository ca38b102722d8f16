"""Which change of a recipe makes Conv-TT-LSTM learn faster: one short training for each, everything else equal.

    OMP_NUM_THREADS=1 nice -n 19 python -m tests.benchmarks.recipes OUT --clips 4800 --seeds 0 --data-root DATA

Each try is the preset `small` of `conv-tt-lstm-sw` with the changes that `TRIES` names, trained on the same number of
fresh clips, then measured on the first 500 clips of the validation split. Every run has its own folder in OUT and is
resumed by the same command; a try whose row is in `OUT/recipes.csv` is not repeated. The seconds are those of the
processor, so that other programs on the machine matter little. The table is printed at the end, best first.
"""

import argparse
import csv
import time
from pathlib import Path
from typing import Any

import zoo
from zoo.files import aside
from zoo.settings import Recipe

MODEL = "conv-tt-lstm-sw"
COLUMNS = ("try", "seed", "clips", "parameters", "processor_seconds", "mse_per_frame", "ssim")
TRIES: dict[str, dict[str, Any]] = {
    "small": {},
    "rate 2e-3": {"learning_rate": {"base": 2e-3}},
    "rate 4e-3": {"learning_rate": {"base": 4e-3}},
    "batch 4": {"training": {"batch_size": 4}},
    "batch 4, rate 2e-3": {"training": {"batch_size": 4}, "learning_rate": {"base": 2e-3}},
    "batch 16, rate 2e-3": {"training": {"batch_size": 16}, "learning_rate": {"base": 2e-3}},
    "free-running from a quarter on": {"sampling": {"stop": 0.25}},
    "free-running throughout": {"sampling": {"stop": 0.0}},
    "absolute and squared error": {"training": {"l1": 1.0}},
    "absolute error": {"training": {"l1": 1.0, "l2": 0.0}},
    "clip at 0.1": {"training": {"clip_norm": 0.1}},
    "patch 8": {"options": {"patch": 8}},
    "patch 2": {"options": {"patch": 2}},
    "rank 8": {"options": {"rank": 8}},
    "order 2, steps 2": {"options": {"order": 2, "steps": 2}},
    "order 1, steps 1": {"options": {"order": 1, "steps": 1}},
    "six layers of 48": {"options": {"hidden": [48] * 6}},
    "three layers of 80": {"options": {"hidden": [80] * 3}},
}


def recipe_of(changes: dict[str, Any], clips: int, seed: int) -> Recipe:
    """The preset with changes, for a number of training clips; `sampling.stop` is a share of the steps."""
    training = {"batch_size": 8, **changes.get("training", {})}
    steps = clips // training["batch_size"]
    stop = max(1, int(changes.get("sampling", {}).get("stop", 0.5) * steps))
    return zoo.recipe(
        MODEL,
        "small",
        changes.get("options"),
        data={"source": "mnist"},
        sampling={"stop": stop},
        learning_rate=changes.get("learning_rate", {}),
        training={**training, "steps": steps, "seed": seed, "validate_every": max(1, steps // 4)},
    )


def read_rows(table: Path) -> list[dict[str, str]]:
    """The rows measured so far."""
    if not table.exists():
        return []
    with table.open(newline="") as file:
        return list(csv.DictReader(file))


def measure(name: str, seed: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """Train one try, or finish its training, and measure it."""
    folder = arguments.out / f"{name.replace(' ', '-').replace(',', '')}-{arguments.clips}-{seed}"
    spent = folder.with_suffix(".seconds")
    before = float(spent.read_text()) if spent.exists() else 0.0
    start = time.process_time()
    try:
        run = zoo.fit(recipe_of(TRIES[name], arguments.clips, seed), folder, root=arguments.data_root)
    finally:  # after Ctrl-C too, so that the sessions of one run add up
        spent.write_text(str(before + time.process_time() - start))
    clips = zoo.MovingMNIST("val", source="mnist", root=arguments.data_root)
    averages = zoo.evaluate(run.model, clips, count=500, metrics=["mse", "ssim"]).average
    return {
        "try": name,
        "seed": seed,
        "clips": arguments.clips,
        "parameters": sum(p.numel() for p in run.model.parameters()),
        "processor_seconds": round(float(spent.read_text())),
        "mse_per_frame": round(averages["mse"] * 64 * 64, 2),
        "ssim": round(averages["ssim"], 4),
    }


def main() -> None:
    """Train what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--clips", type=int, default=4800)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--tries", nargs="+", choices=TRIES, default=list(TRIES))
    parser.add_argument("--data-root", type=Path)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    table = arguments.out / "recipes.csv"
    for name in arguments.tries:
        for seed in arguments.seeds:
            key = (name, str(seed), str(arguments.clips))
            rows = read_rows(table)
            if key in {(row["try"], row["seed"], row["clips"]) for row in rows}:
                continue
            row = measure(name, seed, arguments)
            with aside(table) as temporary, temporary.open("w", newline="") as file:
                writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
                writer.writeheader()
                writer.writerows([*rows, row])
    for row in sorted(read_rows(table), key=lambda row: float(row["mse_per_frame"])):
        print("  ".join(f"{column} {row[column]}" for column in COLUMNS))


if __name__ == "__main__":
    main()
