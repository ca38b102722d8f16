"""A budget of time: only layers that become faster here are replaced, and the whole network is timed again."""

import dataclasses
import sys

import torch
from torch import Tensor, nn

from tensortrain.compression.analysis.costs import parameters
from tensortrain.compression.analysis.network import Analysis
from tensortrain.compression.analysis.timing import FEW, Race, forms_to_time, layer_timer, stand_in, time_whole
from tensortrain.compression.budget.allocation import Options
from tensortrain.compression.budget.plan import Constraints, Offer, Plan, pick, unreachable
from tensortrain.compression.budget.progress import Stages
from tensortrain.compression.layers.assembly import assembled
from tensortrain.conv.planner import FASTER
from tensortrain.errors import TensorTrainError

KINDS = ("milliseconds", "time")
ATTEMPTS = 5  # largest number of plans until the network, timed as a whole, is within the budget
NEAR = 0.95  # a network that takes this share of the budget or more uses it up
MARGIN = 0.98  # share of the budget that the next plan should take


class TimeBudget:
    """Makes plans of networks that are within a budget of time for the first batch of the inputs.

    The time of a network need not be the sum of the times of its layers, measured alone. So the network of each plan is
    timed as a whole, in alternation with the original, and the next plan is corrected by the difference from the
    budget.

    Args:
        analysis: analysis of the network, with inputs.
        kind: "milliseconds", or "time" for a share of the original's time in the same alternation.
        value: the budget.
        constraints: further constraints of every form.
        stages: called with the name of the current stage.

    Attributes:
        timer: timer of the layers.

    Raises:
        TensorTrainError: the value is out of range.
    """

    def __init__(self, analysis: Analysis, kind: str, value: object, constraints: Constraints, stages: Stages) -> None:
        assert analysis.measured is not None  # a budget of time without inputs is refused before the analysis
        self._kind, self._value = kind, checked(kind, value)
        self._analysis, self._stages = analysis, stages
        self._batch = analysis.measured.calibration.first
        self.timer = layer_timer(analysis, self._batch)
        self._offered = self._timed_offer(constraints)
        self._budget = self._value * (self._offered.total if kind == "time" else 1)  # in milliseconds
        self._target = self._budget  # largest sum of the layers' times and of everything else
        self._expected = 1.0  # share of the budget that the network of the last plan took, with random weights
        self._excess = 1.0  # time of the network that was built, relative to that of its plan with random weights

    def plan(self) -> Plan:
        """Return the forms of smallest error that are faster than the dense layers and together within the budget.

        Raises:
            TensorTrainError: even the network of the fastest forms is too slow.
        """
        best: Plan | None = None
        for _ in range(ATTEMPTS):
            plan = self._plan_of_faster_layers()
            layers = {name: stand_in(self._analysis.maps[name], ranks) for name, ranks in plan.ranks.items() if ranks}
            expected = self._used(self.timed(assembled(self._analysis.model, layers).eval()))
            used = expected * self._excess
            fastest = self._target <= self._offered.least
            if used > 1 and fastest and self._budget < self._offered.least:
                raise self._unreachable(used)
            if used <= 1 and (best is None or plan.error < best.error):
                best, self._expected = plan, expected
            if NEAR <= used <= 1 or not layers or (used > 1 and fastest):
                break
            self._correct(used)
        if best is None:
            best, self._expected = plan, expected
        return dataclasses.replace(best, budget=self._budget)

    def timed(self, model: nn.Module) -> Race:
        """Time the original network and another one, which must be in evaluation mode, in alternation."""
        self._stages("timing", "the whole network")
        return time_whole(self._analysis, model, self._batch)

    def tightened(self, race: Race) -> bool:
        """Reduce the time for the next plan, after a network missed the budget.

        Args:
            race: times of the original and of the network.

        Returns:
            Whether the time was reduced. It is not if the network is within the budget, or if no network would be
            faster.
        """
        used, before = self._used(race), self._target
        if used > 1:
            self._excess = used / self._expected
            self._correct(used)
        return self._target < before

    def missed(self, race: Race) -> str:
        """Return a sentence that says by how much a network missed the budget; empty if it did not."""
        if self._used(race) <= 1:
            return ""
        if self._kind == "time":
            part = race.after[1] / race.before[1]
            return f"MISSED: the network takes {part:.1%} of the original's time; the budget was {self._value:.1%}"
        return f"MISSED: the network takes {race.after[1]:.3g} ms; the budget was {self._value:.3g} ms"

    def _unreachable(self, used: float) -> TensorTrainError:
        """Return the error for a budget that no network meets.

        The fastest network takes at most the time of the original, which may stay as it is. Measured again, it may
        seem to take more.

        Args:
            used: share of the budget that the fastest network took.
        """
        total = self._offered.total
        fastest = min(used * self._budget, total)
        if self._kind == "milliseconds":
            return unreachable(self._kind, self._budget, fastest, total)
        return TensorTrainError(
            f"{self._kind} = {self._value!r}: no network that fast was found; the fastest takes {fastest / total:.1%}"
            " of the original's time here; raise the budget"
        )

    def _used(self, race: Race) -> float:
        """Return the share of the budget that a network takes."""
        return (race.after[1] / race.before[1] if self._kind == "time" else race.after[1]) / self._value

    def _correct(self, used: float) -> None:
        """Move the target of the next plan, after the last plan took this share of the budget."""
        self._target = max(self._offered.least, self._target - self._budget * (used - MARGIN))

    def _plan_of_faster_layers(self) -> Plan:
        """Return a plan whose forms are all faster than the layers, measured in `ROUNDS` alternations.

        Forms that turn out to be slower are removed from the offer.
        """
        while True:
            self._target = max(self._target, self._offered.least)
            plan = pick(self._analysis, self._offered, self._target)
            slow = {name for name, ranks in plan.ranks.items() if ranks and self._race(name, ranks).ratio > FASTER}
            if not slow:
                return plan
            self._offered = _without(self._offered, plan, slow)

    def _race(self, name: str, ranks: tuple[int, int], **rounds: int) -> Race:
        """Time a layer and another form of it in alternation."""
        own, layer = self._analysis.maps[name], self._analysis.reference.get_submodule(name)
        return self.timer.race(name, layer, stand_in(own, ranks), **rounds)

    def _timed_offer(self, constraints: Constraints) -> Offer:
        """Return the forms that are faster than the layers, with their milliseconds as costs."""
        analysis = self._analysis
        constraints.check(list(analysis.maps))
        total = self.timed(assembled(analysis.model, {}).eval()).before[1]
        costs: dict[str, list[float]] = {}
        present: dict[str, float] = {}
        ranks: dict[str, list[tuple[int, int]]] = {}
        for name, own in analysis.maps.items():
            self._stages("timing", name)
            dense, costs[name], ranks[name] = 0.0, [], []
            for form in _admitted(analysis, name, constraints):
                result = self._race(name, form, rounds=FEW)
                dense = dense or result.before[1]
                if result.ratio <= FASTER:
                    costs[name].append(dense * result.ratio)
                    ranks[name].append(form)
            present[name] = dense
            if not costs[name] or constraints.kept(name)[1] == 1:
                constraints.allow_unchanged(name)
                costs[name].append(dense)
                ranks[name].append((own.outputs, own.inputs))
        layers = sum(present.values())
        scale = min(1.0, total / layers) if layers else 1.0  # layers that run alone may be slower than in the network
        options = {
            name: Options(scale * torch.tensor(costs[name], dtype=torch.float64), _errors(analysis, name, ranks[name]))
            for name in costs
        }
        forms = {name: torch.tensor(values) for name, values in ranks.items()}
        return Offer("milliseconds", options, forms, total - scale * layers, total)


