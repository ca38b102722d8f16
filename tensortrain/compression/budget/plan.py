"""Choose a form for every layer within a budget."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from torch import Tensor, nn

from tensortrain import checks
from tensortrain.compression.analysis import costs
from tensortrain.compression.analysis.costs import Prices
from tensortrain.compression.analysis.network import Analysis
from tensortrain.compression.budget.allocation import Options, allocate
from tensortrain.compression.budget.refit import Ranks
from tensortrain.compression.layers.unfolding import PatchMap
from tensortrain.conv.fit.solver import Fit
from tensortrain.errors import TensorTrainError

ROUNDING = 1e-12  # tolerance for rounding errors, relative to the cost of the whole network
KINDS = ("parameters", "macs", "bytes")


@dataclass(frozen=True)
class Constraints:
    """The constraints of a plan besides the budget.

    Attributes:
        multiple: ranks, as totals over all groups of a layer, are multiples of this number, unless they are full.
        at_least: smallest share of its parameters that a layer keeps, by patterns on names of layers.
        at_most: largest share of its parameters that a layer keeps, by patterns on names of layers.
    """

    multiple: int
    at_least: Mapping[str, float]
    at_most: Mapping[str, float]

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            TensorTrainError: a value is out of range.
        """
        checks.integer("multiple", self.multiple)
        for argument, fractions in self._shares():
            if not isinstance(fractions, Mapping):
                raise TensorTrainError(
                    f'{argument} = {fractions!r}; a mapping from patterns to fractions is needed, such as {{"*": 0.5}}'
                )
            for pattern, value in fractions.items():
                if not isinstance(pattern, str):
                    raise TensorTrainError(f"{argument} has the key {pattern!r}; a pattern of names is needed")
                if not isinstance(value, int | float) or not 0 <= value <= 1:
                    raise TensorTrainError(f"{argument}[{pattern!r}] = {value!r}; a fraction from 0 to 1 is needed")

    def check(self, names: list[str]) -> None:
        """Check the patterns.

        Args:
            names: names of the layers that can be replaced.

        Raises:
            TensorTrainError: a pattern matches none of the names, or no form of a layer satisfies both limits.
        """
        for argument, fractions in self._shares():
            for pattern in fractions:
                if not any(fnmatchcase(name, pattern) for name in names):
                    raise TensorTrainError(
                        f"{argument} has the pattern {pattern!r}, which matches none of the layers that can be"
                        f" replaced: {', '.join(names[:8])}{', …' if len(names) > 8 else ''}"
                    )
        for name in names:
            low, high = self.kept(name)
            if low > high:
                raise TensorTrainError(
                    f"at_least = {low:g} and at_most = {high:g} exclude every form of layer {name!r}; change one"
                )

    def _shares(self) -> tuple[tuple[str, Mapping[str, float]], ...]:
        """Return both limits on the shares of layers, with the names of their arguments."""
        return ("at_least", self.at_least), ("at_most", self.at_most)

    def admit(self, name: str, ranks: Tensor, own: PatchMap, kept: Tensor) -> Tensor:
        """Return which forms `(n,)` of a layer satisfy the constraints.

        Args:
            name: name of the layer.
            ranks: outer and inner ranks of the forms within a group, `(n, 2)`.
            own: the layer.
            kept: the share of the parameters that each form keeps, `(n,)`.
        """
        s, r = ranks.unbind(1)
        fits = (s * own.groups % self.multiple == 0) | (s == own.outputs)
        fits &= (r * own.groups % self.multiple == 0) | (r == own.inputs)
        low, high = self.kept(name)
        return fits & (kept >= low) & (kept <= high)

    def allow_unchanged(self, name: str) -> None:
        """Check that a layer may stay as it is.

        Raises:
            TensorTrainError: `at_most` says that it must become smaller.
        """
        _, high = self.kept(name)
        if high < 1:
            raise TensorTrainError(
                f"at_most lets layer {name!r} keep at most {high:g} of its parameters, but no form of it does that and"
                " satisfies the other constraints; raise the fraction, or exclude the layer"
            )

    def kept(self, name: str) -> tuple[float, float]:
        """Return the smallest and the largest share of its parameters that a layer may keep."""
        low = max((v for pattern, v in self.at_least.items() if fnmatchcase(name, pattern)), default=0.0)
        high = min((v for pattern, v in self.at_most.items() if fnmatchcase(name, pattern)), default=1.0)
        return low, high


