"""Decompose real trained kernels, verify the result, and show its cost in accuracy (`make demo`).

If no checkpoint is named, the program first trains a small network with 5×5 kernels on the handwritten digits that
scikit-learn contains. Run it as `python -m tensortrain.demo [CHECKPOINT] [--output DIR]`.
"""

from pathlib import Path
from typing import Annotated, Any

import torch
import torch.nn.functional as F
import typer
from rich.console import Console
from rich.table import Table
from safetensors.torch import save_file
from torch import Tensor, nn

from tensortrain import cli, terminal
from tensortrain import nn as ttnn
from tensortrain.compression.state_dicts.checkpoints import read_checkpoint
from tensortrain.conv.conv_tensor_train import ConvTensorTrain
from tensortrain.errors import TensorTrainError
from tensortrain.figures import styled
from tensortrain.files import aside

BUDGETS = (0.5, 0.25, 0.1)
SHOWN = 8  # number of filters in a picture


def network() -> nn.Sequential:
    """Return a small classifier of 16×16 digits with two 5×5 convolutions."""
    return nn.Sequential(
        nn.Conv2d(1, 12, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(12, 16, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(256, 10),
    )


def digits() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return training and test images `(N, 1, 16, 16)` with their labels. Every fourth digit is in the test set."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    x = torch.as_tensor(images, dtype=torch.float32).reshape(-1, 1, 8, 8) / 16
    x, y = F.interpolate(x, scale_factor=2, mode="bilinear"), torch.as_tensor(labels)
    test = torch.arange(len(x)) % 4 == 0
    return x[~test], y[~test], x[test], y[test]


def train(model: nn.Module, x: Tensor, y: Tensor, epochs: int = 12) -> None:
    """Train with Adam on shuffled batches of 32, in an order that is the same in every run."""
    optimiser = torch.optim.Adam(model.parameters(), lr=2e-3)
    generator = torch.Generator().manual_seed(0)
    for _ in range(epochs):
        for batch in torch.split(torch.randperm(len(x), generator=generator), 32):
            optimiser.zero_grad()
            torch.autograd.backward(F.cross_entropy(model(x[batch]), y[batch]))
            optimiser.step()


@torch.no_grad()
def accuracy(model: nn.Module, x: Tensor, y: Tensor) -> float:
    """Return the fraction of images that the model classifies correctly."""
    return float((model(x).argmax(1) == y).float().mean())


def compare(model: nn.Sequential, x: Tensor, y: Tensor, console: Console) -> None:
    """Decompose the model at several budgets and print the errors and accuracies."""
    dense = {name: layer.weight.detach() for name, layer in model.named_children() if isinstance(layer, nn.Conv2d)}
    table = Table(title=f"Accuracy on {len(x)} held-out digits, no fine-tuning")
    for column in ("budget", "conv parameters", *(f"error {name}" for name in dense), "accuracy"):
        table.add_column(column, justify="right")
    total = sum(weight.numel() for weight in dense.values())
    table.add_row("dense", f"{total:,}", *["–"] * len(dense), f"{accuracy(model, x, y):.1%}")
    for budget in BUDGETS:
        small = ttnn.decompose(model, budget=budget, include=list(dense))
        used, errors = 0, []
        for name, weight in dense.items():
            layer = small.get_submodule(name)
            if isinstance(layer, ttnn.ConvTT2d):
                used += layer.chain.n_parameters
                errors.append(f"{relative_error(layer.chain.reconstruct().detach(), weight):.3f}")
            else:
                used += weight.numel()
                errors.append("copied")
        table.add_row(f"{budget:.0%}", f"{used:,}", *errors, f"{accuracy(small, x, y):.1%}")
    console.print(table)


def relative_error(approximation: Tensor, weight: Tensor) -> float:
    """Return `‖W - Ŵ‖ / ‖W‖`."""
    return float((approximation - weight).norm() / weight.norm())


@styled
def picture(weight: Tensor, name: str, path: Path) -> None:
    """Draw filters of a kernel before and after decomposition at each budget, and write a PNG."""
    from matplotlib.figure import Figure

    rows: list[tuple[str, Tensor]] = [("trained", weight)]
    for budget in BUDGETS:
        try:
            chain = ConvTensorTrain.decompose(weight, budget=budget)
        except TensorTrainError:
            continue  # the budget is too small for any chain
        share = chain.n_parameters / weight.numel()
        rows.append((f"{share:.0%} of the parameters\nerror {chain.error:.3f}", chain.reconstruct()))
    filters = weight.flatten(0, 1)
    strongest = filters.flatten(1).norm(dim=1).argsort(descending=True)[:SHOWN]
    limit = float(filters[strongest].abs().max())
    figure = Figure(figsize=(1.1 * SHOWN + 2.2, 1.25 * len(rows) + 0.6), layout="constrained")
    axes: Any = figure.subplots(len(rows), len(strongest), squeeze=False)
    for (label, kernel), line in zip(rows, axes, strict=True):
        for cell, index in zip(line, strongest, strict=True):
            image = cell.imshow(kernel.flatten(0, 1)[index].detach(), cmap="RdBu_r", vmin=-limit, vmax=limit)
            cell.set_xticks([])
            cell.set_yticks([])
        line[0].set_ylabel(label, rotation=0, ha="right", va="center")
    figure.colorbar(image, ax=axes, shrink=0.6)
    figure.suptitle(f"The strongest filters of {name}, {tuple(weight.shape)}")
    with aside(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)


def main(
    checkpoint: Annotated[
        Path | None,
        typer.Argument(help="A checkpoint with convolution kernels. By default a small network is trained."),
    ] = None,
    output: Annotated[Path, typer.Option(help="Folder for the files that the demo writes.")] = Path("out/demo"),
    budget: Annotated[float, typer.Option(help="Fraction of each kernel's parameters to keep.")] = 0.25,
) -> None:
    """Decompose trained kernels, verify the result and draw the filters."""
    console = Console()
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = f"cannot create the folder {output}: {error.strerror}; choose another folder"
        raise TensorTrainError(reason) from None
    if checkpoint is None:
        console.print("Training a small network on 1,347 handwritten digits …")
        torch.manual_seed(0)
        model = network()
        x, y, x_test, y_test = digits()
        train(model, x, y)
        compare(model.eval(), x_test, y_test, console)
        checkpoint = output / "digits.safetensors"
        with aside(checkpoint) as temporary:
            save_file(model.state_dict(), temporary)
    small = output / "small.safetensors"
    cli.decompose(checkpoint, small, budget=[str(budget)])
    cli.verify(small, against=checkpoint)
    kernels = {
        name: tensor
        for name, tensor in read_checkpoint(checkpoint).tensors.items()
        if tensor.dim() == 4 and tensor.shape[-1] > 1 and tensor.is_floating_point()
    }
    name = max(kernels, key=lambda key: kernels[key].numel())
    picture(kernels[name].float(), name, output / "kernels.png")
    console.print(f"wrote {output / 'kernels.png'} and {small}")


def _report() -> None:
    """Run `main` and turn bad input into one line on standard error."""
    with terminal.reported("demo", TensorTrainError):
        typer.run(main)


if __name__ == "__main__":
    terminal.run("demo", lambda: _report)