def checked(kind: str, value: object) -> float:
    """Return a budget of time as a float: a number of milliseconds, or a share of the original's time.

    Raises:
        TensorTrainError: the value is out of range, or not a number.
    """
    most = sys.float_info.max if kind == "milliseconds" else 1.0
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= most:
        return float(value)
    needed = (
        "a positive number" if kind == "milliseconds" else "a share of the network's own time, above 0 and up to 1,"
    )
    raise TensorTrainError(f"{kind} = {value!r}; {needed} is needed, for one batch of the inputs")


def _admitted(analysis: Analysis, name: str, constraints: Constraints) -> list[tuple[int, int]]:
    """Return the forms of a layer that are worth timing."""
    own = analysis.maps[name]
    forms = forms_to_time(own, constraints.multiple)
    if name in analysis.read or not forms:  # other code that reads the weight multiplies by the whole of it
        return []
    ranks = torch.tensor(forms)
    stored = parameters(own, analysis.reference.get_submodule(name))
    admitted = constraints.admit(name, ranks, own, stored.of(ranks, own) / stored.present)
    return [form for form, admits in zip(forms, admitted.tolist(), strict=True) if admits]


def _errors(analysis: Analysis, name: str, ranks: list[tuple[int, int]]) -> Tensor:
    """Return the squared errors of these forms from the curve of a layer.

    If the curve lacks an inner rank, the error is that of the next smaller one.
    """
    curve = analysis.curves[name]
    errors = []
    for outer, inner in ranks:
        fits = (curve.ranks[:, 0] == outer) & (curve.ranks[:, 1] <= inner)
        errors.append(float(curve.errors[fits][curve.ranks[fits][:, 1].argmax()]))
    return torch.tensor(errors, dtype=torch.float64)


def _without(offered: Offer, plan: Plan, names: set[str]) -> Offer:
    """Return the offer without the forms that a plan has chosen for these layers."""
    options, ranks = dict(offered.options), dict(offered.ranks)
    for name in names:
        others = (ranks[name] != torch.tensor(plan.ranks[name])).any(1)
        options[name] = Options(options[name].costs[others], options[name].errors[others])
        ranks[name] = ranks[name][others]
    return dataclasses.replace(offered, options=options, ranks=ranks)