@dataclass(frozen=True)
class Plan:
    """A form for every layer.

    Attributes:
        ranks: outer and inner rank within a group; None for a layer that stays as it is.
        errors: squared relative error of each layer.
        offered: names of the layers that had several options.
        kind: kind of the budget.
        budget: largest cost that is allowed, in the unit of the budget.
        total: cost of the whole original network.
        cost: cost of the network with the planned forms.
        error: sum of the squared errors, weighted if layers are called repeatedly.
        bound: lower bound of that sum for all choices within the budget.
        fits: chains that replace the forms with these ranks.
    """

    ranks: dict[str, Ranks | None]
    errors: dict[str, float]
    offered: frozenset[str]
    kind: str
    budget: float
    total: float
    cost: float
    error: float
    bound: float
    fits: dict[str, Fit] = field(default_factory=dict)


@dataclass(frozen=True)
class Offer:
    """All forms of all layers, with their costs in the unit of one kind of budget.

    Attributes:
        kind: kind of the budget.
        options: costs and errors of each layer's forms.
        ranks: `(n, 2)`, outer and inner ranks of these forms within a group.
        fixed: cost of everything outside of the layers with options.
        total: cost of the whole original network.
        fits: chains by the name of the layer; each is the last option of its layer.
    """

    kind: str
    options: dict[str, Options]
    ranks: dict[str, Tensor]
    fixed: float
    total: float
    fits: dict[str, Fit] = field(default_factory=dict)

    @property
    def least(self) -> float:
        """Cost of the smallest network."""
        return self.fixed + sum(float(option.costs.min()) for option in self.options.values())


def offer(analysis: Analysis, kind: str, constraints: Constraints) -> Offer:
    """Return all forms of the layers of a network that satisfy the constraints.

    Args:
        analysis: analysis of the network.
        kind: kind of the budget: parameters, macs or bytes.
        constraints: constraints that every form must satisfy.

    Raises:
        TensorTrainError: constraints are out of range, or MACs are needed but there are no inputs.
    """
    constraints.check(list(analysis.maps))
    total = whole_cost(analysis, kind)
    prices = {name: price(analysis, kind, name) for name in analysis.maps}
    options, ranks = {}, {}
    for name, own in analysis.maps.items():
        curve = analysis.curves[name]
        cost = prices[name].of(curve.ranks, own)
        stored = costs.parameters(own, analysis.reference.get_submodule(name))
        kept = stored.of(curve.ranks, own) / stored.present
        admitted = constraints.admit(name, curve.ranks, own, kept)
        admitted[:-1] &= cost[:-1] < prices[name].present
        if kind == "macs" and name in analysis.read:
            admitted[:-1] = False  # other code that reads the weight multiplies by the whole of it
        if not admitted.any():
            constraints.allow_unchanged(name)
            admitted[-1] = True
        options[name] = Options(cost[admitted], curve.errors[admitted])
        ranks[name] = curve.ranks[admitted]
    return Offer(kind, options, ranks, total - sum(p.present for p in prices.values()), total)


