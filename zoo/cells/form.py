"""The differences between the PredRNN++ paper and its authors' code, as named options of the cells."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from torch import Tensor, nn

from zoo.cells.conv import SameConv2d
from zoo.errors import ZooError, nearest


@dataclass(frozen=True)
class Form:
    """A variant of the cells of PredRNN++ (Wang et al., ICML 2018) and of PredRNN.

    The defaults are the paper's equations (1)–(2). `RELEASED` is the code at https://github.com/Yunbo426/predrnn-pp.
    The paper convolves concatenated tensors. The code convolves each tensor by itself and adds the results. Without
    `bias` and `layer_norm` the two are equal.

    | option | paper | released code |
    |---|---|---|
    | `wide_w3` | W3 is 1×1 | k×k |
    | `output_reads_h` | o from X, C, M | from H(t-1) too |
    | `modulation_reads_m` | g' from X, C, M | from X, C |
    | `forget_bias` | none; ST-LSTM's is 1 | 1 |
    | `bias` | none | every convolution has one |
    | `layer_norm` | none | after each k×k convolution |
    | `uniform` | not stated: Glorot | 0.001, Glorot where 1×1 |

    Args:
        wide_w3: give W3 of the causal LSTM the kernel size of the other convolutions instead of 1×1.
        output_reads_h: let the output gate of the causal LSTM read H(t-1) too; ST-LSTM's always reads it.
        modulation_reads_m: let g' of the causal LSTM read M, as its other gates do; ST-LSTM's g' always reads it.
        forget_bias: number added inside the sigmoid of both forget gates.
        bias: give each convolution its own bias. Without it, only the input convolution of ST-LSTM has one (our
            choice).
        layer_norm: normalise the output of each k×k convolution over (C, H, W) of each clip, then scale and shift each
            channel (epsilon 1e-5, biased variance). 1×1 convolutions are not normalised.
        uniform: initialise k×k weights uniformly in [-uniform, uniform]; 0 stands for Glorot's initialiser.

    Raises:
        ZooError: if a value has the wrong type or is not finite.

    >>> Form(layer_norm=True).forget_bias
    0.0
    """

    wide_w3: bool = False
    output_reads_h: bool = False
    modulation_reads_m: bool = True
    forget_bias: float = 0.0
    bias: bool = False
    layer_norm: bool = False
    uniform: float = 0.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, bool) is not (field.type is bool) or not isinstance(value, (bool, float, int)):
                kind = "true or false" if field.type is bool else "a number"
                raise ZooError(f"{field.name} = {value!r} of a form must be {kind}")
        if not math.isfinite(self.forget_bias):
            raise ZooError(f"forget_bias = {self.forget_bias} of a form must be finite")
        if not 0 <= self.uniform < math.inf:
            raise ZooError(f"uniform = {self.uniform} of a form must be finite and at least 0")


PAPER = Form()
PREDRNN = Form(forget_bias=1.0)  # part of ST-LSTM's own equations
RELEASED = Form(
    wide_w3=True,
    output_reads_h=True,
    modulation_reads_m=False,
    forget_bias=1.0,
    bias=True,
    layer_norm=True,
    uniform=1e-3,
)
FORMS = {"paper": PAPER, "released": RELEASED}


def find_form(name: str, overrides: Mapping[str, Any] | None = None, base: Mapping[str, Any] | None = None) -> Form:
    """The form that a name stands for, with some of its options replaced.

    Args:
        name: "paper" or "released".
        overrides: replaced options and their values.
        base: options that a cell replaces in every form, unless `overrides` sets them.

    Raises:
        ZooError: if the form or an option is unknown, or a value has the wrong type.

    >>> find_form("released", {"layer_norm": False}).forget_bias
    1.0
    """
    if name not in FORMS:
        raise ZooError(f"no form {name!r}; {nearest(name, FORMS)}")
    if not isinstance(overrides, Mapping | None):
        raise ZooError(f"overrides = {overrides!r} must map options to values, such as {{'layer_norm': True}}")
    known = [field.name for field in fields(Form)]
    for option in overrides or {}:
        if option not in known:
            raise ZooError(f"a form has no option {option!r}; {nearest(option, known)}")
    return replace(FORMS[name], **{**(base or {}), **(overrides or {})})


class FormConv(nn.Module):
    """A k×k convolution with the bias, layer norm and initial weights of a form."""

    def __init__(self, inputs: int, outputs: int, kernel: int, form: Form) -> None:
        super().__init__()
        self.conv = SameConv2d(inputs, outputs, kernel, form.bias, bound=form.uniform or None)
        self.norm = nn.GroupNorm(1, outputs, eps=1e-5) if form.layer_norm else None  # one group spans C, H and W

    def forward(self, x: Tensor) -> Tensor:
        """Map `(N, inputs, H, W)` to `(N, outputs, H, W)`."""
        y: Tensor = self.conv(x)
        return y if self.norm is None else self.norm(y)


def pointwise(inputs: int, outputs: int, form: Form) -> SameConv2d:
    """A 1×1 convolution. In every form it is without a norm and has Glorot's initial weights."""
    return SameConv2d(inputs, outputs, 1, form.bias)
