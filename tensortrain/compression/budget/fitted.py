"""Try other forms for the layers of a plan: fitted chains of every format, and forms that are faster at the same cost.

The allocation shares the budget among the closed forms, whose errors at all ranks are known. For each layer that it
replaces, other forms of at most the same cost compete. Among them are chains of other formats, which are fitted in the
metric of the layer's inputs. The objective decides. If the objective is the error, the fits then become further options
of a second allocation, and the better of the two plans is used. So fits never make the sum of the errors larger.
"""

import dataclasses
import math
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tensortrain.compression.analysis import costs
from tensortrain.compression.analysis.network import Analysis
from tensortrain.compression.analysis.timing import LayerTimer, stand_in
from tensortrain.compression.budget.allocation import Options
from tensortrain.compression.budget.plan import Constraints, Offer, Plan, pick, price, weighed_sum
from tensortrain.compression.budget.refit import Ranks
from tensortrain.compression.layers.chains import layer_kernel, stand_in_chain
from tensortrain.compression.layers.unfolding import PatchMap
from tensortrain.compression.state_dicts.effort import Allowance, Effort
from tensortrain.compression.state_dicts.names import join
from tensortrain.compression.state_dicts.pool import Stoppable, side_by_side
from tensortrain.compression.state_dicts.store import FitStore
from tensortrain.conv.fit.choose_format import Entrant, affordable_candidates, best_format
from tensortrain.conv.fit.kernel import NormalizedKernel
from tensortrain.conv.fit.options import SMALL_KERNEL, SolverOptions, threads_for
from tensortrain.conv.fit.progress import Ticker
from tensortrain.conv.fit.ranks import Growth, largest_useful
from tensortrain.conv.fit.solver import Fit
from tensortrain.conv.formats import NAMED, Format
from tensortrain.conv.planner import admitted

HALVINGS = 12  # number of bisection steps in the search for the ranks of a format within a number of MACs

AnyFormat = str | Format


@dataclass(frozen=True)
class Admission:
    """The other forms that compete, and how they are compared.

    Attributes:
        formats: formats or their names; "all" for all formats that are worth trying; None for no fits.
        effort: work, time limit and objective of the fits.
    """

    formats: Sequence[AnyFormat] | str | None
    effort: Effort

    def of(self, kernel: NormalizedKernel) -> list[Format]:
        """Return the formats that are tried for a kernel."""
        if self.formats is None:
            return []
        if isinstance(self.formats, str):
            return [chain_format for chain_format in affordable_candidates(kernel) if chain_format.order > 1]
        named = [NAMED[f](kernel.size) if isinstance(f, str) else f for f in self.formats]
        return [chain_format for chain_format in named if chain_format.kernel_size == kernel.size]


@dataclass
class Contest:
    """The forms that compete for one layer.

    Attributes:
        kernel: kernel of the layer, in the metric of its inputs.
        closed: closed forms of about the same cost with their squared errors, the planned form first.
        field: chains of other formats, with their ranks.
    """

    kernel: NormalizedKernel
    closed: list[tuple[Ranks, float]]
    field: list[Entrant]

    def only(self, places: Sequence[int]) -> None:
        """Keep only the forms with these indices. They count the closed forms first, and then the chains."""
        n = len(self.closed)
        self.field = [entrant for i, entrant in enumerate(self.field, start=n) if i in places]
        self.closed = [form for i, form in enumerate(self.closed) if i in places]


def with_other_forms(
    analysis: Analysis,
    plan: Plan,
    offered: Offer | None,
    admission: Admission,
    constraints: Constraints,
    timer: LayerTimer | None,
    store: FitStore,
    progress: bool | None,
) -> Plan:
    """Replace the forms of a plan by other forms if these are better.

    Args:
        analysis: analysis of the network.
        plan: a plan that consists of closed forms.
        offered: the offer from which the plan was chosen; None for plans with a time budget.
        admission: the other forms that are tried.
        constraints: constraints that every form must satisfy.
        timer: timer of the layers, if the objective or the budget is about speed.
        store: store of finished fits.
        progress: whether to show the progress of the fits.
    """
    contests = {}
    for name, ranks in plan.ranks.items():
        own = analysis.maps[name]
        if ranks is not None and own.taps > 1 and (analysis.measured is None or name in analysis.moments):
            contests[name] = _contest(analysis, plan, name, ranks, offered, admission, constraints)
    if timer is not None:
        for name, contest in contests.items():
            _by_speed(contest, analysis, plan, name, admission.effort.objective, timer)
    fits = _fitted({name: contest for name, contest in contests.items() if contest.field}, admission, store, progress)
    direct = _winners(analysis, plan, contests, fits)
    if offered is None or admission.effort.objective != "error":
        return direct
    extended = _extended(analysis, offered, direct.fits)
    again = pick(analysis, extended, plan.budget)
    if again.error < direct.error:
        return again
    return dataclasses.replace(direct, bound=min(again.bound, direct.error))


