"""Compress trained networks as a whole and compare their accuracy with that of the originals, on the same test images.

    python -m tests.benchmarks.compression DATA_ROOT [--quick] [--train STEPS] [--threads 1] [--only NAMES]

DATA_ROOT holds `mnist/`, and `cnn/` with the LeNet and the ResNet-20 on distorted digits; with --train a ResNet-20 is
trained instead, for a fixed number of steps. Nothing is fine-tuned. `accuracy` prints the mean over draws of
calibration images, the drop against the original with the standard error of the paired difference, and the seconds of
a call (processor time); "reached" compares with what the project asks for. `others` compares with other methods at
equal parameters, `large` compresses networks with random weights, `time` has a budget of milliseconds.
"""

import argparse
import platform
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

import tensortrain as tt
from tensortrain.compression.timing import clock_for, race
from tests.benchmarks.large_networks import NETWORKS, in_a_process, torchvision
from tests.benchmarks.other_compressors import OTHERS, size
from tests.support.distorted import ResNet20, distorted_digits, train
from tests.support.networks import digits, trained_lenet

DROPS = {0.49: 0.5, 0.29: 1.0, 0.19: 4.0}  # points that the ResNet-20 may lose, besides the standard error
ACCURACIES = {0.48: 97.1, 0.23: 96.1, 0.135: 76.7}  # that the LeNet must reach
PARTS = ("accuracy", "others", "large", "time")
FASTER = 1.5  # by which ResNet-18 has to get faster

Test = tuple[Tensor, Tensor]


@torch.no_grad()
def correct(net: nn.Module, x: Tensor, labels: Tensor) -> Tensor:
    """Whether each image is classified correctly."""
    parts = zip(x.split(1000), labels.split(1000), strict=True)
    return torch.cat([(net(part).argmax(1) == wanted).double() for part, wanted in parts])


def print_row(*cells: object) -> None:
    """A row of a table."""
    print("|", " | ".join(map(str, cells)), "|", flush=True)


def accuracy_row(name: str, net: nn.Module, budget: float, draws: list[Tensor], test: Test) -> None:
    """Print the row of one network and budget."""
    original = correct(net, *test)
    results, seconds = [], []
    for images in draws:
        start = time.process_time()
        result = tt.compress(net, images, parameters=budget, progress=False)
        seconds.append(time.process_time() - start)
        results.append(correct(result.model, *test))
    accuracy = [100 * float(r.mean()) for r in results]
    mean = sum(accuracy) / len(accuracy)
    difference = 100 * (original - torch.stack(results).mean(0))
    drop, error = float(difference.mean()), float(difference.std()) / len(difference) ** 0.5
    if isinstance(net, ResNet20):
        wanted, reached = f"drop ≤ {DROPS[budget]} + s.e.", drop <= DROPS[budget] + error
    else:
        wanted, reached = f"≥ {ACCURACIES[budget]}", mean >= ACCURACIES[budget]
    kept = result.report.parameters[1] / result.report.parameters[0]
    cells = [name, f"{budget:.1%}", f"{kept:.1%}", f"{100 * float(original.mean()):.2f}", f"{mean:.2f}"]
    cells += [" ".join(f"{a:.2f}" for a in accuracy), f"{drop:.2f} ± {error:.2f}", wanted, "yes" if reached else "NO"]
    print_row(*cells, f"{max(seconds):.1f}")


def accuracy_rows(nets: dict[str, tuple[nn.Module, list[Tensor], Test]]) -> None:
    """The networks to all their budgets."""
    print_row("network", "budget", "kept", "original", "compressed", "each draw", "drop", "wanted", "reached", "s")
    print_row(*["---"] * 10)
    for name, (net, draws, test) in nets.items():
        for budget in DROPS if isinstance(net, ResNet20) else ACCURACIES:
            accuracy_row(name, net, budget, draws, test)


