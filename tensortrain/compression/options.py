"""The arguments that `compress`, `compression_curve` and their commands share."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from tensortrain import checks
from tensortrain.compression.analysis import costs
from tensortrain.compression.analysis.selection import Selector
from tensortrain.compression.budget import time_budget
from tensortrain.compression.budget.fitted import Admission, AnyFormat
from tensortrain.compression.budget.plan import Constraints
from tensortrain.compression.state_dicts.effort import Effort
from tensortrain.conv import formats
from tensortrain.errors import TensorTrainError

ALL = "all"
MEASURED = {
    "macs": "the number of multiplications",
    "milliseconds": "the time",
    "time": "the time",
}  # what the budgets count that need inputs


@dataclass(frozen=True)
class CompressionOptions:
    """The arguments of `compress` that do not depend on the budget.

    Attributes:
        constraints: the arguments `multiple`, `at_least` and `at_most`.
        admission: the formats that are fitted, and the effort of the fits.

    Raises:
        TensorTrainError: a value is out of range, or a format is unknown.
    """

    include: str | Iterable[str] = ()
    exclude: str | Iterable[str] = ()
    at_least: Mapping[str, float] | None = None
    at_most: Mapping[str, float] | None = None
    multiple: int = 1
    formats: str | Iterable[AnyFormat] | None = None
    effort: float = 1.0
    seconds: float | None = None
    objective: str = "error"
    samples: int = 1024
    output: Selector = None
    logits: bool | None = None
    seed: int = 0
    constraints: Constraints = field(init=False)
    admission: Admission = field(init=False)

    def __post_init__(self) -> None:
        effort = Effort(self.seed, self.effort, self.seconds, self.objective)
        effort.check()
        checks.integer("samples", self.samples)
        admitted = ALL if self.formats is None and self.seconds is not None else self.formats
        if self.logits is not None and not isinstance(self.logits, bool):
            raise TensorTrainError(f"logits = {self.logits!r}; True, False or None is needed")
        shares = ({} if share is None else share for share in (self.at_least, self.at_most))
        object.__setattr__(self, "constraints", Constraints(self.multiple, *shares))
        object.__setattr__(self, "admission", Admission(_named(admitted), effort))


def _named(value: str | Iterable[AnyFormat] | None) -> str | tuple[AnyFormat, ...] | None:
    """Convert the argument `formats` for `Admission`: None, "all", or a tuple.

    Raises:
        TensorTrainError: a name is unknown, or there are no formats.
    """
    if value is None or value == ALL:
        return value
    if not isinstance(value, str | formats.Format | Iterable):
        raise TensorTrainError(f"formats = {value!r}; {ALL!r}, or one or more of {', '.join(formats.NAMED)} are needed")
    several: tuple[AnyFormat, ...] = (value,) if isinstance(value, str | formats.Format) else tuple(value)
    if not several:
        raise TensorTrainError(f"formats is empty; use {ALL!r}, or at least one of {', '.join(formats.NAMED)}")
    for one in several:
        if not isinstance(one, formats.Format):
            checks.choice("formats", one, (ALL, *formats.NAMED))
    return ALL if ALL in several else several


def check_call(metric: object) -> None:
    """Check what can be checked before any work.

    Raises:
        TensorTrainError: the metric is not a function, or the result could not be trained.
    """
    if metric is not None and not callable(metric):
        raise TensorTrainError(f"metric is a {type(metric).__name__}; a function of a network is needed")
    checks.trainable_result()


def check_budget(kind: str, value: object, inputs: object) -> None:
    """Check a budget before any work.

    Args:
        kind: kind of the budget: parameters, macs, bytes, milliseconds, time or max_drop.
        value: the budget.
        inputs: the inputs of the network, or None.

    Raises:
        TensorTrainError: the value is out of range or no number, or the budget needs inputs but there are none.
    """
    if kind == "max_drop":
        if not 0 <= checks.real(value) < math.inf:
            raise TensorTrainError(f"max_drop = {value!r}; a number of at least 0 is needed, in units of the metric")
    elif kind in time_budget.KINDS:
        time_budget.checked(kind, value)
    else:
        costs.amount(kind, value, 1.0)
    if inputs is None and kind in MEASURED:
        raise TensorTrainError(f"{kind}: {MEASURED[kind]} of a layer depends on its inputs; pass inputs")


def budgets_of_curve(fractions: object, unit: str, inputs: object) -> list[object]:
    """Return the budgets of a curve as a list, and check them before any work.

    Args:
        fractions: one budget, or several.
        unit: what they count: parameters, macs or bytes.
        inputs: the inputs of the network, or None.

    Raises:
        TensorTrainError: there are no budgets, or `check_budget` refuses one of them.
    """
    if isinstance(fractions, str | bytes):
        raise TensorTrainError(f"fractions = {fractions!r}; numbers are needed, such as [0.5, 0.25]")
    budgets: list[object] = list(fractions) if checks.iterates(fractions) else [fractions]
    if not budgets:
        raise TensorTrainError("fractions is empty; at least one is needed, such as [0.5, 0.25]")
    for i, budget in enumerate(budgets):
        try:
            check_budget(unit, budget, inputs)
        except TensorTrainError as error:
            raise TensorTrainError(f"fractions[{i}]: {error}") from None
    return budgets