def _contest(
    analysis: Analysis,
    plan: Plan,
    name: str,
    ranks: Ranks,
    offered: Offer | None,
    admission: Admission,
    constraints: Constraints,
) -> Contest:
    own = analysis.maps[name]
    kernel = layer_kernel(own, own.matrix(), analysis.moments.get(name))
    closed = [(ranks, plan.errors[name])]
    if offered is not None and admission.effort.objective != "error":
        closed += _other_closed_forms(offered, name, own, ranks)
    field = []
    for chain_format in admission.of(kernel):
        chain_ranks = _ranks_within(analysis, plan.kind, name, kernel, chain_format, ranks, constraints)
        if chain_ranks is not None:
            field.append(Entrant.of(kernel, chain_format, chain_ranks))
    return Contest(kernel, closed, field)


def _other_closed_forms(offered: Offer, name: str, own: PatchMap, ranks: Ranks) -> list[tuple[Ranks, float]]:
    """Return the best form of each other kind that costs at most as much as the planned one.

    The kinds are forms with an outer factor, with an inner factor, and with both.
    """
    options, table = offered.options[name], offered.ranks[name]
    kinds = torch.stack([table[:, 0] < own.outputs, table[:, 1] < own.inputs], 1)
    present = int((table == torch.tensor(ranks)).all(1).nonzero()[0])
    others = []
    for kind in ((True, False), (False, True), (True, True)):
        fits = (kinds == torch.tensor(kind)).all(1) & (options.costs <= options.costs[present])
        if bool(fits.any()) and not bool((kinds[present] == torch.tensor(kind)).all()):
            best = int(torch.where(fits, options.errors, torch.inf).argmin())
            others.append(((int(table[best, 0]), int(table[best, 1])), float(options.errors[best])))
    return others


def _ranks_within(
    analysis: Analysis,
    kind: str,
    name: str,
    kernel: NormalizedKernel,
    chain_format: Format,
    ranks: Ranks,
    constraints: Constraints,
) -> tuple[int, ...] | None:
    """Return the largest ranks of a format that cost at most as much as a closed form and satisfy the constraints.

    The result is None if there are no such ranks.
    """
    own = analysis.maps[name]
    growth = Growth(chain_format, kernel, largest_useful(chain_format, kernel))
    stored = costs.parameters(own, analysis.reference.get_submodule(name))
    parameters = int(stored.of(torch.tensor([ranks]), own))

    def within(cap: int) -> tuple[int, ...] | None:
        if growth.n_parameters(growth.ranks(growth.smallest)) > cap:
            return None
        return _in_multiples(chain_format, kernel, growth.largest_within(cap), constraints.multiple)

    best = within(parameters)
    if kind == "macs":
        allowed = float(price(analysis, kind, name).of(torch.tensor([ranks]), own))
        low, high, best = 0, kernel.dense_parameters, None
        for _ in range(HALVINGS):
            middle = (low + high) // 2
            chain_ranks = within(middle)
            if chain_ranks is None:
                low = middle
            elif cost_of(analysis, kind, name, Entrant(chain_format, chain_ranks, 0.0)) <= allowed:
                best, low = chain_ranks, middle
            else:
                high = middle
    if best is None:
        return None
    kept = growth.n_parameters(best) / stored.present
    low_part, high_part = constraints.kept(name)
    return best if low_part <= kept <= high_part else None


