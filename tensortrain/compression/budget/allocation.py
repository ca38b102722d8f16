"""Share a budget among the layers of a network so that the sum of their errors is smallest.

Each layer has several options, which are pairs of a cost and an error, and one option of each layer must be chosen.
This is the multiple-choice knapsack problem. Its linear relaxation, in which a layer may mix two options, is solved
exactly: the steepest steps along the lower convex hulls are made first. If a step exceeds the budget, the integer
solution leaves it out, and the remaining budget is filled with steps that still fit. The optimum of the relaxation is a
lower bound for every choice.
"""

import itertools
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from tensortrain.errors import TensorTrainError

TIE = 1e-12  # errors fall by this share of the relative cost, so that the larger rank wins among equal errors


@dataclass(frozen=True)
class Options:
    """The options of one layer.

    Attributes:
        costs: `(n,)`, float64.
        errors: `(n,)`, float64.
    """

    costs: Tensor
    errors: Tensor

    def efficient(self) -> list[tuple[float, float, int]]:
        """Return the options that no other option beats in both cost and error, from the cheapest to the most accurate.

        Each is a tuple of its cost, its error and its index.
        """
        costs = self.costs.tolist()
        values = (self.errors - TIE * self.costs / (float(self.costs.max()) or 1.0)).tolist()
        order = sorted(range(len(costs)), key=lambda i: (costs[i], values[i]))
        kept: list[tuple[float, float, int]] = []
        for i in order:
            if not kept or values[i] < kept[-1][1]:
                kept.append((costs[i], values[i], i))
        return kept


@dataclass(frozen=True)
class Allocation:
    """A choice of one option for every layer.

    Attributes:
        choices: the index of the chosen option, by the name of the layer.
        cost: the sum of the costs.
        error: the sum of the errors.
        bound: lower bound of the sum of the errors for all choices within the budget.
    """

    choices: dict[str, int]
    cost: float
    error: float
    bound: float


def allocate(options: Mapping[str, Options], budget: float) -> Allocation:
    """Choose one option for each layer so that the sum of the errors is small and the costs are within a budget.

    The sum of the errors exceeds the smallest possible one by at most `error - bound` of the result.

    Args:
        options: the options of each layer.
        budget: largest sum of the costs.

    Raises:
        TensorTrainError: even the cheapest options exceed the budget.

    >>> import torch
    >>> costs, errors = torch.tensor([1.0, 2, 4]), torch.tensor([0.5, 0.2, 0])
    >>> result = allocate({"a": Options(costs, errors), "b": Options(costs, 2 * errors)}, budget=6)
    >>> result.choices, result.cost, round(result.error, 3), round(result.bound, 3)
    ({'a': 1, 'b': 2}, 6.0, 0.2, 0.2)
    """
    efficient = {name: option.efficient() for name, option in options.items()}
    hulls = {name: _lower_hull(points) for name, points in efficient.items()}
    present = {name: hull[0] for name, hull in hulls.items()}
    cost = sum(point[0] for point in present.values())
    if cost > budget:
        raise TensorTrainError(
            f"the cheapest forms of all layers together cost {cost:,.0f}, but the budget is {budget:,.0f}; raise it"
        )
    slope, stopped = 0.0, set()
    steps = [(_slope(a, b), name, b) for name, hull in hulls.items() for a, b in itertools.pairwise(hull)]
    for steepness, name, point in sorted(steps, key=lambda step: step[0]):
        if name in stopped:
            continue
        if cost + point[0] - present[name][0] > budget:
            slope = slope or steepness  # the first step that does not fit sets the price of the budget
            stopped.add(name)
        else:
            cost += point[0] - present[name][0]
            present[name] = point
    bound = sum(min(e - slope * c for c, e, _ in hull) for hull in hulls.values()) + slope * budget
    _fill(present, efficient, budget - cost)
    choices = {name: point[2] for name, point in present.items()}
    return Allocation(
        choices,
        sum(float(options[name].costs[i]) for name, i in choices.items()),
        sum(float(options[name].errors[i]) for name, i in choices.items()),
        max(0.0, bound),
    )


def _lower_hull(points: list[tuple[float, float, int]]) -> list[tuple[float, float, int]]:
    """Return the options on the lower convex hull of error over cost."""
    hull: list[tuple[float, float, int]] = []
    for point in points:
        while len(hull) > 1 and _slope(hull[-2], hull[-1]) >= _slope(hull[-1], point):
            hull.pop()
        hull.append(point)
    return hull


def _slope(a: tuple[float, float, int], b: tuple[float, float, int]) -> float:
    return (b[1] - a[1]) / (b[0] - a[0])


def _fill(
    present: dict[str, tuple[float, float, int]], efficient: Mapping[str, list[tuple[float, float, int]]], left: float
) -> None:
    """Make the steps that gain most for their cost, until no step fits into the remaining budget."""
    costs = {name: [point[0] for point in points] for name, points in efficient.items()}
    while True:
        steps = []
        for name, points in efficient.items():
            here = present[name][0]
            within = slice(bisect_right(costs[name], here), bisect_right(costs[name], here + left))
            steps += [(_slope(present[name], point), name, point) for point in points[within]]
        if not steps:
            return
        _, name, point = min(steps, key=lambda step: step[0])
        left -= point[0] - present[name][0]
        present[name] = point
