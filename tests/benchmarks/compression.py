"""Compress trained networks as a whole, and measure what that costs: accuracy, error, time, memory.

    python -m tests.benchmarks.compression DATA_ROOT [--only PARTS] [--quick] [--threads 1] [--output docs/results]

DATA_ROOT holds `mnist/`, and `cnn/` with a LeNet and a ResNet-20 on distorted digits. The parts:

    kernel   one kernel of the LeNet as a chain, fitted to its weights or to what it computes
    trained  the LeNet and the ResNet-20 to all their budgets
    own      the same for a ResNet-20 that is trained here, for a fixed number of steps
    others   other methods at equal parameters, with one draw of images
    large    networks of torchvision and timm with random weights: share that is reached, time, memory
    time     a ResNet-18 in two thirds of its time
    video    the zoo's trained models: squared error, multiplications, time; without and with training

Nothing is fine-tuned except where a column says so. Accuracies are means over draws of calibration images; the drop
against the original has the standard error of the paired difference. Seconds are processor time. "reached" compares
with what the project asks for. With --output each part is written as `compression-PART.csv`; the parts `large` and
`video` keep the rows of networks and models that are not measured.
"""

import argparse
import copy
import shlex
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

import tensortrain as tt
from tests.benchmarks import compressed_models, large_networks
from tests.benchmarks.other_compressors import OTHERS, size
from tests.benchmarks.tables import Table, machine
from tests.support.distorted import ResNet20, distorted_digits, train
from tests.support.networks import digits, trained_lenet

DROPS = {0.49: 0.5, 0.29: 1.0, 0.19: 4.0}  # points that the ResNet-20 may lose, besides the standard error
ACCURACIES = {0.48: 97.1, 0.23: 96.1, 0.135: 76.7}  # that the LeNet must reach
KERNEL = 95.0  # that the LeNet must reach with its second kernel at a tenth
# parts that can be measured one row at a time: columns that tell rows apart, and options that choose the rows
KEYS = {"large": 1, "video": 2}
OPTIONS = {"large": large_networks.options, "video": compressed_models.options}
STEPS = 300  # of the training of an own network

Test = tuple[Tensor, Tensor]


class Setting:
    """How much is measured, and on what.

    Args:
        root: of the data.
        quick: one draw of 512 images and 2,000 test images in place of three of 1,024 and 10,000.
    """

    def __init__(self, root: Path, quick: bool) -> None:
        self.root = root
        self.draws, self.samples, self.tested = (1, 512, 2000) if quick else (3, 1024, 10000)

    def distorted(self) -> tuple[list[Tensor], Test]:
        """Draws of distorted digits for calibration, and the test digits."""
        draws = [distorted_digits(self.root, "train", self.samples, draw, draw)[0] for draw in range(self.draws)]
        return draws, distorted_digits(self.root, "t10k", self.tested, 99, None)

    def plain(self) -> tuple[list[Tensor], Test]:
        """The same of digits as they are."""
        draws = [digits(self.root, "train", self.samples, draw)[0] for draw in range(self.draws)]
        return draws, digits(self.root, "t10k", self.tested)

    def __str__(self) -> str:
        draws = f"draws 0 to {self.draws - 1}" if self.draws > 1 else "draw 0"
        return f"{draws} of {self.samples:,} calibration images, {self.tested:,} test images, seed 0"


@torch.no_grad()
def correct(net: nn.Module, x: Tensor, labels: Tensor) -> Tensor:
    """Whether each image is classified correctly."""
    parts = zip(x.split(1000), labels.split(1000), strict=True)
    return torch.cat([(net(part).argmax(1) == wanted).double() for part, wanted in parts])


def yes(reached: bool) -> str:
    """A cell that says whether a goal is reached."""
    return "yes" if reached else "NO"


def kernel_table(setting: Setting) -> Table:
    """The LeNet's second kernel as a square chain of two cores."""
    net, (draws, test) = trained_lenet(setting.root), setting.plain()
    weight = net.conv2.weight.detach()
    table = Table("budget", "kept", "fitted to", "accuracy", "each draw", "wanted", "reached", "s")
    inputs: dict[str, list[Tensor | None]] = {"weights": [None], "outputs": [_moment(net, x) for x in draws]}
    for budget in (0.1, 0.2):
        for fitted, moments in inputs.items():
            accuracies, start = [], time.process_time()
            for moment in moments:
                chain = tt.ConvTensorTrain.decompose(weight, (3, 3), budget=budget, inputs=moment, progress=False)
                small = copy.deepcopy(net)
                small.conv2.weight.data.copy_(chain.reconstruct())
                accuracies.append(100 * float(correct(small, *test).mean()))
            mean, seconds = sum(accuracies) / len(accuracies), (time.process_time() - start) / len(accuracies)
            goal = [f"≥ {KERNEL}", yes(mean >= KERNEL)] if budget == 0.1 and fitted == "outputs" else ["", ""]
            each = " ".join(f"{a:.2f}" for a in accuracies)
            kept = f"{chain.n_parameters / weight.numel():.1%}"
            table.add(f"{budget:.0%}", kept, fitted, f"{mean:.2f}", each, *goal, f"{seconds:.1f}")
    return table