def _in_multiples(
    chain_format: Format, kernel: NormalizedKernel, ranks: tuple[int, ...], multiple: int
) -> tuple[int, ...] | None:
    """Round the ranks, as totals over all groups, down to multiples; None if one of them would be zero."""
    rounded = list(ranks)
    for tied, fixed in chain_format.bonds(*kernel.channels):
        bond, factor = next(iter(tied.items()))
        unit = math.lcm(*(multiple // math.gcd(f * kernel.conv_groups, multiple) for f in tied.values()))
        count = ranks[bond - 1] // factor
        count = count if fixed is not None else count // unit * unit
        if count == 0:
            return None
        for bond, factor in tied.items():
            rounded[bond - 1] = factor * count
    return tuple(rounded)


def cost_of(analysis: Analysis, kind: str, name: str, chain: Entrant | Fit) -> float:
    """Return the cost of a chain that replaces a layer, in the unit of a budget, or its parameters for a budget of
    time.
    """
    own = analysis.maps[name]
    bounds = (own.outputs, *chain.ranks, own.inputs)
    entries = own.groups * chain.chain_format.n_parameters(bounds)
    if kind == "macs":
        assert analysis.measured is not None
        trial = analysis.measured.trial
        layer = stand_in_chain(own, Entrant(chain.chain_format, chain.ranks, 0.0))
        return costs.layer_macs(own, layer, trial.uses[name], trial.samples)
    return float(entries * (own.layer.weight.element_size() if kind == "bytes" else 1))


def _by_speed(contest: Contest, analysis: Analysis, plan: Plan, name: str, objective: str, timer: LayerTimer) -> None:
    """Keep only the forms that the objective admits and, for a budget of time, that are as fast as the planned form."""
    own, layer = analysis.maps[name], analysis.reference.get_submodule(name)
    rivals: list[nn.Module] = [stand_in(own, ranks) for ranks, _ in contest.closed]
    rivals += [stand_in_chain(own, entrant) for entrant in contest.field]
    ratios = [timer.race(name, layer, rival).ratio for rival in rivals]
    most = ratios[0] if plan.kind == "milliseconds" else math.inf
    places = [i for i, ratio in enumerate(ratios) if ratio <= most]
    contest.only([places[i] for i in admitted([ratios[i] for i in places], objective)])


def _fitted(
    contests: Mapping[str, Contest], admission: Admission, store: FitStore, progress: bool | None
) -> dict[str, Fit]:
    """Return the best chain for each layer."""
    effort = admission.effort
    fits = {name: store.fit(name, contests[name].kernel) for name in contests if join(name, "weight") in store.chains}
    left = {name: contest for name, contest in contests.items() if name not in fits}
    entries = {name: contest.kernel.dense_parameters for name, contest in left.items()}
    burdens = {name: max(entries[name], SMALL_KERNEL) for name in left}  # small kernels cost about the same
    allowance = Allowance(effort.seconds, min(torch.get_num_threads(), max(1, len(left))), list(burdens.values()))
    with Ticker(progress, f"fit {len(left)} layers") as ticker:

        def task(name: str, contest: Contest) -> Callable[[threading.Event], Fit]:
            def run(stop: threading.Event) -> Fit:
                deadline = allowance.deadline(burdens[name])
                with (
                    torch.no_grad(),
                    threads_for(entries[name]),
                    ticker.part(name, burdens[name] / sum(burdens.values())) as part,
                ):
                    tick = Stoppable(part, stop)
                    options = SolverOptions(
                        effort.seed, 0.0, tick, effort.effort, expect=tick.expect, deadline=deadline
                    )
                    return best_format(contest.kernel, contest.field, options)

            return run

        for name, fit in side_by_side({name: task(name, contest) for name, contest in left.items()}, entries):
            fits[name] = fit
            store.add_fit(name, contests[name].kernel, fit)
    return fits


def _winners(analysis: Analysis, plan: Plan, contests: Mapping[str, Contest], fits: Mapping[str, Fit]) -> Plan:
    """Return the plan with the best form of every layer."""
    ranks, errors, kept, cost = dict(plan.ranks), dict(plan.errors), {}, plan.cost
    for name, contest in contests.items():
        own, planned = analysis.maps[name], plan.ranks[name]
        assert planned is not None
        best = min(contest.closed, key=lambda form: form[1], default=None)
        before = after = 0.0
        if plan.kind != "milliseconds":
            prices = price(analysis, plan.kind, name)
            before = float(prices.of(torch.tensor([planned]), own))
        if name in fits and (best is None or fits[name].error ** 2 < best[1]):
            kept[name], errors[name] = fits[name], fits[name].error ** 2
            after = before and cost_of(analysis, plan.kind, name, fits[name])
        elif best is not None:
            ranks[name], errors[name] = best
            after = before and float(prices.of(torch.tensor([best[0]]), own))
        cost += after - before
    error = weighed_sum(analysis, errors)
    return dataclasses.replace(plan, ranks=ranks, errors=errors, fits=kept, cost=cost, error=error)


def _extended(analysis: Analysis, offered: Offer, fits: Mapping[str, Fit]) -> Offer:
    """Return the offer with the fits as further options."""
    options, ranks = dict(offered.options), dict(offered.ranks)
    for name, fit in fits.items():
        cost = cost_of(analysis, offered.kind, name, fit)
        options[name] = Options(_appended(options[name].costs, cost), _appended(options[name].errors, fit.error**2))
        own = analysis.maps[name]
        dense = (ranks[name] == ranks[name].new_tensor([own.outputs, own.inputs])).all(1)  # it would mean no change
        smallest = torch.where(dense, math.inf, offered.options[name].costs).argmin()
        ranks[name] = torch.cat([ranks[name], ranks[name][smallest][None]])
    return dataclasses.replace(offered, options=options, ranks=ranks, fits=dict(fits))


def _appended(values: Tensor, value: float) -> Tensor:
    return torch.cat([values, values.new_tensor([value])])
