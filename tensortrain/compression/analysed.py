"""A network that has been analysed, and can be compressed to one budget after the other."""

import math
from collections.abc import Sequence
from os import PathLike
from typing import Any

from torch import nn

from tensortrain.compression.analysis import costs
from tensortrain.compression.analysis.metric import Metric, measured_metric
from tensortrain.compression.analysis.network import Analysis, analyse
from tensortrain.compression.analysis.timing import LayerTimer, Timing, batch_to_time, layer_timer, time_whole
from tensortrain.compression.budget import time_budget
from tensortrain.compression.budget.build import Built, build
from tensortrain.compression.budget.fitted import with_other_forms
from tensortrain.compression.budget.plan import Offer, Plan, offer, pick
from tensortrain.compression.budget.progress import Stages
from tensortrain.compression.budget.time_budget import TimeBudget
from tensortrain.compression.options import CompressionOptions
from tensortrain.compression.reports.findings import report_on
from tensortrain.compression.result import Compressed
from tensortrain.compression.state_dicts.store import FitStore
from tensortrain.errors import TensorTrainError

SEARCH = 7  # number of bisection steps in the search for the smallest network within `max_drop`
BUILDS = 3  # largest number of times that a network is built until it is within a budget of time


class Network:
    """A network that has been analysed, and can be compressed to one budget after the other.

    Args:
        analysis: analysis of the network.
        options: options of every compression.
        metric: metric to report; None for no metric.
        stages: called with the name of the current stage.
        resume: file for finished layers, see `compress`.
    """

    def __init__(
        self,
        analysis: Analysis,
        options: CompressionOptions,
        metric: Metric | None,
        stages: Stages,
        resume: str | PathLike[str] | None = None,
    ) -> None:
        self.analysis, self.options, self.metric, self.stages = analysis, options, metric, stages
        self.resume = resume
        self.original = None if metric is None else self._value(analysis.reference, original=True)

    @classmethod
    def analysed(
        cls,
        model: object,
        inputs: Any,
        options: CompressionOptions,
        metric: Metric | None,
        stages: Stages,
        resume: str | PathLike[str] | None = None,
    ) -> "Network":
        """Analyse a network, see `analyse`.

        Raises:
            TensorTrainError: the objective needs inputs but there are none, or an error of `analyse`.
        """
        if inputs is None and options.objective != "error":
            raise TensorTrainError(
                f"objective = {options.objective!r} needs inputs, because the time of a layer depends on them; pass"
                " inputs"
            )
        analysis = analyse(
            model,
            inputs,
            include=options.include,
            exclude=options.exclude,
            samples=options.samples,
            output=options.output,
            logits=options.logits,
            seed=options.seed,
            tick=stages,
            keep_moments=options.admission.formats is not None or options.objective != "error",
        )
        return cls(analysis, options, metric, stages, resume)

    def to(self, kind: str, value: object) -> Compressed:
        """Compress the network to one budget.

        Args:
            kind: kind of the budget: parameters, macs, bytes, milliseconds or time.
            value: the budget, as in `compress`.
        """
        if kind in time_budget.KINDS:
            return self._in_time(TimeBudget(self.analysis, kind, value, self.options.constraints, self.stages))
        return self.to_each(kind, [value])[0]

    def to_each(self, kind: str, values: Sequence[object]) -> list[Compressed]:
        """Compress the network to several budgets of the same kind. All are planned before the first network is built.

        Args:
            kind: kind of the budgets: parameters, macs or bytes.
            values: the budgets, as in `compress`.

        Raises:
            TensorTrainError: one of the budgets cannot be reached.
        """
        self.stages("allocation")
        offered = offer(self.analysis, kind, self.options.constraints)
        plans = [pick(self.analysis, offered, costs.amount(kind, value, offered.total)) for value in values]
        return [self._of(plan, offered) for plan in plans]

    def _of(self, plan: Plan, offered: Offer) -> Compressed:
        """Return the network of a plan with its report."""
        plan, built = self._built(plan, offered, None)
        if self.analysis.measured is None:
            return self._reported(plan, built, None)
        self.stages("timing")
        timer = layer_timer(self.analysis, batch_to_time(self.analysis))
        return self._reported(plan, built, Timing(timer, time_whole(self.analysis, built.model, timer.batch)))

    def _in_time(self, budget: TimeBudget) -> Compressed:
        """Compress the network to a budget of time.

        If the network misses the budget when it is built, another one is planned for less time.
        """
        for build_number in range(1, BUILDS + 1):
            plan, built = self._built(budget.plan(), None, budget.timer)
            race = budget.timed(built.model)
            if build_number == BUILDS or not budget.tightened(race):
                break
        return self._reported(plan, built, Timing(budget.timer, race, budget.missed(race)))

    def _built(self, plan: Plan, offered: Offer | None, timer: LayerTimer | None) -> tuple[Plan, Built]:
        """Build the network of a plan, and return it with the plan, in which other forms may have replaced some."""
        store = None
        if self.options.admission.formats is not None or self.options.objective != "error":
            store = self._store(plan)
            plan = self._with_other_forms(plan, offered, timer, store)
        built = build(self.analysis, plan, self.stages, self.resume)
        if store is not None:
            store.remove()
        return plan, built

    def _reported(self, plan: Plan, built: Built, timing: Timing | None) -> Compressed:
        """Return the network with its report."""
        values = None if self.original is None else (self.original, self._value(built.model))
        report = report_on(self.analysis, plan, built, values, timing, self.stages)
        return Compressed.of(built.in_original_mode(), report, self.analysis.model)

    def _store(self, plan: Plan) -> FitStore:
        """Return the store of finished fits, in a file beside that of the finished layers."""
        if self.resume is None:
            return FitStore(None, None)
        measured = self.analysis.measured
        inputs = None if measured is None else measured.digest
        planned = [dict(self.analysis.reference.state_dict()), inputs, list(plan.ranks.items()), plan.kind]
        return FitStore(f"{self.resume}.fits", [*planned, repr(self.options.admission)])

    def _with_other_forms(self, plan: Plan, offered: Offer | None, timer: LayerTimer | None, store: FitStore) -> Plan:
        """Return the plan with fitted chains and faster forms, as the options request."""
        self.stages("formats")
        self.stages.pause()
        if timer is None and self.options.objective != "error":
            timer = layer_timer(self.analysis, batch_to_time(self.analysis))
        return with_other_forms(
            self.analysis,
            plan,
            offered,
            self.options.admission,
            self.options.constraints,
            timer,
            store,
            self.stages.shown,
        )

    def _value(self, model: nn.Module, *, original: bool = False) -> float:
        """Compute the metric of a network, see `measured_metric`."""
        assert self.metric is not None
        self.stages("metric")
        return measured_metric(self.metric, model, original=original)

    def within(self, max_drop: float) -> Compressed:
        """Find the smallest network, within the accuracy of the search, whose metric falls by at most `max_drop`.

        Args:
            max_drop: largest drop of the metric.

        Raises:
            TensorTrainError: the metric falls by more, or is not finite, even if the network keeps nearly all
                parameters.
        """
        assert self.original is not None
        smallest = offer(self.analysis, "parameters", self.options.constraints)
        low, high, best = smallest.least / smallest.total, 1.0, None
        values: list[float] = []
        for _ in range(SEARCH):
            fraction = (low + high) / 2
            result = self.to("parameters", fraction)
            assert result.report.metric is not None
            values.append(result.report.metric[1])
            if math.isfinite(values[-1]) and values[-1] >= self.original - max_drop:
                best, high = result, fraction
            else:
                low = fraction
        if best is None:
            addition = "" if all(map(math.isfinite, values)) else " or is not finite"
            raise TensorTrainError(
                f"max_drop = {max_drop!r} cannot be reached: in all {SEARCH} networks that were tried, of up to"
                f" {low:.0%} of the parameters, the metric falls by more{addition}; allow a larger drop"
            )
        return best