def pick(analysis: Analysis, offered: Offer, budget: float) -> Plan:
    """Choose the forms with the smallest sum of errors that cost at most `budget` in total.

    Args:
        analysis: analysis of the network.
        offered: the forms to choose from.
        budget: largest cost of the whole network, in the unit of the offer.

    Raises:
        TensorTrainError: even the smallest network costs more.
    """
    if offered.least > budget + ROUNDING * offered.total:
        raise unreachable(offered.kind, budget, offered.least, offered.total)
    allocation = allocate(
        _weighed(analysis, offered.options), max(budget, offered.least) - offered.fixed + ROUNDING * offered.total
    )
    ranks: dict[str, Ranks | None] = {}
    fits = {n: fit for n, fit in offered.fits.items() if allocation.choices[n] == len(offered.ranks[n]) - 1}
    for name, own in analysis.maps.items():
        outer, inner = offered.ranks[name][allocation.choices[name]].tolist()
        ranks[name] = None if (outer, inner) == (own.outputs, own.inputs) else (outer, inner)
    return Plan(
        ranks,
        {name: float(offered.options[name].errors[i]) for name, i in allocation.choices.items()},
        frozenset(name for name, option in offered.options.items() if len(option.costs) > 1),
        offered.kind,
        budget,
        offered.total,
        offered.fixed + allocation.cost,
        allocation.error,
        allocation.bound,
        fits,
    )


def unreachable(kind: str, budget: float, least: float, total: float) -> TensorTrainError:
    """Return the error for a budget below the cost of the smallest network."""
    return TensorTrainError(
        f"{kind}: the budget is {_number(budget)} of {_number(total)}, but the smallest network that can be reached has"
        f" {_number(least)} ({least / total:.1%}); raise the budget"
    )


def _number(value: float) -> str:
    """Format a count, or a few milliseconds."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


def _weighed(analysis: Analysis, options: Mapping[str, Options]) -> dict[str, Options]:
    """Multiply the errors of each layer by the layer's weight, which is its effect on the outputs of the network."""
    weights = _weights(analysis)
    return {name: Options(option.costs, weights.get(name, 1.0) * option.errors) for name, option in options.items()}


def weighed_sum(analysis: Analysis, errors: Mapping[str, float]) -> float:
    """Return the sum of the layers' squared errors, weighted by the effect of each layer on the network's outputs."""
    weights = _weights(analysis)
    return sum(weights.get(name, 1.0) * error for name, error in errors.items())


def _weights(analysis: Analysis) -> Mapping[str, float]:
    return {} if analysis.measured is None else analysis.measured.weights


def price(analysis: Analysis, kind: str, name: str) -> Prices:
    """Return the costs from which those of a layer's forms follow."""
    own, layer = analysis.maps[name], analysis.reference.get_submodule(name)
    if kind == "parameters":
        return costs.parameters(own, layer)
    if kind == "bytes":
        return costs.in_bytes(own, layer)
    if analysis.measured is None:
        raise TensorTrainError("macs: the number of multiplications of a layer depends on its inputs; pass inputs")
    trial = analysis.measured.trial
    return costs.macs(own, layer, trial.uses[name], trial.samples)


def whole_cost(analysis: Analysis, kind: str) -> float:
    """Return the cost of the whole network."""
    if kind == "macs":
        if analysis.measured is None:
            raise TensorTrainError("macs: the number of multiplications of a layer depends on its inputs; pass inputs")
        return float(analysis.measured.trial.macs)
    return stored(analysis.model, kind)


def stored(model: nn.Module, kind: str) -> float:
    """Return the parameters of a network, or the bytes of its parameters and buffers."""
    return float(sum(p.numel() for p in model.parameters()) if kind == "parameters" else state_bytes(model))


def check_size(model: nn.Module, plan: Plan) -> None:
    """Check that a network that was built from a plan is within a budget of parameters or bytes.

    Raises:
        TensorTrainError: it is larger than planned.
    """
    if plan.kind not in ("parameters", "bytes"):
        return
    reached = stored(model, plan.kind)
    if reached > plan.budget + ROUNDING * plan.total:
        raise TensorTrainError(
            f"{plan.kind}: the budget is {_number(plan.budget)}, but the network that was built has {_number(reached)};"
            " a copy of the model probably does not share tensors that the model shares"
        )


def state_bytes(model: nn.Module) -> int:
    """Return the memory of a network's parameters and buffers in bytes."""
    return sum(x.numel() * x.element_size() for x in (*model.parameters(), *model.buffers()))
