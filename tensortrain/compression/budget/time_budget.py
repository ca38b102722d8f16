"""A budget of milliseconds: only layers that get faster here are replaced, and the whole network is timed again."""

import dataclasses

import torch
from torch import Tensor, nn

from tensortrain.compression.analysis.calibration import Batch
from tensortrain.compression.analysis.costs import parameters
from tensortrain.compression.analysis.network import Analysis
from tensortrain.compression.analysis.timing import FEW, LayerTimer, forms_to_time, layer_timer, stand_in, time_whole
from tensortrain.compression.budget.allocation import Options
from tensortrain.compression.budget.plan import Constraints, Offer, Plan, pick
from tensortrain.compression.budget.progress import Stages
from tensortrain.compression.layers.assembly import assembled
from tensortrain.conv.planner import FASTER
from tensortrain.errors import TensorTrainError

ATTEMPTS = 5  # at a plan whose network, timed as a whole, keeps the budget
NEAR = 0.95  # of the budget, from which on a network uses it up
MARGIN = 0.98  # of the budget, at which the next attempt aims


def choose_in_time(
    analysis: Analysis, value: object, constraints: Constraints, stages: Stages
) -> tuple[Plan, LayerTimer]:
    """The forms of least error that are faster than the dense layers and together keep the budget, and their timer.

    Args:
        analysis: analysis of the network.
        value: milliseconds for one batch, as given.
        constraints: further constraints of every form.
        stages: called with the name of the present stage.

    Raises:
        TensorTrainError: no inputs, a value that is no number of milliseconds, or one below what can be reached.
    """
    if analysis.measured is None:
        raise TensorTrainError("milliseconds: how long a layer takes depends on its inputs; give inputs")
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
        raise TensorTrainError(f"milliseconds = {value!r}; a positive number is needed, for one batch of the inputs")
    batch = analysis.measured.calibration.first
    timer = layer_timer(analysis, batch)
    offered = _timed_offer(analysis, constraints, timer, batch, stages)
    target, best = float(value), None
    for _ in range(ATTEMPTS):
        plan, offered = _plan_of_faster_layers(analysis, timer, offered, target)
        stages("timing", "the whole network")
        layers = {name: stand_in(analysis.maps[name], ranks) for name, ranks in plan.ranks.items() if ranks}
        milliseconds = time_whole(analysis, assembled(analysis.model, layers).eval(), batch).after[1]
        if milliseconds <= value and (best is None or plan.error < best.error):
            best = plan
        if NEAR * value <= milliseconds <= value or not layers or (milliseconds > value and target <= offered.least):
            break
        # in the network, layers may be faster or slower than alone: their sum is brought to the budget
        target = offered.fixed + (target - offered.fixed) * MARGIN * value / milliseconds
        target = max(target, offered.least)
    return dataclasses.replace(best or plan, budget=float(value)), timer


def _plan_of_faster_layers(analysis: Analysis, timer: LayerTimer, offered: Offer, target: float) -> tuple[Plan, Offer]:
    """A plan whose forms are all faster than the layers in a full number of alternations, and what is left to offer."""
    while True:
        plan = pick(analysis, offered, target)
        slow = {
            name
            for name, ranks in plan.ranks.items()
            if ranks and timer.race(name, *_pair(analysis, name, ranks)).ratio > FASTER
        }
        if not slow:
            return plan, offered
        offered = _without(offered, plan, slow)
        target = max(target, offered.least)


def _pair(analysis: Analysis, name: str, ranks: tuple[int, int]) -> tuple[nn.Module, nn.Module]:
    """A layer as it is, and in another form."""
    return analysis.reference.get_submodule(name), stand_in(analysis.maps[name], ranks)


def _timed_offer(
    analysis: Analysis, constraints: Constraints, timer: LayerTimer, batch: Batch, stages: Stages
) -> Offer:
    """The forms that are faster than the layers, with their milliseconds."""
    constraints.check(list(analysis.maps))
    stages("timing", "the whole network")
    total = time_whole(analysis, assembled(analysis.model, {}).eval(), batch).before[1]
    costs: dict[str, list[float]] = {}
    ranks: dict[str, list[tuple[int, int]]] = {}
    for name, own in analysis.maps.items():
        stages("timing", name)
        dense, costs[name], ranks[name] = 0.0, [], []
        for form in _admitted(analysis, name, constraints):
            result = timer.race(name, *_pair(analysis, name, form), FEW)
            dense = dense or result.before[1]
            if result.ratio <= FASTER:
                costs[name].append(dense * result.ratio)
                ranks[name].append(form)
        costs[name].append(dense)
        ranks[name].append((own.outputs, own.inputs))
    layers = sum(values[-1] for values in costs.values())
    scale = min(1.0, total / layers) if layers else 1.0  # alone, layers may be slower than in the network
    options = {
        name: Options(scale * torch.tensor(costs[name], dtype=torch.float64), _errors(analysis, name, ranks[name]))
        for name in costs
    }
    forms = {name: torch.tensor(values) for name, values in ranks.items()}
    return Offer("milliseconds", options, forms, total - scale * layers, total)


def _admitted(analysis: Analysis, name: str, constraints: Constraints) -> list[tuple[int, int]]:
    """The forms of a layer that are worth timing."""
    own = analysis.maps[name]
    forms = forms_to_time(own, constraints.multiple)
    if name in analysis.read or not forms:  # whoever reads the weight computes with all of it
        return []
    ranks = torch.tensor(forms)
    stored = parameters(own, analysis.reference.get_submodule(name))
    admitted = constraints.admit(name, ranks, own, stored.of(ranks, own) / stored.present)
    return [form for form, admits in zip(forms, admitted.tolist(), strict=True) if admits]


def _errors(analysis: Analysis, name: str, ranks: list[tuple[int, int]]) -> Tensor:
    """What the curve of a layer says of these forms; of an inner rank that it leaves out, of the next smaller one."""
    curve = analysis.curves[name]
    errors = []
    for outer, inner in ranks:
        fits = (curve.ranks[:, 0] == outer) & (curve.ranks[:, 1] <= inner)
        errors.append(float(curve.errors[fits][curve.ranks[fits][:, 1].argmax()]))
    return torch.tensor(errors, dtype=torch.float64)


def _without(offered: Offer, plan: Plan, names: set[str]) -> Offer:
    """The offer without the forms that a plan has chosen for these layers."""
    options, ranks = dict(offered.options), dict(offered.ranks)
    for name in names:
        others = (ranks[name] != torch.tensor(plan.ranks[name])).any(1)
        options[name] = Options(options[name].costs[others], options[name].errors[others])
        ranks[name] = ranks[name][others]
    return dataclasses.replace(offered, options=options, ranks=ranks)
