"""Convolution layers with a convolutional tensor train as kernel, which replace `nn.Conv*d` and `nn.ConvTranspose*d`.

A layer is a list of plain convolutions; the first one is nearest to the output. The forward pass only runs these
convolutions from the last to the first. When the layer is built, the stride, padding, dilation and groups of the dense
convolution are distributed among them. The result then equals that of the dense convolution everywhere, also at the
border, and no step computes pixels that no later step reads.
"""

import math
from collections.abc import Sequence
from typing import Any, ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch.nn.utils import parametrize

from tensortrain import checks
from tensortrain.conv import formats, functional
from tensortrain.conv.conv_tensor_train import ConvTensorTrain
from tensortrain.errors import TensorTrainError
from tensortrain.nn.from_cores import FromCores, summary
from tensortrain.nn.padding import Axes, stride_cores, strides_and_paddings

PADDING_MODES = ("zeros", "reflect", "replicate", "circular")


def _plain(
    conv_type: type[Any], channels: tuple[int, int], weight: Tensor, bias: Tensor | None, **settings: Any
) -> Any:
    """Return a plain convolution with copies of the parameters, built on the meta device without random numbers."""
    module = conv_type(*channels, tuple(weight.shape[2:]), bias=bias is not None, device="meta", **settings)
    for name, value in (("weight", weight), ("bias", bias)):
        if value is not None:
            setattr(module, name, nn.Parameter(value.detach().clone(memory_format=torch.contiguous_format)))
    return module


