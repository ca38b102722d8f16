"""`ConvTensorTrain`: a convolution kernel as a chain of smaller kernels (CTTD, eq. 4 of the Conv-TT-LSTM paper)."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from tensortrain import checks, plots, storage
from tensortrain.conv import formats, functional
from tensortrain.conv.chain_shape import ChainShape
from tensortrain.conv.checks import check_cores, check_inputs
from tensortrain.conv.planner import Plan, plan
from tensortrain.errors import TensorTrainError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from tensortrain.conv.certify.certificate import Certificate
    from tensortrain.conv.fit.progress import Follower

_ERRORS = ("error", "upper_bound", "lower_bound", "data_error", "data_lower_bound")
_STORED = ("groups", "transposed", *_ERRORS)  # besides the cores


@dataclass(frozen=True, init=False, eq=False, repr=False)
class ConvTensorTrain(ChainShape):
    """An immutable chain of convolution cores with `W = T(1) * T(2) * … * T(m)`.

    `cores[l - 1]` is T(l), a conv weight `(R_{l-1}, R_l / g_l, *k_l)`: R_0 output channels, R_m input
    channels, `g_l` groups, one length `k_l` for each of 1, 2 or 3 spatial axes. The composed kernel has
    `K = Σ_l (k_l - 1) + 1` on each axis. With `transposed=True` the cores are weights of transposed
    convolutions, `(R_l, R_{l-1} / g_l, *k_l)`. It is a pytree whose leaves are the cores.

    Args:
        cores: the cores, output side first.
        groups: groups of each core; by default what its neighbour's rank implies, 1 for the last, or the first if
            transposed.
        transposed: whether W is the kernel of a transposed convolution.

    Attributes:
        error: relative Frobenius error against the kernel that was decomposed; None if built from cores.
        upper_bound: an error that the first, closed-form fit certainly reaches (sweep bound); None likewise.
        lower_bound: an error that no chain of these ranks can go below (Fourier bound); None likewise.
        data_error: relative error in the metric of the data, if it was fitted in that.
        data_lower_bound: what no chain of these ranks can go below in that metric; equal to it if the chain is optimal.

    Raises:
        TensorTrainError: shapes, ranks or groups that do not fit each other.

    >>> chain = ConvTensorTrain([torch.ones(4, 2, 3, 3), torch.ones(2, 8, 3, 3)])
    >>> chain.ranks, chain.kernel_size, chain.n_parameters, chain.reconstruct().shape
    ((4, 2, 8), (5, 5), 216, torch.Size([4, 8, 5, 5]))
    """

    def __init__(
        self,
        cores: Iterable[Tensor],
        *,
        groups: Sequence[int] | None = None,
        transposed: bool = False,
        error: float | None = None,
        upper_bound: float | None = None,
        lower_bound: float | None = None,
        data_error: float | None = None,
        data_lower_bound: float | None = None,
    ) -> None:
        cores = checks.listed("cores", cores)
        _set(self, cores=cores, transposed=bool(transposed), error=error, upper_bound=upper_bound)
        _set(self, data_error=data_error, data_lower_bound=data_lower_bound)
        _set(self, lower_bound=lower_bound, groups=check_cores(cores, groups, transposed))

    @classmethod
    def decompose(
        cls,
        weight: Tensor,
        kernel_sizes: str | Sequence[int | Sequence[int]] | formats.Format = "auto",
        *,
        ranks: int | Sequence[int] | None = None,
        rtol: float | None = None,
        max_parameters: int | None = None,
        budget: float | None = None,
        groups: int = 1,
        transposed: bool = False,
        inputs: Tensor | None = None,
        seed: int = 0,
        effort: float = 1.0,
        seconds: float | None = None,
        objective: str = "error",
        size: int | Sequence[int] | None = None,
        progress: "bool | Follower | None" = None,
    ) -> "ConvTensorTrain":
        """Decompose any convolution kernel.

        At least one of `ranks`, `rtol`, `max_parameters` and `budget` must be given, and all that are given hold
        together. With `rtol`, the smallest ranks on a path of growing ones are used that reach it; without, the ranks
        grow until another limit stops them. The result carries its error and two bounds on it.

        Args:
            weight: `(out, in / groups, *K)`, or `(in, out / groups, *K)` if `transposed`; real, any dtype.
            kernel_sizes: core sizes, output side first, each an int or one for each axis, with
                `Σ_l (k_l - 1) + 1 = K`; the name of a format such as `"tucker2"` (see `tt.formats`), or a
                `tt.formats.Format` of your own; or `"auto"`, which chooses sizes, groups and ranks.
            ranks: caps on the m - 1 interior ranks, totals over all groups; one int is a cap on each.
            rtol: relative Frobenius tolerance in [0, 1).
            max_parameters: cap on stored entries.
            budget: the same cap as a fraction of the entries of the kernel.
            groups: groups of the convolution that `weight` belongs to.
            transposed: whether that is a transposed convolution.
            inputs: what the convolution reads, for a fit of what it computes instead of its weights: the error
                `‖(W - Ŵ) Σ^½‖ / ‖W Σ^½‖` is that of the outputs. Σ = E[x xᵀ] of the patches, `(G, d, d)` or, without
                groups, `(d, d)`, d = in / G · Π K, ordered as `weight.flatten(1)`: see `tt.second_moment`, which knows
                strides, paddings and dilations. Or samples `(N, in, *size)`, for Σ over all their patches without
                padding; of a transposed convolution Σ belongs to the convolution that it amounts to. `rtol` is then a
                tolerance in this metric, `data_error` the error in it, `error` still that of the weights.
            seed: random seed of the starts; equal seeds give equal results.
            effort: factor on the work that a fit may take. Work is counted in steps and multiplications, not in
                seconds, so that results do not depend on the machine or its load. 0.1 gives a first impression; 5 to
                20 pay for kernels of a million entries and more, whose fits end before they have converged.
            seconds: a limit on the time as well. Solvers begin no further step after it, and with "auto" no further
                format; the best chain so far is the result, which therefore depends on the machine.
            objective: by what "auto" chooses among formats at equal parameters: "error", the least error; "speed", the
                fastest on this machine; "both", the least error among those that are faster than the dense kernel, or
                else the fastest. Chains are timed in alternation before they are fitted; the result then depends on
                the machine.
            size: of the images that they are timed on, per axis; by default 32, or the kernel's own where it is longer.
            progress: True shows a progress bar, False nothing. By default a bar appears on a terminal if it takes
                long; elsewhere a decomposition of more than 15 s says on the standard error how long it will take.
                Or a `Follower`, which several decompositions may share.

        Raises:
            TensorTrainError: an argument out of range, caps below the smallest chain, or a tolerance that
                the caps do not allow (the message says what was achieved).

        Two cores of 3×3 for a 5×5 kernel; at rank 24 = 4·min(8, 6) they reproduce every kernel exactly:

        >>> weight = torch.randn(8, 6, 5, 5, generator=torch.Generator().manual_seed(0))
        >>> chain = ConvTensorTrain.decompose(weight, (3, 3), ranks=24)
        >>> chain.ranks, chain.error
        ((8, 24, 6), 0.0)

        A format by its name, with the smallest ranks that keep the error within 60 %:

        >>> chain = ConvTensorTrain.decompose(weight, "tucker2", rtol=0.6)
        >>> chain.kernel_sizes, chain.error <= 0.6
        (((1, 1), (5, 5), (1, 1)), True)

        At most 40 % of the parameters, in whichever format has the smallest error:

        >>> chain = ConvTensorTrain.decompose(weight, budget=0.4)
        >>> chain.n_parameters <= 0.4 * weight.numel(), chain.lower_bound <= chain.error <= chain.upper_bound
        (True, True)

        A format with sizes of your own, here groups of 1 → 2 channels, for a convolution in two groups:

        >>> weight = torch.randn(8, 3, 5, 5, generator=torch.Generator().manual_seed(0))
        >>> block_term = formats.block_term((5, 5), outputs=2, inputs=1)
        >>> chain = ConvTensorTrain.decompose(weight, block_term, ranks=[8, 4], groups=2)
        >>> chain.ranks, chain.groups
        ((8, 8, 4, 6), (2, 4, 2))
        """
        from tensortrain.conv.fit import decompose  # the solvers load only when they are needed

        fitted = decompose(
            weight,
            kernel_sizes,
            ranks=ranks,
            rtol=rtol,
            max_parameters=max_parameters,
            budget=budget,
            groups=groups,
            transposed=transposed,
            inputs=inputs,
            seed=seed,
            effort=effort,
            seconds=seconds,
            objective=objective,
            size=size,
            progress=progress,
        )
        return cls(
            fitted.cores,
            groups=fitted.groups,
            transposed=transposed,
            **{name: getattr(fitted, name) for name in _ERRORS},
        )

    def kernels(self) -> tuple[Tensor, ...]:
        """Every `W(l) = T(1) * … * T(l)` of eq. (5), l = 1 … m, as dense conv weights `(R_0, R_l, *K_l)`.

        For a transposed chain as weights of transposed convolutions, `(R_l, R_0, *K_l)`.
        """
        chain = self.as_conv()
        kernels = [functional.ungroup(chain.cores[0], chain.groups[0])]
        for core, groups in zip(chain.cores[1:], chain.groups[1:], strict=True):
            kernels.append(functional.compose(kernels[-1], functional.ungroup(core, groups)))
        return tuple(functional.transpose_weight(k, 1) if self.transposed else k for k in kernels)

    def reconstruct(self) -> Tensor:
        """The composed kernel W: `(R_0, R_m / G, *K)`, or `(R_m, R_0 / G, *K)` if transposed, G = `conv_groups`.

        >>> ConvTensorTrain([torch.ones(1, 1, 2), torch.ones(1, 1, 2)]).reconstruct()
        tensor([[[1., 2., 1.]]])
        """
        return functional.reconstruct(self.cores, self.groups, self.transposed)

    def as_conv(self) -> "ConvTensorTrain":
        """This chain for an ordinary convolution: a transposed one turned over, flipped in space.

        A transposed convolution is a full convolution of the input, spread out by the stride, with it.
        """
        if not self.transposed:
            return self
        cores = [functional.transpose_weight(c, g) for c, g in zip(self.cores, self.groups, strict=True)]
        return _unflatten(cores, (self.groups, False))

    def evaluate(
        self,
        inputs: Tensor | Sequence[Tensor | None],
        padding: str = "same",
        *,
        stride: int | Sequence[int] = 1,
        dilation: int | Sequence[int] = 1,
    ) -> Tensor:
        """Eq. (6): `V = Σ_l W(l) * U(l)`, core by core, without building any W(l).

        Args:
            inputs: U(1) … U(m), `(B, R_l, *size)`, None for zero; one tensor means U(m) alone, the input of
                a single convolution layer.
            padding: `"same"`, `"same_per_step"`, `"valid"`, `"full"` or `"circular"`; see `tt.functional.conv_tt`. A
                transposed chain with "full" is `F.conv_transpose2d` without padding.
            stride: per axis; of a transposed chain, by how much the inputs are spread out first.
            dilation: dilation of every core, per axis.

        Returns:
            V, `(B, R_0, *output_size)`.

        Raises:
            TensorTrainError: inputs that do not fit.

        Two cores of two taps, together the kernel `[1, 2, 1]`:

        >>> chain = ConvTensorTrain([torch.ones(1, 1, 2), torch.ones(1, 1, 2)])
        >>> chain.evaluate(torch.ones(1, 1, 4), padding="full")
        tensor([[[1., 3., 4., 4., 3., 1.]]])

        A layer in two dimensions; by default the image keeps its size, as with `nn.Conv2d(…, padding="same")`:

        >>> chain = ConvTensorTrain([torch.ones(4, 2, 3, 3), torch.ones(2, 8, 3, 3)])
        >>> x = torch.ones(1, 8, 16, 16)
        >>> chain.evaluate(x).shape, chain.evaluate(x, "valid", stride=2).shape
        (torch.Size([1, 4, 16, 16]), torch.Size([1, 4, 6, 6]))

        It computes what the dense kernel computes, at less cost:

        >>> torch.equal(chain.evaluate(x), torch.nn.functional.conv2d(x, chain.reconstruct(), padding=2))
        True
        >>> chain.macs(16) / chain.dense_macs(16) < 0.35
        True

        An input for every core, as in Conv-TT-LSTM: `W(1) * U(1) + W(2) * U(2)`:

        >>> chain.evaluate([torch.ones(1, 2, 16, 16), x]).shape
        torch.Size([1, 4, 16, 16])
        """
        inputs, stride = self._prepare(inputs, stride)
        return functional.conv_tt(self.as_conv().cores, inputs, padding=padding, stride=stride, dilation=dilation)

    def evaluate_dense(
        self,
        inputs: Tensor | Sequence[Tensor | None],
        padding: str = "same",
        *,
        stride: int | Sequence[int] = 1,
        dilation: int | Sequence[int] = 1,
    ) -> Tensor:
        """Eq. (5): the same with every W(l) built and applied as one convolution, for comparison.

        Raises:
            TensorTrainError: inputs that do not fit; "same_per_step", which has no dense form.
        """
        _check_dense(padding)
        inputs, stride = self._prepare(inputs, stride)
        chain = self.as_conv()
        alone = all(u is None for u in inputs[:-1])
        kernels = [functional.compose_all(chain.cores, chain.groups)] if alone else list(chain.kernels())
        return functional.conv_sum(kernels, inputs[-len(kernels) :], padding=padding, stride=stride, dilation=dilation)

    def _prepare(
        self, inputs: Tensor | Sequence[Tensor | None], stride: int | Sequence[int]
    ) -> tuple[list[Tensor | None], int | Sequence[int]]:
        """Inputs as a list of m, and the stride that is left once a transposed chain has spread them out."""
        alone = [None] * (self.order - 1) + [inputs] if isinstance(inputs, Tensor) else inputs
        maps = check_inputs(alone, self.ranks[1:], self.cores[0])
        if not self.transposed:
            return maps, stride
        factors = checks.per_axis("stride", stride, len(self.kernel_size))
        return [None if u is None else functional.spread(u, factors) for u in maps], 1

    def plan(
        self,
        size: int | Sequence[int],
        batch_size: int = 1,
        padding: str = "same",
        *,
        stride: int | Sequence[int] = 1,
        dilation: int | Sequence[int] = 1,
    ) -> Plan:
        """Time both forms, core by core and dense, on a random batch of images of `size`, and choose the faster.

        The device, the dtype and the number of threads are those of the chain and of the moment. The dense kernel is
        built once and not counted.

        Args:
            size: image size, per axis.
            batch_size: images in the batch.
            padding: as in `evaluate`, but not "same_per_step", which no dense kernel equals.
            stride, dilation: as of `evaluate`.

        Raises:
            TensorTrainError: arguments out of range; "same_per_step", which has no dense form.
        """
        _check_dense(padding)
        image = checks.per_axis("size", size, len(self.kernel_size))
        batch = checks.integer("batch_size", batch_size)
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(batch, self.in_channels, *image, generator=generator, device="cpu")
        inputs, left = self._prepare(x.to(self.device, self.dtype), stride)
        chain = self.as_conv()
        kernel = chain.reconstruct()
        return plan(
            lambda: functional.conv_tt(chain.cores, inputs, padding=padding, stride=left, dilation=dilation),
            lambda: functional.conv_sum([kernel], inputs[-1:], padding=padding, stride=left, dilation=dilation),
            self.macs(image, padding, stride=stride, dilation=dilation),
            self.dense_macs(image, padding, stride=stride, dilation=dilation),
            self.device,
        )

    def certificate(self, weight: Tensor, inputs: Tensor | None = None) -> "Certificate":
        """Certify how far this chain is from the `weight` that it was made from, so that anybody can check it.

        With `inputs`, U(m), also how far "same" evaluation of them is from eq. (5). See `Certificate`, whose `save`
        writes what `python -m tensortrain_check` checks in exact arithmetic, without this library.

        Raises:
            TensorTrainError: a weight of another shape, or zero; inputs that do not fit, or whose convolutions on this
                machine do not sum plain products, so that nothing bounds their rounding.
        """
        from tensortrain.conv.certify.certificate import Certificate

        return Certificate.of(self, weight, inputs)

    def plot(self, weight: Tensor | None = None) -> "Figure":
        """Draw the cores with their ranks, and where in the kernel the error sits.

        Args:
            weight: the kernel that was decomposed, with as many groups as all cores share, or fewer; without it only
                the cores are drawn.

        Raises:
            TensorTrainError: a weight of another shape; Matplotlib is not installed.

        >>> chain = ConvTensorTrain.decompose(torch.randn(8, 4, 5, 5), (3, 3), ranks=4)
        >>> len(chain.plot().axes)
        1
        """
        if weight is None:
            return plots.plot_chain(self.ranks, self.kernel_sizes, self.groups, self.cores, None)
        kernel = self.reconstruct().detach()
        if weight.dim() == kernel.dim():
            groups = (self.out_channels if self.transposed else self.in_channels) // max(1, weight.shape[1])
            kernel = functional.ungroup(kernel, self.conv_groups, math.gcd(self.conv_groups, groups))
        if weight.shape != kernel.shape:
            raise TensorTrainError(
                f"weight {tuple(weight.shape)} is not the kernel of this chain, {tuple(kernel.shape)}"
            )
        difference = (kernel - weight.detach()).transpose(0, 1) if self.transposed else kernel - weight.detach()
        return plots.plot_chain(
            self.ranks, self.kernel_sizes, self.groups, self.cores, (difference, float(weight.detach().norm()))
        )

    def to(self, *args: Any, **kwargs: Any) -> "ConvTensorTrain":
        """The chain on another device or in another dtype, as `Tensor.to`; error and bounds stay."""
        return ConvTensorTrain(
            [core.to(*args, **kwargs) for core in self.cores],
            groups=self.groups,
            transposed=self.transposed,
            **{name: getattr(self, name) for name in _ERRORS},
        )

    def save(self, path: str | PathLike[str]) -> None:
        """Write the chain to a safetensors file, aside first and then renamed."""
        storage.save_cores(path, "chain", self.cores, {name: getattr(self, name) for name in _STORED})

    @classmethod
    def load(cls, path: str | PathLike[str]) -> "ConvTensorTrain":
        """Read a chain that `save` wrote.

        Raises:
            TensorTrainError: a file that cannot be read or holds something else.
        """
        cores, fields = storage.load_cores(path, "chain")
        return cls(cores, **fields)


def _check_dense(padding: str) -> None:
    if padding == "same_per_step":
        raise TensorTrainError('padding = "same_per_step" has no dense form; compare with padding="same"')


def _set(chain: ConvTensorTrain, **values: object) -> None:
    for name, value in values.items():
        object.__setattr__(chain, name, value)


pytree.register_pytree_node(
    ConvTensorTrain,
    lambda chain: (list(chain.cores), (chain.groups, chain.transposed)),
    lambda cores, context: _unflatten(cores, context),
    serialized_type_name="tensortrain.ConvTensorTrain",
    flatten_with_keys_fn=lambda chain: (
        [(pytree.SequenceKey(l), core) for l, core in enumerate(chain.cores)],
        (chain.groups, chain.transposed),
    ),
)


def _unflatten(cores: Iterable[Any], context: Any) -> ConvTensorTrain:
    """Leaves may be anything while a transformation runs, so the shapes are not checked again."""
    chain = ConvTensorTrain.__new__(ConvTensorTrain)
    groups, transposed = context
    _set(chain, cores=tuple(cores), groups=groups, transposed=transposed)
    _set(chain, **dict.fromkeys(_ERRORS))
    return chain
