"""Figures of chains and trains: the cores with the ranks between them, and the places of the largest errors."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from tensortrain.errors import TensorTrainError
from tensortrain.figures import palette, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

RANK = "0.35"  # the colour of the ranks
MOST = 24  # the most cores that are drawn as boxes; for longer trains only the ranks are drawn


@styled
def plot_chain(
    ranks: Sequence[int],
    kernel_sizes: Sequence[Sequence[int]],
    groups: Sequence[int],
    cores: Sequence[Tensor],
    error: tuple[Tensor, float] | None,
) -> "Figure":
    """Draw a chain of convolution cores from its input to its output, and optionally its error.

    Args:
        ranks: `(R_0, …, R_m)`, output channels first.
        kernel_sizes: the kernel size of each core.
        groups: the number of groups of each core.
        cores: the cores, of which the figure shows the numbers of parameters.
        error: a pair: the chain's kernel minus the kernel that it approximates, `(outputs, inputs, …)`, and the norm of
            the approximated kernel. None draws the cores alone.
    """
    texts = [
        f"{'×'.join(map(str, size))}{f' g{count}' if count > 1 else ''}\n{core.numel():,}"
        for size, count, core in zip(kernel_sizes, groups, cores, strict=True)
    ]
    figure = _figure(1 if error is None else 3, len(texts))
    axes = figure.axes
    _draw_cores(axes[0], texts[::-1], ranks[::-1])
    if error is not None:
        difference, norm = error
        _draw_taps(axes[1], difference, norm)
        energy = difference.flatten(1).norm(dim=1).sort(descending=True).values / norm
        axes[2].bar(range(1, len(energy) + 1), energy.tolist(), width=1.0)
        axes[2].set(title="Error by output channel", xlabel="channels, the worst first", ylabel="share of the norm")
    return figure


@styled
def plot_train(shape: Sequence[int], ranks: Sequence[int], spectra: Sequence[Sequence[float]]) -> "Figure":
    """Draw a standard tensor train and the singular values at each of its bonds.

    Args:
        shape: `(I_1, …, I_m)`, the sizes of the axes.
        ranks: `(R_0, …, R_m)`, the ranks with the two boundary ranks.
        spectra: the singular values at each inner bond.
    """
    figure = _figure(2, len(shape))
    cores, values = figure.axes
    _draw_cores(cores, [str(size) for size in shape], ranks)
    for bond, spectrum in enumerate(spectra, 1):
        largest = max(spectrum, default=0.0) or 1.0
        shown = [value / largest for value in spectrum if value > 0]
        values.semilogy(range(1, len(shown) + 1), shown, marker="o", label=f"between cores {bond} and {bond + 1}")
    values.set(title="Singular values", xlabel="index", ylabel="relative to the largest")
    if 0 < len(spectra) <= 8:
        values.legend(fontsize="small")
    return figure


def _figure(panels: int, cores: int) -> "Figure":
    """Return a figure with a wide panel for the cores above the other panels."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise TensorTrainError("figures need Matplotlib; install it with pip install matplotlib") from None
    figure = Figure(figsize=(max(6.0, min(1.5 * cores, 14.0)), 1.6 if panels == 1 else 4.6), layout="constrained")
    if panels == 1:
        figure.subplots()
        return figure
    grid = figure.add_gridspec(2, panels - 1, height_ratios=(1, 2.4))
    figure.add_subplot(grid[0, :])
    for column in range(panels - 1):
        figure.add_subplot(grid[1, column])
    return figure


def _draw_cores(axes: "Axes", texts: Sequence[str], ranks: Sequence[int]) -> None:
    """Draw boxes in a row with the ranks on the lines between them, or, for a long train, the curve of its ranks."""
    if len(texts) > MOST:
        axes.plot(range(len(ranks)), ranks, marker=".")
        axes.set(title=f"Ranks of {len(texts)} cores", xlabel="bond", ylabel="rank")
        return
    axes.set_axis_off()
    axes.set(xlim=(-0.9, len(texts) - 0.1), ylim=(0, 1))
    for at, rank in enumerate(ranks):
        axes.plot([at - 0.72, at - 0.28], [0.45, 0.45], color=RANK, linewidth=1.5)
        axes.text(at - 0.5, 0.55, str(rank), ha="center", color=RANK)
    for at, text in enumerate(texts):
        box = {"boxstyle": "round,pad=0.4", "facecolor": palette()[0], "edgecolor": "none"}
        axes.text(at, 0.45, text, ha="center", va="center", color="white", bbox=box)


def _draw_taps(axes: "Axes", difference: Tensor, norm: float) -> None:
    """Draw the error at each kernel position: bars in 1-D, a map in 2-D, in 3-D a map summed over the first axis."""
    taps = difference.square().sum((0, 1))
    taps = (taps.sum(0) if taps.dim() == 3 else taps).sqrt() / norm
    axes.set_title("Error by tap" + (", over the first axis" if difference.dim() == 5 else ""))
    if taps.dim() == 1:
        axes.bar(range(len(taps)), taps.tolist())
        axes.set(xlabel="tap", ylabel="share of the norm")
        return
    image = axes.imshow(taps.cpu().numpy(), vmin=0, cmap="cividis")
    axes.grid(visible=False)
    axes.set(xticks=[], yticks=[])
    axes.figure.colorbar(image, ax=axes, label="share of the norm")