class _ConvTT(FromCores):
    """Base class of the six layers.

    `weight` and `bias` are those of the dense convolution, for code that reads them. `weight` is `(out, in / G, *K)`,
    or `(in, out / G, *K)` if transposed. Each access computes it from the cores, with `Σ_l R_{l-1} R_l R_m k_l K_l`
    multiplications over l < m. Here k_l is the number of positions in core l, and K_l the number in the kernel of all
    later cores. Groups divide the number of multiplications.

    Attributes:
        cores: the plain convolutions, output side first; the bias of the layer is that of `cores[0]`.
        groups: number of groups of the whole convolution.
        error: relative error of the decomposition from which the layer was built; None if there was none. Training does
            not update it.
    """

    plain: ClassVar[type[_ConvNd]]
    axes: ClassVar[int]
    transposed: ClassVar[bool]

    derived = ("weight", "bias")

    cores: Any  # an nn.ModuleList of plain convs
    stride: Axes
    dilation: Axes

    def _build(self, chain: ConvTensorTrain, bias: Tensor | None, padding: Axes, **settings: Sequence[Any]) -> None:
        """Create the cores and the attributes of all layers; `settings` hold further arguments for each core."""
        self.in_channels, self.out_channels = chain.in_channels, chain.out_channels
        self.kernel_size, self.ranks = chain.kernel_size, chain.ranks
        self.groups = chain.conv_groups
        self.error = chain.error
        strides, paddings = strides_and_paddings(chain, self.stride, padding, self.dilation)
        checks.bias(bias, self.out_channels, chain.cores[0])
        self.cores = nn.ModuleList(
            _plain(
                self.plain,
                (chain.ranks[l + 1], chain.ranks[l]),
                core,
                bias if l == 0 else None,
                stride=strides[l],
                padding=paddings[l],
                dilation=self.dilation,
                groups=chain.groups[l],
                **{name: values[l] for name, values in settings.items()},
            )
            for l, core in enumerate(chain.cores)
        )

    def _check_chain(self, chain: ConvTensorTrain) -> None:
        """Refuse a chain of another type, number of axes, direction or dtype."""
        if not isinstance(chain, ConvTensorTrain):
            raise TensorTrainError(
                f"chain is a {type(chain).__name__}; a ConvTensorTrain is needed: ConvTensorTrain.decompose(weight, …),"
                f" or {type(self).__name__}.from_conv(conv, …)"
            )
        if len(chain.kernel_size) != self.axes or chain.transposed != self.transposed:
            raise TensorTrainError(
                f"chain has a {'transposed ' if chain.transposed else ''}kernel of {len(chain.kernel_size)} axes;"
                f" {type(self).__name__} needs a {'transposed ' if self.transposed else ''}kernel of {self.axes}"
            )
        if not chain.dtype.is_floating_point:
            raise TensorTrainError(f"chain has dtype {chain.dtype}; layers need real floating weights")

    @classmethod
    def from_conv(
        cls,
        conv: _ConvNd,
        kernel_sizes: str | Sequence[int | Sequence[int]] | formats.Format = "auto",
        *,
        ranks: int | Sequence[int] | None = None,
        rtol: float | None = None,
        max_parameters: int | None = None,
        budget: float | None = None,
        seed: int = 0,
        progress: bool | None = None,
    ) -> Self:
        """Return the layer that replaces `conv`, with its kernel decomposed by `ConvTensorTrain.decompose`.

        The layer has the stride, padding (also as a string or with a mode), dilation, groups, output padding, bias,
        dtype, device, `requires_grad` and training mode of `conv`.

        Args:
            conv: the plain convolution.
            kernel_sizes, ranks, rtol, max_parameters, budget, seed, progress: arguments of `ConvTensorTrain.decompose`.

        Raises:
            TensorTrainError: the module is not a plain convolution of this kind, or `ConvTensorTrain.decompose` fails.

        >>> conv = nn.Conv2d(4, 3, 5, stride=2, padding=2)
        >>> layer = ConvTT2d.from_conv(conv, (3, 3), ranks=12)   # 4·min(3, 4): exact
        >>> x = torch.randn(1, 4, 9, 9)
        >>> torch.allclose(layer(x), conv(x), atol=1e-5)
        True
        """
        cls.check(conv)
        chain = ConvTensorTrain.decompose(
            conv.weight.detach(),
            kernel_sizes,
            ranks=ranks,
            rtol=rtol,
            max_parameters=max_parameters,
            budget=budget,
            groups=conv.groups,
            transposed=cls.transposed,
            seed=seed,
            progress=progress,
        )
        return cls.like(conv, chain)

    @classmethod
    def like(cls, conv: _ConvNd, chain: ConvTensorTrain) -> Self:
        """Return the layer with the kernel `chain` and all other attributes of `conv`.

        Args:
            conv: the plain convolution.
            chain: the kernel; its cores are copied.

        Raises:
            TensorTrainError: the module is not a plain convolution of this kind, or the chain has other channels or
                another kernel size.

        >>> conv = nn.Conv2d(4, 3, 5, stride=2, padding=2)
        >>> chain = ConvTensorTrain([torch.ones(3, 2, 3, 3), torch.ones(2, 4, 3, 3)])
        >>> ConvTT2d.like(conv, chain).stride
        (2, 2)
        """
        cls.check(conv)
        sizes = (chain.out_channels, chain.in_channels, chain.kernel_size)
        needed = (conv.out_channels, conv.in_channels, tuple(conv.kernel_size))
        if sizes != needed or chain.conv_groups % conv.groups:
            raise TensorTrainError(
                f"chain has (out, in, kernel) {sizes} and {chain.conv_groups} groups; the conv has"
                f" {needed} and {conv.groups}"
            )
        layer = cls(chain.to(conv.weight), conv.bias, **cls._settings(conv))
        layer.groups = conv.groups
        for core in layer.cores:
            core.weight.requires_grad_(conv.weight.requires_grad)
        if conv.bias is not None:
            layer.cores[0].bias.requires_grad_(conv.bias.requires_grad)
        return layer.train(conv.training)

    @classmethod
    def check(cls, conv: _ConvNd) -> None:
        """Refuse a module that the layer could not replace exactly.

        Raises:
            TensorTrainError: the module has another type, its own `forward`, hooks, parametrizations or further
                tensors, or no floating weight.
        """
        name = type(conv).__name__
        if not isinstance(conv, cls.plain):
            raise TensorTrainError(f"conv is a {name}; {cls.__name__} replaces nn.{cls.plain.__name__} only")
        if nn.parameter.is_lazy(conv.weight):
            raise TensorTrainError(f"conv is a {name} without a weight; run it once on an input first")
        if parametrize.is_parametrized(conv):
            raise TensorTrainError(
                "conv is parametrized, and the layer would lose that; first apply"
                ' torch.nn.utils.parametrize.remove_parametrizations(conv, "weight")'
            )
        if checks.has_own_forward(conv, cls.plain):
            raise TensorTrainError(
                f"conv is a {name} with its own forward; decompose its weight with ConvTensorTrain.decompose"
                f" and build {cls.__name__}(chain, bias, …) from the result"
            )
        if checks.has_hooks(conv):
            raise TensorTrainError(
                "conv has hooks, perhaps of weight_norm or pruning, and the layer would lose them; remove them first"
            )
        checks.no_additions("conv", conv)
        if not conv.weight.is_floating_point():
            raise TensorTrainError(f"conv.weight has dtype {conv.weight.dtype}; layers need real floating weights")

    @staticmethod
    def _settings(conv: Any) -> dict[str, Any]:
        """Return keyword arguments for the constructor of a layer or convolution that behaves like `conv`."""
        raise NotImplementedError

    @property
    def chain(self) -> ConvTensorTrain:
        """Return the current kernel; its cores are the parameters themselves, not copies."""
        return ConvTensorTrain(
            [core.weight for core in self.cores],
            groups=[core.groups for core in self.cores],
            transposed=self.transposed,
        )

    def _rebuild(self) -> Tensor:
        """Return the dense weight in the layout of the plain convolution."""
        groups = [core.groups for core in self.cores]
        kernel = functional.reconstruct([core.weight for core in self.cores], groups, self.transposed)
        return functional.ungroup(kernel, math.gcd(*groups), self.groups)

    @property
    def bias(self) -> nn.Parameter | None:
        """Return the bias `(out_channels,)`, which is the parameter `cores.0.bias`, or None."""
        bias: nn.Parameter | None = self.cores[0].bias
        return bias

    @property
    def weight_shape(self) -> Axes:
        """Return the shape of the dense weight: `(out, in / groups, *K)`, or `(in, out / groups, *K)` if transposed."""
        channels = (self.out_channels, self.in_channels)
        first, second = channels[::-1] if self.transposed else channels
        return first, second // self.groups, *self.kernel_size

    def merge(self) -> Any:
        """Return one plain convolution with the kernel of the whole chain and all attributes of the layer.

        >>> ConvTT1d(ConvTensorTrain([torch.ones(2, 4, 3), torch.ones(4, 2, 3)]), padding="same").merge()
        Conv1d(2, 2, kernel_size=(5,), stride=(1,), padding=same, bias=False)
        """
        with torch.no_grad():
            weight = self.weight
        first = self.cores[0]
        channels = (self.in_channels, self.out_channels)
        conv = _plain(self.plain, channels, weight, first.bias, groups=self.groups, **self._settings(self))
        conv.weight.requires_grad_(first.weight.requires_grad)
        if first.bias is not None:
            conv.bias.requires_grad_(first.bias.requires_grad)
        return conv.train(self.training)

    def extra_repr(self) -> str:
        """Return the shape and ranks of the chain, the settings of the convolution, the parameters and the error."""
        settings = "".join(f", {name}={value!r}" for name, value in self._settings(self).items())
        return (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size},"
            f" ranks={self.ranks}{settings}, groups={self.groups}{summary(self, math.prod(self.weight_shape))}"
        )


