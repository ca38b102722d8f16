"""Compress trained networks as a whole and compare their accuracy with that of the originals, on the same test images.

    python -m tests.benchmarks.compression DATA_ROOT [--quick] [--train STEPS] [--threads 1]

DATA_ROOT holds `mnist/`, and `cnn/` with the LeNet and the ResNet-20 on distorted digits; with --train a ResNet-20 is
trained instead, for a fixed number of steps. Every row is one network and budget, without fine-tuning: the mean over
draws of calibration images, the drop against the original with the standard error of the paired difference, and the
seconds of a call (processor time on one thread). "reached" compares with what the project asks for.
"""

import argparse
import time
from pathlib import Path

import torch
from torch import Tensor, nn

import tensortrain as tt
from tests.support.distorted import ResNet20, distorted_digits, train
from tests.support.networks import digits, trained_lenet

DROPS = {0.49: 0.5, 0.29: 1.0, 0.19: 4.0}  # points that the ResNet-20 may lose, besides the standard error
ACCURACIES = {0.48: 97.1, 0.23: 96.1, 0.135: 76.7}  # that the LeNet must reach


@torch.no_grad()
def correct(net: nn.Module, x: Tensor, labels: Tensor) -> Tensor:
    """Whether each image is classified correctly."""
    parts = zip(x.split(1000), labels.split(1000), strict=True)
    return torch.cat([(net(part).argmax(1) == wanted).double() for part, wanted in parts])


def row(name: str, net: nn.Module, budget: float, draws: list[Tensor], test: tuple[Tensor, Tensor]) -> None:
    """Print the row of one network and budget."""
    original = correct(net, *test)
    results, seconds = [], []
    for images in draws:
        start = time.process_time()
        result = tt.compress(net, images, parameters=budget)
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
    print("|", " | ".join(cells), f"| {max(seconds):.1f} |", flush=True)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path)
    parser.add_argument("--quick", action="store_true", help="one draw of 512 images, 2,000 test images")
    parser.add_argument("--train", type=int, metavar="STEPS", help="train a ResNet-20 for so many steps")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    draws, samples, tested = (1, 512, 2000) if arguments.quick else (3, 1024, 10000)
    print(f"torch {torch.__version__}, {arguments.threads} threads, draws 0 to {draws - 1} of {samples} images")
    print("| network | budget | kept | original | compressed | each draw | drop | wanted | reached | s |")
    print("|" + "---|" * 10)
    if arguments.train:
        resnet = train(arguments.root, arguments.train)
    else:
        resnet = ResNet20().eval()
        state = torch.load(arguments.root / "cnn" / "resnet20_hard.pt", map_location="cpu", weights_only=True)
        resnet.load_state_dict({name: value.float() for name, value in state.items()})
    test = distorted_digits(arguments.root, "t10k", tested, 99, None)
    images = [distorted_digits(arguments.root, "train", samples, draw, draw)[0] for draw in range(draws)]
    for budget in DROPS:
        row("ResNet-20", resnet, budget, images, test)
    lenet, test = trained_lenet(arguments.root), digits(arguments.root, "t10k", tested)
    images = [digits(arguments.root, "train", samples, draw)[0] for draw in range(draws)]
    for budget in ACCURACIES:
        row("LeNet", lenet, budget, images, test)


if __name__ == "__main__":
    main()
