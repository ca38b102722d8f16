"""`ConvTensorTrain` represents a convolution kernel as a chain of smaller kernels (CTTD, eq. 4 of the paper)."""

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
from tensortrain.conv.memory import check_maps
from tensortrain.conv.planner import Plan, plan
from tensortrain.conv.statements import ERRORS, STORED, check_conversion, check_dense, check_errors, check_kind
from tensortrain.errors import TensorTrainError
from tensortrain.precision import precise
from tensortrain.tt.container import moved

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from tensortrain.conv.certify.certificate import Certificate
    from tensortrain.conv.fit.progress import Follower


@dataclass(frozen=True, init=False, eq=False, repr=False)
class ConvTensorTrain(ChainShape):
    """An immutable chain of convolution cores with `W = T(1) * T(2) * … * T(m)`.

    `cores[l - 1]` is T(l), a convolution weight `(R_{l-1}, R_l / g_l, *k_l)`, where R_0 is the number of output
    channels, R_m the number of input channels, `g_l` the number of groups, and `k_l` the length on each of 1, 2 or 3
    spatial axes. The whole kernel W has the length `K = Σ_l (k_l - 1) + 1` on each axis. With `transposed=True` the
    cores are weights of transposed convolutions, `(R_l, R_{l-1} / g_l, *k_l)`. A `ConvTensorTrain` is a pytree whose
    leaves are the cores.

    Args:
        cores: the cores, output side first.
        groups: the number of groups of each core. By default it follows from the rank of the neighbouring core; the
            last core, or the first core of a transposed chain, has one group.
        transposed: whether W is the kernel of a transposed convolution.

    Attributes:
        error: relative Frobenius error of the decomposition; None if the chain was built from cores.
        upper_bound: the first, closed-form fit has at most this error, and `error` is never larger; 1 says nothing.
            None if the chain was built from cores, or fitted to data in another metric than the Frobenius norm.
        lower_bound: no chain with these core sizes and ranks has a smaller error. It is the larger one of two bounds,
            from the spectrum and from unfoldings of the kernel, and may be 0. None if the chain was built from cores.
        data_error: relative error of the outputs on the data, if the chain was fitted to data; otherwise None.
        data_lower_bound: no chain with these ranks has a smaller `data_error`. If both are equal, the chain is optimal.

    Raises:
        TensorTrainError: the shapes, ranks or groups do not fit each other, `transposed` is not a bool, or an error or
            bound is negative or not finite.

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
        transposed = check_kind(transposed)
        _set(self, cores=cores, transposed=transposed, groups=check_cores(cores, groups, transposed))
        _set(self, **check_errors(error=error, upper_bound=upper_bound, lower_bound=lower_bound))
        _set(self, **check_errors(data_error=data_error, data_lower_bound=data_lower_bound))

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
        """Decompose any convolution kernel into a chain of smaller kernels.

        At least one of `ranks`, `rtol`, `max_parameters` and `budget` is needed, and the result satisfies all of them.
        With `rtol`, the ranks grow step by step until the tolerance is reached. Without it, they grow until another
        limit stops them. The result contains its error and two bounds of the error.

        Args:
            weight: the kernel, `(out, in / groups, *K)`, or `(in, out / groups, *K)` if `transposed`; real, of any
                floating dtype.
            kernel_sizes: one of four things. (1) The sizes of the cores, first the core nearest to the output, each an
                int or one int for each axis, with `Σ_l (k_l - 1) + 1 = K`; for example `(3, 3)` for a 5×5 kernel. (2)
                The name of a format such as `"tucker2"`; see `tt.formats`. (3) A `tt.formats.Format`. (4) `"auto"`,
                which chooses sizes, groups and ranks.
            ranks: upper limits of the m - 1 inner ranks, or one int for all of them. For grouped convolutions they are
                totals over all groups.
            rtol: relative Frobenius tolerance in [0, 1).
            max_parameters: upper limit on the number of stored entries.
            budget: the same limit as a fraction of the entries of the kernel.
            groups: the number of groups of the convolution that `weight` belongs to.
            transposed: whether `weight` belongs to a transposed convolution.
            inputs: data that the convolution reads. With data, the decomposition minimises the error of the outputs,
                `‖(W - Ŵ) Σ^½‖ / ‖W Σ^½‖`, instead of the error of the weights. `inputs` is either the second moment Σ =
                E[x xᵀ] of the patches, `(G, d, d)` or, without groups, `(d, d)`, with d = in / G · Π K in the order of
                `weight.flatten(1)`; see `tt.second_moment`, which handles strides, paddings and dilations. Or it is a
                batch of samples `(N, in, *size)`, and Σ is computed from all their patches without padding. For a
                transposed convolution, Σ belongs to the equivalent ordinary convolution. `rtol` then limits
                `data_error`, the error of the outputs; `error` is still the error of the weights.
            seed: seed of the random starting points; equal seeds give equal results.
            effort: factor on the amount of work of a fit. Work is counted in steps and multiplications, not in seconds,
                so that results do not depend on the machine or its load. 0.1 gives a quick first result. 5 to 20
                improve the fits of kernels with a million entries and more, which otherwise end before they have
                converged.
            seconds: an additional limit on the time, in seconds. After that time, solvers begin no further step, and
                `"auto"` begins no further format. The result is the best chain so far and therefore depends on the
                machine.
            objective: how `"auto"` chooses among formats with equally many parameters: `"error"`, the smallest error;
                `"speed"`, the shortest time on this machine; `"both"`, the smallest error among the formats that are
                faster than the dense kernel, or the fastest format if none is. The times are measured in alternation
                before the chains are fitted, so the result depends on the machine unless it is `"error"`.
            size: size of the images for these time measurements, per axis; by default 32, or the size of the kernel if
                that is larger.
            progress: True shows a progress bar, and False shows nothing. By default a bar appears in a terminal if the
                decomposition takes long; elsewhere, a decomposition of more than 15 s prints its expected duration to
                standard error. A `Follower` can be shared by several decompositions.

        Raises:
            TensorTrainError: an argument is out of range, the smallest chain exceeds a limit, or the limits prevent the
                tolerance (the message states the error that was reached).

        Two cores of size 3×3 form a 5×5 kernel. With rank 24 = 4·min(8, 6) they reproduce every kernel exactly:

        >>> weight = torch.randn(8, 6, 5, 5, generator=torch.Generator().manual_seed(0))
        >>> chain = ConvTensorTrain.decompose(weight, (3, 3), ranks=24)
        >>> chain.ranks, chain.error
        ((8, 24, 6), 0.0)

        A format can be chosen by name. Here its ranks grow until the error is at most 60 %:

        >>> chain = ConvTensorTrain.decompose(weight, "tucker2", rtol=0.6)
        >>> chain.kernel_sizes, chain.error <= 0.6
        (((1, 1), (5, 5), (1, 1)), True)

        With `"auto"`, several formats get short fits, and the most promising one is fitted at full length:

        >>> chain = ConvTensorTrain.decompose(weight, budget=0.4)
        >>> chain.n_parameters <= 0.4 * weight.numel(), chain.lower_bound <= chain.error <= chain.upper_bound
        (True, True)

        A format can have other sizes, here groups of 1 → 2 channels, for a convolution with two groups:

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
            **{name: getattr(fitted, name) for name in ERRORS},
        )

    @precise
    def kernels(self) -> tuple[Tensor, ...]:
        """Return all kernels `W(l) = T(1) * … * T(l)` of eq. (5), l = 1 … m, as dense weights `(R_0, R_l, *K_l)`.

        For a transposed chain they are weights of transposed convolutions, `(R_l, R_0, *K_l)`.

        >>> chain = ConvTensorTrain([torch.ones(4, 2, 3, 3), torch.ones(2, 8, 3, 3)])
        >>> [tuple(kernel.shape) for kernel in chain.kernels()]
        [(4, 2, 3, 3), (4, 8, 5, 5)]
        """
        chain = self.as_conv()
        kernels = [functional.ungroup(chain.cores[0], chain.groups[0]).clone()]
        for core, groups in zip(chain.cores[1:], chain.groups[1:], strict=True):
            kernels.append(functional.compose(kernels[-1], functional.ungroup(core, groups)))
        return tuple(functional.transpose_weight(k, 1) if self.transposed else k for k in kernels)

    def reconstruct(self) -> Tensor:
        """Return the whole kernel W, `(R_0, R_m / G, *K)`, or `(R_m, R_0 / G, *K)` if transposed.

        G is the number of groups `conv_groups`.

        >>> ConvTensorTrain([torch.ones(1, 1, 2), torch.ones(1, 1, 2)]).reconstruct()
        tensor([[[1., 2., 1.]]])
        """
        kernel = functional.reconstruct(self.cores, self.groups, self.transposed)
        return kernel.clone() if self.order == 1 else kernel

    def as_conv(self) -> "ConvTensorTrain":
        """Return the chain of the equivalent ordinary convolution: a transposed chain is flipped in space.

        A transposed convolution equals a "full" convolution with the returned chain, after zeros have been inserted
        into the input according to the stride.
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
        """Compute `V = Σ_l W(l) * U(l)` core by core (eq. 6), without forming any W(l).

        Args:
            inputs: the inputs U(1) … U(m), each `(B, R_l, *size)` or None for zero. A single tensor is U(m), the input
                of a convolution layer.
            padding: `"same"`, `"same_per_step"`, `"valid"`, `"full"` or `"circular"`; see `tt.functional.conv_tt`. A
                transposed chain with `"full"` equals `F.conv_transpose2d` without padding.
            stride: the stride for each axis. For a transposed chain, it determines the zeros that are first inserted
                into the inputs.
            dilation: the dilation of every core, for each axis.

        Returns:
            The result V, `(B, R_0, *output_size)`.

        Raises:
            TensorTrainError: the inputs do not fit the chain, or an argument is out of range.

        Complexity: `macs(size)` multiplications for each image of the batch.

        Two cores of length 2 together form the kernel `[1, 2, 1]`:

        >>> chain = ConvTensorTrain([torch.ones(1, 1, 2), torch.ones(1, 1, 2)])
        >>> chain.evaluate(torch.ones(1, 1, 4), padding="full")
        tensor([[[1., 3., 4., 4., 3., 1.]]])

        In a two-dimensional layer, the image keeps its size by default, as with `nn.Conv2d(…, padding="same")`:

        >>> chain = ConvTensorTrain([torch.ones(4, 2, 3, 3), torch.ones(2, 8, 3, 3)])
        >>> x = torch.ones(1, 8, 16, 16)
        >>> chain.evaluate(x).shape, chain.evaluate(x, "valid", stride=2).shape
        (torch.Size([1, 4, 16, 16]), torch.Size([1, 4, 6, 6]))

        The result is that of the dense kernel, at a lower cost:

        >>> torch.equal(chain.evaluate(x), torch.nn.functional.conv2d(x, chain.reconstruct(), padding=2))
        True
        >>> chain.macs(16) / chain.dense_macs(16) < 0.35
        True

        Every core can have its own input, as in Conv-TT-LSTM. The result is `W(1) * U(1) + W(2) * U(2)`:

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
        """Compute the result of `evaluate` with a dense convolution for each W(l) (eq. 5), for comparison.

        Args:
            inputs, padding, stride, dilation: as in `evaluate`, except "same_per_step".

        Raises:
            TensorTrainError: the inputs do not fit, or the padding is "same_per_step", which has no dense form.
        """
        check_dense(padding)
        inputs, stride = self._prepare(inputs, stride)
        chain = self.as_conv()
        alone = all(u is None for u in inputs[:-1])
        kernels = [functional.compose_all(chain.cores, chain.groups)] if alone else list(chain.kernels())
        return functional.conv_sum(kernels, inputs[-len(kernels) :], padding=padding, stride=stride, dilation=dilation)

    def _prepare(
        self, inputs: Tensor | Sequence[Tensor | None], stride: int | Sequence[int]
    ) -> tuple[list[Tensor | None], int | Sequence[int]]:
        """Return the inputs as a list of m entries, and the remaining stride; a transposed chain spreads its inputs."""
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
        """Measure whether the core-by-core or the dense evaluation is faster, on a random batch of images of `size`.

        The device and the dtype are those of the chain, and the number of threads is the current one. The dense kernel
        is computed once, and this time is not counted.

        Args:
            size: the size of the images, per axis.
            batch_size: number of images in the batch.
            padding: as in `evaluate`, except "same_per_step", which no dense kernel equals.
            stride, dilation: as in `evaluate`.

        Returns:
            A `Plan` with the faster form, the multiply-accumulates and the seconds of both.

        Raises:
            TensorTrainError: an argument is out of range, the padding is "same_per_step", which has no dense form, or
                the maps or the dense kernel are larger than the memory.

        >>> plan = ConvTensorTrain([torch.ones(4, 2, 3, 3), torch.ones(2, 8, 3, 3)]).plan(16)
        >>> plan.choice in ("sequential", "dense"), plan.sequential_macs < plan.dense_macs
        (True, True)
        """
        check_dense(padding)
        image = checks.per_axis("size", size, len(self.kernel_size))
        batch = checks.integer("batch_size", batch_size)
        check_maps(self, image, batch, padding, stride, dilation)
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
        """Certify the distance of this chain from the kernel `weight`, in a form that anybody can check.

        `Certificate.save` writes files that `python -m tensortrain_check` checks in exact arithmetic, without this
        library.

        Args:
            weight: the kernel that was decomposed.
            inputs: inputs U(m), `(B, R_m, *size)`. If they are passed, the certificate also states the difference
                between their computed evaluation with padding "same" and the exact value of eq. (5).

        Raises:
            TensorTrainError: the weight has another shape or is zero, the inputs do not fit or are not finite, or the
                convolutions on this machine do not sum plain products, so that their rounding errors have no bound.
        """
        from tensortrain.conv.certify.certificate import Certificate

        return Certificate.of(self, weight, inputs)

    def plot(self, weight: Tensor | None = None) -> "Figure":
        """Draw the cores with their ranks, and the error at each position of the kernel.

        Args:
            weight: the kernel that was decomposed, with as many groups as all cores share, or fewer. Without it only
                the cores are drawn.

        Raises:
            TensorTrainError: the weight has another shape, or Matplotlib is not installed.

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
                f"weight has shape {tuple(weight.shape)}; the kernel of this chain has {tuple(kernel.shape)}"
            )
        difference = (kernel - weight.detach()).transpose(0, 1) if self.transposed else kernel - weight.detach()
        return plots.plot_chain(
            self.ranks, self.kernel_sizes, self.groups, self.cores, (difference, float(weight.detach().norm()))
        )

    def to(self, *args: Any, **kwargs: Any) -> "ConvTensorTrain":
        """Return the chain on another device or in another dtype, as `Tensor.to` does; error and bounds are kept.

        Raises:
            TensorTrainError: the device does not exist, or the dtype is neither floating nor complex, is too small for
                the entries, or is real for a complex chain.
        """
        cores = moved(self.cores, "cannot convert the chain", "to", *args, **kwargs)
        check_conversion(self.cores, cores)
        return ConvTensorTrain(
            cores,
            groups=self.groups,
            transposed=self.transposed,
            **{name: getattr(self, name) for name in ERRORS},
        )

    def save(self, path: str | PathLike[str]) -> None:
        """Write the chain to a safetensors file, which appears only when it is complete.

        Args:
            path: the file to write; an old file is replaced.

        Raises:
            TensorTrainError: the file cannot be written.

        >>> import tempfile
        >>> path = tempfile.mkdtemp() + "/chain.safetensors"
        >>> ConvTensorTrain([torch.ones(4, 2, 3), torch.ones(2, 8, 3)]).save(path)
        >>> ConvTensorTrain.load(path).ranks
        (4, 2, 8)
        """
        storage.save_cores(path, "chain", self.cores, {name: getattr(self, name) for name in STORED})

    @classmethod
    def load(cls, path: str | PathLike[str]) -> "ConvTensorTrain":
        """Read a chain that `save` wrote.

        Args:
            path: the file to read.

        Raises:
            TensorTrainError: the file cannot be read or is of another kind.
        """
        cores, fields = storage.load_cores(path, "chain")
        return cls(cores, **fields)


def _set(chain: ConvTensorTrain, **values: object) -> None:
    """Set attributes of an immutable chain."""
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
    """Return a chain without checking the shapes, because leaves may be any objects during a transformation."""
    chain = ConvTensorTrain.__new__(ConvTensorTrain)
    groups, transposed = context
    _set(chain, cores=tuple(cores), groups=groups, transposed=transposed)
    _set(chain, **dict.fromkeys(ERRORS))
    return chain