class _ForwardConvTT(_ConvTT):
    """A convolution; `padding` may be a string and has a mode."""

    transposed = False

    @property
    def output_padding(self) -> Axes:
        """Return zero for each axis, as for plain convolutions."""
        return (0,) * self.axes

    def __init__(
        self,
        chain: ConvTensorTrain,
        bias: Tensor | None = None,
        *,
        stride: int | Sequence[int] = 1,
        padding: str | int | Sequence[int] = 0,
        dilation: int | Sequence[int] = 1,
        padding_mode: str = "zeros",
    ) -> None:
        super().__init__()
        self._check_chain(chain)
        self.stride = checks.per_axis("stride", stride, self.axes)
        self.dilation = checks.per_axis("dilation", dilation, self.axes)
        self.padding = (
            checks.choice("padding", padding, ("same", "valid"))
            if isinstance(padding, str)
            else checks.per_axis("padding", padding, self.axes, minimum=0)
        )
        self.padding_mode = checks.choice("padding_mode", padding_mode, PADDING_MODES)
        if padding == "same" and max(self.stride) > 1:
            raise TensorTrainError(f'padding = "same" needs stride 1, not {self.stride}; give the padding as integers')
        before, after = self._total_padding(chain.kernel_size)
        # zeros that are the same on both sides are distributed among the cores; all other padding is added before them
        shared = before if padding_mode == "zeros" else (0,) * self.axes
        first = [side for b, a, s in zip(before, after, shared, strict=True) for side in (a - s, b - s)]
        self._first_padding = first[::-1] if any(first) else None
        self._first_mode = "constant" if padding_mode == "zeros" else padding_mode
        self._build(chain, bias, shared)

    def _total_padding(self, kernel_size: Axes) -> tuple[Axes, Axes]:
        """Return the padding before and after each axis."""
        if self.padding == "valid":
            return (0,) * self.axes, (0,) * self.axes
        if isinstance(self.padding, tuple):
            return self.padding, self.padding
        reach = [d * (k - 1) for d, k in zip(self.dilation, kernel_size, strict=True)]
        return tuple(e // 2 for e in reach), tuple(e - e // 2 for e in reach)

    @staticmethod
    def _settings(conv: Any) -> dict[str, Any]:
        """Return the keyword arguments that make a layer or plain convolution behave like `conv`."""
        return {name: getattr(conv, name) for name in ("stride", "padding", "dilation", "padding_mode")}

    def forward(self, input: Tensor) -> Tensor:
        """Convolve `(B, in_channels, *size)`, or the same without B, to `(B, out_channels, *output_size)`."""
        if self._first_padding is not None:
            input = F.pad(input, self._first_padding, self._first_mode)
        for core in reversed(self.cores._modules.values()):
            input = core(input)
        return input


class _TransposedConvTT(_ConvTT):
    """A transposed convolution; `padding` crops the result and `output_padding` extends it."""

    transposed = True
    padding_mode = "zeros"

    def __init__(
        self,
        chain: ConvTensorTrain,
        bias: Tensor | None = None,
        *,
        stride: int | Sequence[int] = 1,
        padding: int | Sequence[int] = 0,
        output_padding: int | Sequence[int] = 0,
        dilation: int | Sequence[int] = 1,
    ) -> None:
        super().__init__()
        self._check_chain(chain)
        self.stride = checks.per_axis("stride", stride, self.axes)
        self.dilation = checks.per_axis("dilation", dilation, self.axes)
        self.padding = checks.per_axis("padding", padding, self.axes, minimum=0)
        self.output_padding = checks.per_axis("output_padding", output_padding, self.axes, minimum=0)
        for axis, (extra, s, d) in enumerate(zip(self.output_padding, self.stride, self.dilation, strict=True)):
            if extra >= max(s, d):
                raise TensorTrainError(
                    f"output_padding[{axis}] = {extra}; it must be less than {max(s, d)}, the larger of stride and"
                    " dilation"
                )
        # the step with the stride appends `output_padding`; in every later step these zeros stay zeros
        self._stride_cores = stride_cores(chain, self.stride)
        extras = [
            tuple(e if at == l else 0 for e, at in zip(self.output_padding, self._stride_cores, strict=True))
            for l in range(chain.order)
        ]
        self._build(chain, bias, self.padding, output_padding=extras)

    @staticmethod
    def _settings(conv: Any) -> dict[str, Any]:
        """Return the keyword arguments that make a layer or plain convolution behave like `conv`."""
        return {name: getattr(conv, name) for name in ("stride", "padding", "output_padding", "dilation")}

    def forward(self, input: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        """Convolve `(B, in_channels, *size)`, or the same without B, to `(B, out_channels, *output_size)`.

        A stride allows several output sizes. `output_size` selects one of them and replaces `output_padding`.

        Args:
            input: the input, `(B, in_channels, *size)`, or without B.
            output_size: one of the output sizes that the stride allows, or None.
        """
        if output_size is not None:
            for core, size in zip(reversed(self.cores), self._step_sizes(input, output_size), strict=True):
                input = core(input, size)
            return input
        for core in reversed(self.cores._modules.values()):
            input = core(input)
        return input

    def _step_sizes(self, input: Tensor, output_size: Sequence[int]) -> list[list[int]]:
        """Return the output size of each step, from the first to the last, whose size is `output_size`.

        The sizes are computed backwards from the last step to the step with the stride.

        Raises:
            TensorTrainError: `output_size` has neither one entry for each axis nor one for each axis of the output.
        """
        if len(output_size) not in (self.axes, input.dim()):
            raise TensorTrainError(
                f"output_size = {list(output_size)} must have {self.axes} entries, or one for each axis of the output"
            )
        size, wanted = input.shape[-self.axes :], list(output_size[-self.axes :])
        sizes = []
        for l, core in enumerate(self.cores):
            sizes.append(list(wanted))
            for axis, (k, d, p) in enumerate(zip(core.kernel_size, core.dilation, core.padding, strict=True)):
                wanted[axis] = size[axis] if self._stride_cores[axis] == l else wanted[axis] + 2 * p - d * (k - 1)
        return sizes[::-1]


class ConvTT1d(_ForwardConvTT):
    """`nn.Conv1d` with a convolutional tensor train as kernel; see `ConvTT2d`.

    >>> layer = ConvTT1d(ConvTensorTrain([torch.ones(8, 4, 3), torch.ones(4, 3, 3)]), padding="same")
    >>> layer(torch.zeros(1, 3, 32)).shape
    torch.Size([1, 8, 32])
    """

    plain, axes = nn.Conv1d, 1


class ConvTT2d(_ForwardConvTT):
    """`nn.Conv2d` with a convolutional tensor train as kernel.

    `ConvTT2d.from_conv` builds a layer from a plain convolution. The state dict contains `cores.{l}.weight`, where the
    core 0 is nearest to the output, and `cores.0.bias`.

    Args:
        chain: the kernel, not transposed; its cores are copied.
        bias: the bias, `(out_channels,)`, or None.
        stride, padding, dilation, padding_mode: arguments of `nn.Conv2d`; `padding` may also be `"same"` or `"valid"`.

    Raises:
        TensorTrainError: the chain is of another kind, or `nn.Conv2d` would not accept an argument.

    >>> chain = ConvTensorTrain([torch.ones(8, 4, 3, 3), torch.ones(4, 3, 3, 3)])
    >>> layer = ConvTT2d(chain, stride=2, padding=2)
    >>> layer(torch.zeros(1, 3, 32, 32)).shape, [core.padding for core in layer.cores]
    (torch.Size([1, 8, 16, 16]), [(0, 0), (2, 2)])
    """

    plain, axes = nn.Conv2d, 2


class ConvTT3d(_ForwardConvTT):
    """`nn.Conv3d` with a convolutional tensor train as kernel; see `ConvTT2d`.

    >>> layer = ConvTT3d(ConvTensorTrain([torch.ones(8, 4, 3, 1, 1), torch.ones(4, 3, 1, 3, 3)]))
    >>> layer(torch.zeros(1, 3, 8, 8, 8)).shape
    torch.Size([1, 8, 6, 6, 6])
    """

    plain, axes = nn.Conv3d, 3


class ConvTransposeTT1d(_TransposedConvTT):
    """`nn.ConvTranspose1d` with a convolutional tensor train as kernel; see `ConvTransposeTT2d`."""

    plain, axes = nn.ConvTranspose1d, 1


class ConvTransposeTT2d(_TransposedConvTT):
    """`nn.ConvTranspose2d` with a convolutional tensor train as kernel.

    Args:
        chain: the kernel, transposed; its cores are copied.
        bias: the bias, `(out_channels,)`, or None.
        stride, padding, output_padding, dilation: arguments of `nn.ConvTranspose2d`.

    Raises:
        TensorTrainError: the chain is of another kind, or `nn.ConvTranspose2d` would not accept an argument.

    >>> chain = ConvTensorTrain([torch.ones(4, 8, 3, 3), torch.ones(3, 4, 3, 3)], transposed=True)
    >>> layer = ConvTransposeTT2d(chain, stride=2, padding=2, output_padding=1)
    >>> layer(torch.zeros(1, 3, 16, 16)).shape
    torch.Size([1, 8, 32, 32])
    """

    plain, axes = nn.ConvTranspose2d, 2


class ConvTransposeTT3d(_TransposedConvTT):
    """`nn.ConvTranspose3d` with a convolutional tensor train as kernel; see `ConvTransposeTT2d`."""

    plain, axes = nn.ConvTranspose3d, 3
