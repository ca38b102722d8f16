"""Build the network that a plan describes."""

from collections.abc import Callable
from dataclasses import dataclass
from os import PathLike

from torch import nn

from tensortrain.compression.analysis import batch_norm
from tensortrain.compression.analysis.network import Analysis, Measured
from tensortrain.compression.analysis.outputs import Difference, compare
from tensortrain.compression.budget.plan import Plan, check_size
from tensortrain.compression.budget.refit import Refitted, by_weight, refit
from tensortrain.compression.budget.resume import Progress
from tensortrain.compression.layers.assembly import assembled


@dataclass(frozen=True)
class Built:
    """A compressed network.

    Attributes:
        model: the network, in evaluation mode.
        layers: its new layers by name, including those that are dense but refitted.
        training: for each module of the original, by name, whether it is in training mode.
        outputs: difference between its outputs and those of the original; None without inputs, or if shapes differ.
        batch_norm: whether the statistics of batch-norm layers were replaced; None without such layers or inputs.
    """

    model: nn.Module
    layers: dict[str, Refitted]
    training: dict[str, bool]
    outputs: Difference | None
    batch_norm: bool | None

    def in_original_mode(self) -> nn.Module:
        """Put each module into the mode of the original, training or evaluation, and return the network."""
        for name, module in self.model.named_modules():
            module.training = self.training[name]
        return self.model


def build(
    analysis: Analysis, plan: Plan, tick: Callable[[str, str], None], resume: str | PathLike[str] | None = None
) -> Built:
    """Factorise and refit the layers, and estimate the statistics of batch norm again if that helps.

    Args:
        analysis: analysis of the network.
        plan: a form for each of its layers.
        tick: called with the name of the stage and of the layer.
        resume: file that keeps finished layers until the network is finished; None for none.

    Raises:
        TensorTrainError: the file `resume` belongs to another compression, or cannot be written; or the network is
            larger than planned.
    """
    measured = analysis.measured
    if measured is None:
        layers = {
            n: Refitted(by_weight(analysis.maps[n], r, plan.fits.get(n)), 0.0) for n, r in plan.ranks.items() if r
        }
        return Built(*_assembled(analysis, plan, layers), None, None)
    statistics, inputs = measured.statistics, measured.calibration
    weights = dict(analysis.reference.state_dict())

    def begin(name: str) -> None:
        tick("refit", name)

    with Progress(resume, [weights, measured.digest, list(plan.ranks.items()), _fitted(plan), inputs.seed]) as progress:
        layers = refit(analysis.reference, analysis.maps, plan.ranks, plan.fits, statistics, inputs, begin, progress)
        network = _assembled(analysis, plan, layers)
        tick("batch norm", "")
        built = Built(*network, *_with_batch_norm(network[0], analysis, measured))
    progress.remove()
    return built


def _assembled(
    analysis: Analysis, plan: Plan, layers: dict[str, Refitted]
) -> tuple[nn.Module, dict[str, Refitted], dict[str, bool]]:
    """Return the network with new layers in evaluation mode, these layers, and which modules were in training mode."""
    model = assembled(analysis.model, {name: new.layer for name, new in layers.items()})
    check_size(model, plan)
    training = {name: module.training for name, module in model.named_modules()}
    return model.eval(), layers, training


def _fitted(plan: Plan) -> list[list[object]]:
    """Return the chains of the layers that become chains, for the digest of a refit that is resumed.

    The name of a format is not part of it, because a fit that was read from a file does not know it.
    """
    return [[name, list(fit.groups), list(fit.ranks), fit.cores] for name, fit in plan.fits.items()]


def _with_batch_norm(model: nn.Module, analysis: Analysis, measured: Measured) -> tuple[Difference | None, bool | None]:
    """Return the difference of the outputs, and whether new statistics of batch norm have made it smaller."""
    inputs = measured.calibration
    before = compare(measured.outputs, model, inputs, analysis.selector, analysis.logits)
    estimated = batch_norm.estimate(model, inputs)
    if not estimated or before is None:
        return before, None
    kept = batch_norm.present(model)
    batch_norm.install(model, estimated)
    after = compare(measured.outputs, model, inputs, analysis.selector, analysis.logits)
    if after is not None and after.loss < before.loss:
        return after, True
    batch_norm.install(model, kept)
    return before, False