def _moment(net: nn.Module, images: Tensor) -> Tensor:
    """Second moment of the patches that the LeNet's second conv reads."""
    seen: list[Tensor] = []
    handle = net.get_submodule("conv2").register_forward_pre_hook(lambda layer, args: seen.append(args[0]))
    with torch.no_grad():
        net(images)
    handle.remove()
    return tt.second_moment(seen[0], (5, 5))


def accuracy_table(nets: dict[str, tuple[nn.Module, list[Tensor], Test]]) -> Table:
    """Networks to all their budgets."""
    table = Table("network", "budget", "kept", "original", "compressed", "each draw", "drop", "wanted", "reached", "s")
    for name, (net, draws, test) in nets.items():
        for budget in DROPS if isinstance(net, ResNet20) else ACCURACIES:
            table.add(*accuracy_row(name, net, budget, draws, test))
    return table


def accuracy_row(name: str, net: nn.Module, budget: float, draws: list[Tensor], test: Test) -> list[str]:
    """The row of one network and budget."""
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
    cells += [" ".join(f"{a:.2f}" for a in accuracy), f"{drop:.2f} ± {error:.2f}", wanted, yes(reached)]
    return [*cells, f"{max(seconds):.1f}"]


def trained_table(setting: Setting) -> Table:
    """The trained networks to all their budgets."""
    return accuracy_table(trained_networks(setting))


def own_table(setting: Setting) -> Table:
    """A network that is trained here."""
    net = train(setting.root, STEPS, seed=1)
    return accuracy_table({f"ResNet-20, {STEPS} steps": (net, *setting.distorted())})


def trained_networks(setting: Setting) -> dict[str, tuple[nn.Module, list[Tensor], Test]]:
    """The trained networks by name, with draws of calibration images and test images."""
    resnet = ResNet20().eval()
    state = torch.load(setting.root / "cnn" / "resnet20_hard.pt", map_location="cpu", weights_only=True)
    resnet.load_state_dict({name: value.float() for name, value in state.items()})
    return {"ResNet-20": (resnet, *setting.distorted()), "LeNet": (trained_lenet(setting.root), *setting.plain())}


def other_table(setting: Setting) -> Table:
    """Other methods at equal parameters, with one draw of images."""
    table = Table("network", "budget", "method", "kept", "accuracy", "s")
    methods = {"tensortrain": lambda net, images, b: tt.compress(net, images, parameters=b, progress=False).model}
    for name, (net, draws, test) in trained_networks(setting).items():
        for budget in list(DROPS)[:2] if isinstance(net, ResNet20) else list(ACCURACIES)[:2]:
            for method, build in {**methods, **OTHERS}.items():
                start = time.process_time()
                try:
                    small = build(net, draws[0], budget)
                    cells = [f"{size(small) / size(net):.1%}", f"{100 * float(correct(small, *test).mean()):.2f}"]
                except ImportError as error:
                    cells = ["not installed", str(error)]
                except Exception as error:  # whatever another package raises: its row says so
                    cells = ["failed", f"{type(error).__name__}: {error}"[:80]]
                table.add(name, f"{budget:.0%}", method, *cells, f"{time.process_time() - start:.0f}")
    return table


def command(arguments: argparse.Namespace, part: str) -> str:
    """What to type for one part."""
    words: list[object] = ["--only", part, *(["--quick"] if arguments.quick else []), "--threads", arguments.threads]
    if part in OPTIONS:
        words += OPTIONS[part](arguments)
    return f"python -m tests.benchmarks.compression DATA_ROOT {shlex.join(map(str, words))}"


def main() -> None:
    """Print the tables, and write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path)
    parser.add_argument("--quick", action="store_true", help="one draw of 512 images, 2,000 test images")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path, help="folder for the CSV files")
    large_networks.add_arguments(parser)
    compressed_models.add_arguments(parser)
    parser.add_argument("--only", nargs="+", choices=("kernel", "trained", "own", "others", "large", "time", "video"))
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    setting = Setting(arguments.root, arguments.quick)
    random = "random weights and inputs, seed 0; parameters ≤ 50 %; seconds of processor time, peak of memory in GB"
    parts: dict[str, tuple[Callable[[], Table], str]] = {
        "kernel": (lambda: kernel_table(setting), f"accuracy in %; {setting}"),
        "trained": (lambda: trained_table(setting), f"accuracy in %; {setting}"),
        "own": (lambda: own_table(setting), f"accuracy in %; {setting}; trained with seed 1"),
        "others": (lambda: other_table(setting), f"accuracy in %; draw 0, {setting.tested:,} test images"),
        "large": (lambda: large_networks.table(arguments), random),
        "time": (lambda: large_networks.time_table(), "random weights and inputs, seed 0"),
        "video": (lambda: compressed_models.table(arguments), compressed_models.describe(arguments)),
    }
    print(machine())
    for name in arguments.only or parts:
        measure, values = parts[name]
        print(f"\n{name}: {values}\n")
        table = measure()
        if arguments.output:
            path = arguments.output / f"compression-{name}.csv"
            table.write(path, command(arguments, name), values, KEYS.get(name, 0))


if __name__ == "__main__":
    main()
