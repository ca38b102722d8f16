"""The command line of `python -m zoo.benchmark.slot`."""

import argparse
import signal
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from zoo.benchmark.slot import training
from zoo.benchmark.slot.archive import check_archive, unpack
from zoo.benchmark.slot.parts import Work, run_parts, sees_gpu
from zoo.benchmark.slot.plan import SHARES, Plan
from zoo.benchmark.slot.sizes import REAL, REHEARSAL
from zoo.benchmark.slot.speed import TABLE, fastest, measure_speed
from zoo.benchmark.slot.testing import ROOT, run_tests
from zoo.errors import ZooError

DATA = ROOT / "slot" / "data"  # the folder where `zoo.benchmark.slot.pack` puts MNIST


def main(words: Sequence[str] | None = None) -> None:
    """Run the parts that the command line names, and end with `SystemExit` if that failed."""
    began = time.monotonic() - time.process_time()  # imports took at least that long
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        run(make_parser().parse_args(words), began)
    except ZooError as error:
        print(f"slot: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)


def make_parser() -> argparse.ArgumentParser:
    """The parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m zoo.benchmark.slot",
        description="Use some minutes at a GPU: run the tests that need one, measure speed, train a network.",
    )
    parser.add_argument(
        "--minutes", type=float, default=9.0, help="time limit in minutes; the program ends 30 seconds before it"
    )
    parser.add_argument(
        "--parts", default=",".join(SHARES), help=f"parts to run, separated by commas; default: {','.join(SHARES)}"
    )
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder to write an archive of each part to")
    parser.add_argument(
        "--resume", type=Path, metavar="TRAIN.ZIP", help="archive of an earlier call, whose training is resumed"
    )
    parser.add_argument(
        "--later",
        type=float,
        default=0.0,
        metavar="MINUTES",
        help="minutes of training that later calls will add with --resume; the schedules leave time for them",
    )
    parser.add_argument("--data-root", type=Path, help=f"folder with mnist/; default: {DATA}, if it exists")
    parser.add_argument("--rehearse", action="store_true", help="run everything in tiny sizes on the CPU")
    return parser


def run(arguments: argparse.Namespace, began: float) -> None:
    """Run the parts.

    Raises:
        ZooError: if an argument is out of range, there is no GPU, an archive cannot be read, or a part failed.
    """
    plan = Plan(arguments.minutes, [part for part in arguments.parts.split(",") if part])
    if not 0 <= arguments.later < float("inf"):
        raise ZooError(f"--later = {arguments.later:g} must be a number of minutes, at least 0")
    if arguments.resume:
        check_archive(arguments.resume, training.RESUMED)
    sizes = REHEARSAL if arguments.rehearse else REAL
    if sizes.device == "cuda" and not sees_gpu():
        raise ZooError("torch finds no GPU; --rehearse does the same in tiny sizes on the CPU")
    root = arguments.data_root or (DATA if DATA.is_dir() else None)

    def measure(folder: Path, end: float) -> None:
        measure_speed(folder, end, sizes, root)

    def train(folder: Path, end: float) -> None:
        if arguments.resume:
            unpack(arguments.resume, folder)
        row = f"{training.MODEL} small, batch {sizes.small}, "
        speed = partial(fastest, folder.parent / "speed" / TABLE, row)
        training.train(folder, end, sizes, root, speed, 60 * arguments.later)

    works: dict[str, Work] = {"tests": run_tests, "speed": measure, "train": train}
    outcomes = run_parts(plan, works, arguments.output, began)
    if failed := [part for part, outcome in outcomes.items() if outcome.state == "failed"]:
        raise ZooError(f"failed: {', '.join(failed)}; see log.txt in the archive for the reason")


if __name__ == "__main__":
    main()