def other_rows(nets: dict[str, tuple[nn.Module, list[Tensor], Test]]) -> None:
    """Other methods at equal parameters, with one draw of images."""
    print_row("network", "budget", "method", "kept", "accuracy", "s")
    print_row(*["---"] * 6)
    methods = {"tensortrain": lambda net, images, b: tt.compress(net, images, parameters=b, progress=False).model}
    for name, (net, draws, test) in nets.items():
        for budget in list(DROPS)[:2] if isinstance(net, ResNet20) else list(ACCURACIES)[:2]:
            for method, build in {**methods, **OTHERS}.items():
                start = time.process_time()
                try:
                    small = build(net, draws[0], budget)
                    cells = [f"{size(small) / size(net):.1%}", f"{100 * float(correct(small, *test).mean()):.2f}"]
                except ImportError as error:
                    cells = ["not installed", str(error)]
                except Exception as error:  # whatever another package raises: its row says so
                    cells = ["failed", f"{type(error).__name__}: {error}"[:80].replace("|", "/")]
                print_row(name, f"{budget:.0%}", method, *cells, f"{time.process_time() - start:.0f}")


def large_rows(names: Sequence[str]) -> None:
    """Networks with random weights at half of their parameters."""
    print_row("network", "parameters", "kept", "reached", "≥ 95 %", "time after / before", "s", "GB")
    print_row(*["---"] * 8)
    for name in names:
        row = in_a_process(name, 0.5)
        if isinstance(row, str):
            print_row(name, "failed", row[:100], *[""] * 5)
            continue
        reached = "yes" if row["reached"] >= 0.95 else "NO"
        cells = [f"{row['parameters']:,}", f"{row['kept']:.1%}", f"{row['reached']:.1%}", reached, f"{row['time']:.2f}"]
        print_row(name, *cells, f"{row['seconds']:.0f}", f"{row['gigabytes']:.1f}")


def time_row() -> None:
    """ResNet-18 at 128², random weights, in two thirds of its time."""
    torch.manual_seed(0)
    net, images = torchvision("resnet18").eval(), torch.randn(16, 3, 128, 128)
    dense = race(lambda: net(images), lambda: net(images), clock_for(images.device)).before[1]
    start = time.process_time()
    result = tt.compress(net, [images], milliseconds=dense / FASTER, progress=False)
    times = result.report.milliseconds
    assert times is not None
    factor, seconds = times[0][1] / times[1][1], time.process_time() - start
    print_row("network", "milliseconds before", "after (quartiles)", "faster", f"≥ {FASTER}", "s")
    print_row(*["---"] * 6)
    after = " – ".join(f"{value:.1f}" for value in times[1])
    reached = "yes" if factor >= FASTER else "NO"
    print_row("ResNet-18, 16 × 128²", f"{times[0][1]:.1f}", after, f"{factor:.2f}", reached, f"{seconds:.0f}")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path)
    parser.add_argument("--quick", action="store_true", help="one draw of 512 images, 2,000 test images")
    parser.add_argument("--train", type=int, metavar="STEPS", help="train a ResNet-20 for so many steps")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS), help="of the part `large`")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    draws, samples, tested = (1, 512, 2000) if arguments.quick else (3, 1024, 10000)
    print(f"torch {torch.__version__}, {arguments.threads} threads, {platform.machine()} {platform.processor()}")
    print(f"draws 0 to {draws - 1} of {samples} images, {tested} test images, seed 0\n")
    if {"accuracy", "others"} & set(arguments.only):
        nets = trained_networks(arguments.root, arguments.train, draws, samples, tested)
        if "accuracy" in arguments.only:
            accuracy_rows(nets)
        if "others" in arguments.only:
            other_rows(nets)
    if "large" in arguments.only:
        large_rows(arguments.networks)
    if "time" in arguments.only:
        time_row()


def trained_networks(
    root: Path, steps: int | None, draws: int, samples: int, tested: int
) -> dict[str, tuple[nn.Module, list[Tensor], Test]]:
    """The trained networks by name, with draws of calibration images and test images."""
    if steps:
        resnet = train(root, steps)
    else:
        resnet = ResNet20().eval()
        state = torch.load(root / "cnn" / "resnet20_hard.pt", map_location="cpu", weights_only=True)
        resnet.load_state_dict({name: value.float() for name, value in state.items()})
    distorted = [distorted_digits(root, "train", samples, draw, draw)[0] for draw in range(draws)]
    plain = [digits(root, "train", samples, draw)[0] for draw in range(draws)]
    return {
        "ResNet-20": (resnet, distorted, distorted_digits(root, "t10k", tested, 99, None)),
        "LeNet": (trained_lenet(root), plain, digits(root, "t10k", tested)),
    }


if __name__ == "__main__":
    main()
