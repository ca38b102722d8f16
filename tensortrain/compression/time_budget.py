"""A budget of milliseconds: only layers that get faster here are replaced, and the whole network is timed again."""

import dataclasses
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from tensortrain.compression.allocation import Options
from tensortrain.compression.analysis import Analysis, Measured
from tensortrain.compression.build import assembled
from tensortrain.compression.calibration import Batch
from tensortrain.compression.plan import Constraints, Offer, Plan, pick
from tensortrain.compression.progress import Stages
from tensortrain.compression.timing import FASTER, FEW, LayerTimer, Race, clock_for, forms_to_time, race, stand_in
from tensortrain.compression.trial import observe
from tensortrain.errors import TensorTrainError

ATTEMPTS = 5  # at a plan whose network, timed as a whole, keeps the budget
MARGIN = 0.98  # of what is left for the layers when a network was too slow


def choose_in_time(analysis: Analysis, value: object, constraints: Constraints, stages: Stages) -> Plan:
    """The forms of least error that are faster than the dense layers and together keep the budget.

    Args:
        analysis: of the network.
        value: milliseconds for one batch, as given.
        constraints: others.
        stages: called with what is being done.

    Raises:
        TensorTrainError: no inputs, a value that is no number of milliseconds, or one below what can be reached.
    """
    if analysis.measured is None:
        raise TensorTrainError("milliseconds: how long a layer takes depends on its inputs; give inputs")
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
        raise TensorTrainError(f"milliseconds = {value!r}; a positive number is needed, for one batch of the inputs")
    batch = analysis.measured.calibration.given
    timer = layer_timer(analysis, batch)
    offered = _timed_offer(analysis, constraints, timer, batch, stages)
    target = float(value)
    for _ in range(ATTEMPTS):
        plan = pick(analysis, offered, target)
        slow = [name for name, ranks in plan.ranks.items() if ranks and not _is_faster(analysis, timer, name, ranks)]
        if slow:
            offered = _without(offered, plan, slow, analysis)
            continue
        stages("timing", "the whole network")
        whole = time_whole(analysis, analysis.measured, _stand_ins(analysis, plan), batch)
        if whole.after[1] <= value or target <= offered.least:
            break
        left = (target - offered.fixed) * MARGIN * min(1.0, value / whole.after[1])
        target = max(offered.least, offered.fixed + left)
    return dataclasses.replace(plan, budget=float(value))


def layer_timer(analysis: Analysis, batch: Batch) -> LayerTimer:
    """A timer of the layers for the shapes that this batch gives them."""
    assert analysis.measured is not None
    layers = {name: analysis.reference.get_submodule(name) for name in analysis.maps}
    calibration = analysis.measured.calibration
    trial = observe(lambda: calibration.run(analysis.reference, batch), analysis.reference, layers, batch.size)
    return LayerTimer(trial.uses, batch.tensors()[0].device)


def time_whole(analysis: Analysis, measured: Measured, layers: Mapping[str, nn.Module], batch: Batch) -> Race:
    """The original network and one with other layers, in alternation."""
    before, after = assembled(analysis.model, {}).eval(), assembled(analysis.model, layers).eval()
    run = measured.calibration.run
    return race(lambda: run(before, batch), lambda: run(after, batch), clock_for(batch.tensors()[0].device))


def _timed_offer(
    analysis: Analysis, constraints: Constraints, timer: LayerTimer, batch: Batch, stages: Stages
) -> Offer:
    """The forms that are faster than the layers, with their milliseconds."""
    assert analysis.measured is not None
    constraints.check(list(analysis.maps))
    stages("timing", "the whole network")
    total = time_whole(analysis, analysis.measured, {}, batch).before[1]
    costs: dict[str, list[float]] = {}
    ranks: dict[str, list[tuple[int, int]]] = {}
    for name, own in analysis.maps.items():
        stages("timing", name)
        layer, dense = analysis.reference.get_submodule(name), 0.0
        costs[name], ranks[name] = [], []
        forms = [] if name in analysis.read else constraints.admitted(name, own, layer, forms_to_time(own, constraints.multiple))
        for form in forms:
            result = timer.race(name, layer, stand_in(own, form), FEW)
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
    forms_of = {name: torch.tensor(values) for name, values in ranks.items()}
    return Offer("milliseconds", options, forms_of, total - scale * layers, total)


def _errors(analysis: Analysis, name: str, ranks: list[tuple[int, int]]) -> Tensor:
    """What the curve of a layer says of these forms; of an inner rank that it does not have, of the next smaller one."""
    curve = analysis.curves[name]
    errors = []
    for outer, inner in ranks:
        fits = (curve.ranks[:, 0] == outer) & (curve.ranks[:, 1] <= inner)
        errors.append(float(curve.errors[fits][curve.ranks[fits][:, 1].argmax()]))
    return torch.tensor(errors, dtype=torch.float64)


def _is_faster(analysis: Analysis, timer: LayerTimer, name: str, ranks: tuple[int, int]) -> bool:
    layer = analysis.reference.get_submodule(name)
    return timer.race(name, layer, stand_in(analysis.maps[name], ranks)).ratio <= FASTER


def _stand_ins(analysis: Analysis, plan: Plan) -> dict[str, nn.Module]:
    return {name: stand_in(analysis.maps[name], ranks) for name, ranks in plan.ranks.items() if ranks}


def _without(offered: Offer, plan: Plan, names: list[str], analysis: Analysis) -> Offer:
    """The offer without the forms that a plan has chosen for these layers."""
    options, ranks = dict(offered.options), dict(offered.ranks)
    for name in names:
        others = (ranks[name] != torch.tensor(plan.ranks[name])).any(1)
        options[name] = Options(options[name].costs[others], options[name].errors[others])
        ranks[name] = ranks[name][others]
    return dataclasses.replace(offered, options=options, ranks=ranks)
