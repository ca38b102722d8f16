"""The arguments that `compress`, `compression_curve` and their commands share."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import torch

from tensortrain import checks
from tensortrain.compression.analysis.selection import Selector
from tensortrain.compression.budget.fitted import Admission, AnyFormat
from tensortrain.compression.budget.plan import Constraints
from tensortrain.compression.state_dicts.effort import Effort
from tensortrain.conv import formats
from tensortrain.errors import TensorTrainError

ALL = "all"


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
    if torch.is_inference_mode_enabled():
        raise TensorTrainError("in torch.inference_mode() the result could not be trained; call this outside of it")
