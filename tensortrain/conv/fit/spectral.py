"""Fit a chain in the frequency domain, with its last core eliminated.

On a grid of `N = K` frequencies for each axis the whole kernel is a product of matrices,
`Ŵ(ω) = T̂(1)(ω) … T̂(m)(ω)`. By Parseval's theorem `‖W - T(1)*…*T(m)‖² = N^{-d} Σ_ω ‖Ŵ(ω) - T̂(1)…T̂(m)‖²`; there is no
aliasing, because the whole kernel has length K. The optimal last core for given others is the solution of one linear
least-squares problem for all input channels (variable projection). Only T(1) … T(m-1) are unknowns. L-BFGS finds them,
preconditioned by the normal equations of each core, which alternating least squares would solve.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from tensortrain.conv.fit.lbfgs import Derivatives, Evaluation
from tensortrain.errors import TensorTrainError

Axes = tuple[int, ...]

FEW_CORES = 8  # for more cores, the products with the last core are made smaller first
LARGEST = 1e150  # largest entry of a spectrum whose square does not overflow


def transform(x: Tensor, size: Axes) -> Tensor:
    """Return half the spectrum of `(G, a, b, *k)` on the grid `size`, `(G, Ω, a, b)`."""
    axes = tuple(range(3, x.dim()))
    spectrum: Tensor = torch.fft.rfftn(x, s=size, dim=axes)
    return spectrum.flatten(3).permute(0, 3, 1, 2)


def inverse(x: Tensor, size: Axes) -> Tensor:
    """Return the inverse of `transform`, on the whole grid: `(G, a, b, *size)`."""
    half = (*size[:-1], size[-1] // 2 + 1)
    x = x.permute(0, 2, 3, 1)
    out: Tensor = torch.fft.irfftn(x.reshape(*x.shape[:3], *half), s=size, dim=tuple(range(3, 3 + len(size))))
    return out


def frequency_weights(size: Axes, like: Tensor) -> Tensor:
    """Return Parseval's weights `(Ω,)` of the half spectrum; all frequencies except self-conjugate ones count twice."""
    last = torch.full((size[-1] // 2 + 1,), 2.0, dtype=like.dtype, device=like.device)
    last[0] = 1
    if size[-1] % 2 == 0:
        last[-1] = 1
    return last.div(math.prod(size)).expand(*size[:-1], -1).reshape(-1)


def toeplitz(gram: Tensor, size: Axes, taps: Axes) -> Tensor:
    """Return the normal matrix of a core of size `taps` after a filter with the Gram spectrum `(G, Ω, n, n)`.

    The result is `(G, P·n, P·n)` with P = Π taps, indexed by (position, channel). Entry `[(a, j), (b, i)]` is the
    autocorrelation of the filter at lag `a - b`.
    """
    lags = inverse(gram, size)
    position = torch.cartesian_prod(*[torch.arange(t, device=gram.device) for t in taps]).reshape(-1, len(taps))
    lag = (position[:, None] - position[None, :]) % torch.tensor(size, device=gram.device)
    flat = sum(lag[..., i] * math.prod(size[i + 1 :]) for i in range(len(size)))
    assert isinstance(flat, Tensor)
    blocks = lags.flatten(3)[..., flat]
    return blocks.permute(0, 3, 1, 4, 2).flatten(3, 4).flatten(1, 2)


def cholesky(matrix: Tensor, ridge: float) -> Tensor:
    """Return the Cholesky factor of a positive semidefinite batch, with a relative ridge that grows until it exists."""
    scale = matrix.diagonal(dim1=-2, dim2=-1).mean(-1)[..., None, None].clamp(min=torch.finfo(matrix.dtype).tiny)
    eye = torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)
    factor: Tensor
    while True:
        factor, failed = torch.linalg.cholesky_ex(matrix + ridge * scale * eye)
        if not bool(failed.any()):
            return factor
        if not math.isfinite(ridge):
            raise TensorTrainError("the normal equations overflowed; scale the kernel, or lower the ranks")
        ridge *= 100


def _diagonal_blocks(x: Tensor, groups: int) -> Tensor:
    """Return the diagonal blocks `(G·g, Ω, a, b)` of `(G, Ω, g·a, g·b)`."""
    g, n, rows, columns = x.shape
    blocks = x.reshape(g, n, groups, rows // groups, groups, columns // groups)
    return blocks.diagonal(dim1=2, dim2=4).permute(0, 4, 1, 2, 3).flatten(0, 1)


def _crop(x: Tensor, taps: Axes) -> Tensor:
    """Return the leading `taps` positions on each spatial axis of `(G, a, b, *size)`."""
    for axis, t in enumerate(taps, start=3):
        x = x.narrow(axis, 0, t)
    return x


class SpectralChain:
    """The least-squares problem of one kernel and one format in T(1) … T(m-1), for `lbfgs.minimise`.

    Args:
        weight: the kernel, `(G, p, q, *K)`.
        kernel_sizes: the size of each core.
        groups: the groups of each core, within one group of the convolution.
        ridge: weight of the squared norms of all cores, which are added to the squared error.
    """

    def __init__(self, weight: Tensor, kernel_sizes: Sequence[Axes], groups: Sequence[int], ridge: float = 0.0) -> None:
        self.weight = weight
        self.size: Axes = tuple(weight.shape[3:])
        self.kernel_sizes = list(kernel_sizes)
        self.groups = list(groups)
        self.ridge = ridge
        self.target = transform(weight, self.size)
        self.parseval = frequency_weights(self.size, weight)
        self.energy = float(weight.square().sum())

    def spectrum(self, core: Tensor, groups: int) -> Tensor:
        """Return the spectrum of a core as matrices, which are block-diagonal if the core is grouped."""
        spectrum = transform(core, self.size)
        if groups == 1:
            return spectrum
        g, n, rows, columns = spectrum.shape
        blocks = spectrum.reshape(g, n, groups, rows // groups, columns)
        eye = torch.eye(groups, dtype=core.dtype, device=core.device)
        return torch.einsum("gh,nwgoi->nwgohi", eye.to(blocks.dtype), blocks).flatten(4, 5).flatten(2, 3)

    def product(self, cores: Sequence[Tensor]) -> Tensor:
        """Return the spectrum of T(1) * … over the given cores, `(G, Ω, p, r)`."""
        return self._lefts(cores)[-1]

    def _lefts(self, cores: Sequence[Tensor]) -> list[Tensor]:
        """Return the spectra of T(1), T(1) * T(2), …."""
        lefts: list[Tensor] = []
        for core, groups in zip(cores, self.groups, strict=False):
            spectrum = self.spectrum(core, groups)
            lefts.append(lefts[-1] @ spectrum if lefts else spectrum)
        return lefts

    def last_core(self, left: Tensor) -> Tensor:
        """Return the optimal T(m) for `left`, the spectrum of T(1) * … * T(m-1)."""
        return self._least_squares(left)[0]

    def _least_squares(self, left: Tensor) -> tuple[Tensor, float]:
        """Return the optimal T(m), and by how much it lowers the squared error from `‖W‖²`."""
        taps, groups = self.kernel_sizes[-1], self.groups[-1]
        gram = self._normal(_diagonal_blocks(left.mH @ left, groups), taps)
        right = inverse(_diagonal_blocks(left.mH @ self.target, groups), self.size)
        right = _crop(right, taps)
        rank, inputs = right.shape[1:3]
        flat = right.flatten(3).permute(0, 3, 1, 2).flatten(1, 2)
        solution = torch.cholesky_solve(flat, cholesky(gram, 1e-14))
        core = solution.reshape(len(solution), -1, rank, inputs).permute(0, 2, 3, 1)
        explained = float((solution * (2 * flat - gram @ solution)).sum())
        return core.reshape(-1, groups * rank, inputs, *taps), explained

    def _normal(self, gram: Tensor, taps: Axes) -> Tensor:
        """Return the normal matrix of a core after a filter with this Gram spectrum, with the ridge."""
        matrix = toeplitz(gram, self.size, taps)
        return matrix + self.ridge * torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)

    def evaluate(self, x: list[Tensor]) -> Evaluation:
        """Return the squared error with the optimal last core, and its derivatives."""
        lefts = self._lefts(x)
        if not float(lefts[-1].abs().amax()) < LARGEST:  # a step of a line search that is far too long
            return Evaluation(math.inf, lambda: Derivatives(list(x), lambda: list))
        last, explained = self._least_squares(lefts[-1])
        value = self.energy - explained + self.ridge * sum(float(core.square().sum()) for core in x)
        return Evaluation(max(value, 0.0), lambda: self._derivatives(x, lefts, last))

    def _derivatives(self, x: list[Tensor], lefts: list[Tensor], last: Tensor) -> Derivatives:
        """Return the gradient, and the normal equations of each core.

        By variable projection, the last core is constant in the gradient. The normal equations are exact for T(1). For
        the other cores, the autocorrelation of the cores to their left is included at lag 0 only.
        """
        right = self.spectrum(last, self.groups[-1])  # spectrum of T(l+1) * … * T(m)
        towards = self.target @ right.mH  # product of W with it
        if len(x) > FEW_CORES and right.shape[-2] < right.shape[-1]:
            right = torch.linalg.qr(right.mH, mode="r")[1].mH  # a smaller matrix with the same Gram matrices
        gradient: list[Tensor] = []
        grams: list[tuple[Tensor | None, Tensor]] = []
        for l in reversed(range(len(x))):
            gram = right @ right.mH
            slope = lefts[l] @ gram - towards
            left = lefts[l - 1] if l else None
            if left is not None:
                slope = left.mH @ slope
            own = _crop(inverse(_diagonal_blocks(slope, self.groups[l]), self.size), self.kernel_sizes[l])
            gradient.insert(0, 2 * (own.reshape(x[l].shape) + self.ridge * x[l]))
            grams.insert(0, (None if left is None else left.mH @ left, gram.mT))
            if l:
                spectrum = self.spectrum(x[l], self.groups[l])
                right, towards = spectrum @ right, towards @ spectrum.mH
        return Derivatives(gradient, lambda: self._preconditioner(grams))

    def _preconditioner(self, grams: list[tuple[Tensor | None, Tensor]]) -> Callable[[list[Tensor]], list[Tensor]]:
        """Return the inverse block diagonal of the normal equations, with one block for each group of each core."""
        factors: list[tuple[Tensor | None, Tensor]] = []
        for l, (left, right) in enumerate(grams):
            groups = self.groups[l]
            row = None
            if left is not None:
                blocks = _diagonal_blocks(left, groups).real
                row = cholesky((blocks * self.parseval[:, None, None]).sum(1), 1e-10)
            column = self._normal(_diagonal_blocks(right, groups), self.kernel_sizes[l])
            factors.append((row, cholesky(column, 1e-10)))

        def apply(gradient: list[Tensor]) -> list[Tensor]:
            """Apply the preconditioner to a gradient."""
            out = []
            for g, groups, (row, column) in zip(gradient, self.groups, factors, strict=False):
                blocks = g.reshape(g.shape[0] * groups, g.shape[1] // groups, g.shape[2], -1)
                flat = blocks.permute(0, 3, 2, 1).flatten(1, 2)  # (position, input) by output
                flat = torch.cholesky_solve(flat, column) / 2
                if row is not None:
                    flat = torch.cholesky_solve(flat.mT, row).mT
                blocks = flat.reshape(len(flat), -1, g.shape[2], blocks.shape[1]).permute(0, 3, 2, 1)
                out.append(blocks.reshape(g.shape))
            return out

        return apply

    def complete(self, x: list[Tensor]) -> list[Tensor]:
        """Return all m cores: `x`, followed by the optimal last core."""
        return [*x, self.last_core(self.product(x))]
