"""Where the PredRNN++ paper and its authors' code differ, as named options of the cells."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from torch import Tensor, nn

from zoo.cells.conv import SameConv2d
from zoo.errors import ZooError, nearest


@dataclass(frozen=True)
class Form:
    """One way to write the cells of PredRNN++ (Wang et al., ICML 2018) and of PredRNN.

    The defaults are the paper's equations (1)–(2); `RELEASED` is https://github.com/Yunbo426/predrnn-pp. The paper
    convolves concatenated tensors, the code convolves each tensor by itself and adds the results. Without `bias` and
    `layer_norm` these are the same.

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
        wide_w3: causal LSTM's W3 is as wide as the other convolutions instead of 1×1.
        output_reads_h: causal LSTM's output gate reads H(t-1) too; ST-LSTM's always does.
        modulation_reads_m: causal LSTM's g' reads M, like its other gates; ST-LSTM's always does.
        forget_bias: added inside the sigmoid of both forget gates.
        bias: each convolution has its own bias; else only ST-LSTM's input convolution has (our choice).
        layer_norm: the output of each k×k convolution is normalised over (C, H, W) of a clip, then scaled and shifted
            by channel (epsilon 1e-5, biased variance). 1×1 convolutions are not normalised.
        uniform: k×k weights begin uniformly within ± this; 0 for Glorot's initialiser.
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
            raise ZooError(f"uniform = {self.uniform} of a form must be finite, at least 0")


PAPER = Form()
PREDRNN = Form(forget_bias=1.0)  # ST-LSTM's own equations have it
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
    """The form of that name, with single options replaced.

    Args:
        name: "paper" or "released".
        overrides: options and their values.
        base: what a cell replaces in every form, unless `overrides` say otherwise.

    Raises:
        ZooError: no such form or option, or a value of the wrong type.

    >>> find_form("released", {"layer_norm": False}).forget_bias
    1.0
    """
    if name not in FORMS:
        raise ZooError(f"no form {name!r}; {nearest(name, FORMS)}")
    if not isinstance(overrides, Mapping | None):
        raise ZooError(f"overrides = {overrides!r} must name options and their values, such as {{'layer_norm': True}}")
    known = [field.name for field in fields(Form)]
    for option in overrides or {}:
        if option not in known:
            raise ZooError(f"a form has no option {option!r}; {nearest(option, known)}")
    return replace(FORMS[name], **{**(base or {}), **(overrides or {})})


class FormConv(nn.Module):
    """A k×k convolution with the bias, the layer norm and the first weights that a form asks for."""

    def __init__(self, inputs: int, outputs: int, kernel: int, form: Form) -> None:
        super().__init__()
        self.conv = SameConv2d(inputs, outputs, kernel, form.bias, bound=form.uniform or None)
        self.norm = nn.GroupNorm(1, outputs, eps=1e-5) if form.layer_norm else None  # one group: over C, H and W

    def forward(self, x: Tensor) -> Tensor:
        """`(N, inputs, H, W)` to `(N, outputs, H, W)`."""
        y: Tensor = self.conv(x)
        return y if self.norm is None else self.norm(y)


def pointwise(inputs: int, outputs: int, form: Form) -> SameConv2d:
    """A 1×1 convolution: no form normalises it, and in every form its first weights are Glorot's."""
    return SameConv2d(inputs, outputs, 1, form.bias)
