"""Embeddings with a TT-matrix as table (Hrinchuk et al. 2020, "Tensorized embedding layers")."""

import itertools
import math
from collections.abc import Sequence
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tensortrain import checks
from tensortrain.errors import TensorTrainError
from tensortrain.nn.from_cores import summary
from tensortrain.nn.from_matrix import FromMatrix, check_plain, decomposed, factors
from tensortrain.transforms import physical
from tensortrain.tt.checks import check_sizes
from tensortrain.tt.matrix import TensorTrainMatrix


class TTEmbedding(FromMatrix):
    """`nn.Embedding` with a TT-matrix as table; only the rows that are looked up are computed.

    The index of a row is written with digits `n_1 … n_m`; the last digit is the fastest. Each digit selects a slice of
    a core, and the row is the product of these slices. Each core `(R_{l-1}, N_l, D_l, R_l)` is stored as a plain
    embedding of N_l rows, so that compilers, autocast and export only see embeddings and products. The row at
    `padding_idx` is stored separately; it never changes and gets no gradient.

    Args:
        table: the table, `(N_1 ⋯ N_m, D_1 ⋯ D_m)`; its cores are copied.
        num_embeddings: number of rows, if the table has additional rows at its end; by default all rows of the table.
        padding_idx: index of the padding row, from the end if it is negative, or None.
        padding_row: entries of the padding row, `(embedding_dim,)`; zeros by default.

    Attributes:
        error: relative error of the decomposition from which the layer was built; None if there was none. Training does
            not update it.

    Raises:
        TensorTrainError: the table is not a TT-matrix of a real floating dtype, or another argument does not fit it.

    Complexity: `Σ_l (D_1 ⋯ D_l) R_{l-1} R_l` multiplications for each row.

    >>> table = TensorTrainMatrix.random((10, 20), (4, 8), 3)
    >>> TTEmbedding(table)(torch.tensor([[0, 199], [7, 7]])).shape
    torch.Size([2, 2, 32])
    """

    cores: Any  # an nn.ModuleList of nn.Embedding
    padding_row: Tensor | None

    def __init__(
        self,
        table: TensorTrainMatrix,
        num_embeddings: int | None = None,
        padding_idx: int | None = None,
        padding_row: Tensor | None = None,
    ) -> None:
        super().__init__("table", table, lambda core: _plain(core.flatten(1)))
        rows, self.embedding_dim = table.shape
        self.num_embeddings = rows if num_embeddings is None else checks.integer("num_embeddings", num_embeddings)
        if self.num_embeddings > rows:
            raise TensorTrainError(f"num_embeddings = {num_embeddings} exceeds the {rows} rows of the table")
        self.shape, self.dim_shape = table.out_shape, table.in_shape
        self.padding_idx = _padding(padding_idx, self.num_embeddings)
        if self.padding_idx is not None and padding_row is None:
            padding_row = table.cores[0].new_zeros(self.embedding_dim)
        if padding_row is not None:
            checks.bias(padding_row, self.embedding_dim, table.cores[0])
            padding_row = padding_row.detach().clone()
        self.register_buffer("padding_row", padding_row if self.padding_idx is not None else None)

    @classmethod
    def from_embedding(
        cls,
        embedding: nn.Module,
        shape: Sequence[int] | None = None,
        dim_shape: Sequence[int] | None = None,
        *,
        ranks: int | Sequence[int] | None = None,
        rtol: float | None = None,
        max_parameters: int | None = None,
        budget: float | None = None,
        seed: int = 0,
    ) -> Self:
        """Return the layer that replaces `embedding`, with its table decomposed by `TensorTrainMatrix.decompose`.

        Padding, dtype, device, `requires_grad` and training mode are those of `embedding`. A table in half precision is
        decomposed in single precision; `error` does not include the rounding of the cores to half precision.

        Args:
            embedding: the plain module.
            shape: N_1 … N_m, whose product is at least `num_embeddings`; additional rows are zero. By default the
                number of factors is that of `dim_shape`, or two, and the factors are as equal as possible.
            dim_shape: `D_1 … D_m` with product `embedding_dim`; the default is analogous to that of `shape`.
            ranks, rtol, max_parameters, budget, seed: arguments of `TensorTrainMatrix.decompose`.

        Raises:
            TensorTrainError: the module is not a plain embedding, it uses `max_norm`, `scale_grad_by_freq` or
                `sparse`, or `TensorTrainMatrix.decompose` fails.

        >>> embedding = nn.Embedding(1000, 32, padding_idx=0)
        >>> layer = TTEmbedding.from_embedding(embedding, (10, 10, 10), (4, 4, 2), ranks=8)
        >>> layer
        TTEmbedding(
          10·10·10, 4·4·2, ranks=(1, 8, 8, 1), padding_idx=0, 3,040 of 32,000 parameters, error=...
          (cores): ModuleList(
            (0): Embedding(10, 32)
            (1): Embedding(10, 256)
            (2): Embedding(10, 16)
          )
        )
        >>> layer(torch.tensor([0, 999])).shape
        torch.Size([2, 32])
        """
        weight = cls._weight_of(embedding)
        rows, columns = factors(shape, dim_shape, weight.shape)
        capacity = math.prod(check_sizes("shape", rows))
        if capacity < weight.shape[0]:
            raise TensorTrainError(f"shape = {rows} gives {capacity} rows; the embedding has {weight.shape[0]}")
        limits = {"ranks": ranks, "rtol": rtol, "max_parameters": max_parameters, "budget": budget, "seed": seed}
        return cls.like(
            embedding, decomposed(F.pad(weight, (0, 0, 0, capacity - weight.shape[0])), rows, columns, **limits)
        )

    @classmethod
    def like(cls, embedding: Any, table: TensorTrainMatrix) -> Self:
        """Return the layer that replaces `embedding`, with this table; everything else is that of `embedding`.

        Padding, dtype, device, `requires_grad` and training mode are those of `embedding`.

        Args:
            embedding: the plain module.
            table: the table, `(N_1 ⋯ N_m, embedding_dim)`, perhaps with more rows at its end; its cores are copied.

        Raises:
            TensorTrainError: the module is one that `from_embedding` refuses, or the table has too few rows or another
                number of columns, is not a TT-matrix of a real floating dtype, or has entries that are too large for
                the dtype of `embedding`.

        >>> TTEmbedding.like(nn.Embedding(199, 32).double(), TensorTrainMatrix.random((10, 20), (4, 8), 3)).weight.dtype
        torch.float64
        """
        weight = cls._weight_of(embedding)
        if isinstance(table, TensorTrainMatrix):  # the constructor refuses everything else
            if table.shape[0] < weight.shape[0] or table.shape[1] != weight.shape[1]:
                raise TensorTrainError(
                    f"table is {table.shape}; embedding has a table {tuple(weight.shape)}, which needs at least"
                    f" {weight.shape[0]} rows and exactly {weight.shape[1]} columns"
                )
            table = table.to(weight)
        padding: Any = embedding.padding_idx
        row = None if padding is None else weight[padding]
        layer = cls(table, weight.shape[0], padding, row, **cls._options_of(embedding))
        layer.cores.requires_grad_(embedding.weight.requires_grad)
        return layer.train(embedding.training)

    @staticmethod
    def plain_class() -> type[nn.Module]:
        """Return the plain class that this layer replaces."""
        return nn.Embedding

    @property
    def weight_shape(self) -> tuple[int, ...]:
        """Return the shape of `weight`, without computing it."""
        return self.num_embeddings, self.embedding_dim

    @classmethod
    def _options_of(cls, embedding: nn.Module) -> dict[str, Any]:
        """Return the constructor arguments, besides table and padding, that are copied from `embedding`."""
        return {}

    @classmethod
    def _weight_of(cls, embedding: nn.Module) -> Tensor:
        """Return the table of a module that the layer can replace."""
        check_plain("embedding", embedding, cls.plain_class())
        for name in ("max_norm", "scale_grad_by_freq", "sparse"):
            if getattr(embedding, name):
                raise TensorTrainError(
                    f"embedding has {name} = {getattr(embedding, name)}, which affects single rows; rows of a layer "
                    "share their cores, so build the embedding without it"
                )
        weight: Any = embedding.weight
        plain: Tensor = weight.detach()
        return plain

    @property
    def table(self) -> TensorTrainMatrix:
        """Return the current table without the padding row; its cores are views of the parameters, not copies."""
        return TensorTrainMatrix(self._matrix_cores())

    def _rebuild(self) -> Tensor:
        """Return the dense table with the padding row."""
        weight = super()._rebuild()[: self.num_embeddings]
        if self.padding_row is None or self.padding_idx is None:
            return weight
        at = self.padding_idx
        return torch.cat([weight[:at], self.padding_row[None], weight[at + 1 :]])

    def merge(self) -> nn.Module:
        """Return a plain `nn.Embedding` with the dense table.

        >>> TTEmbedding(TensorTrainMatrix.random((10, 20), (4, 8), 3)).merge()
        Embedding(200, 32)
        """
        with torch.no_grad():
            plain: nn.Embedding = nn.Embedding.from_pretrained(  # type: ignore[no-untyped-call]
                self.weight.contiguous(), freeze=not self.cores[0].weight.requires_grad, padding_idx=self.padding_idx
            )
        return plain.train(self.training)

    def rows(self, input: Tensor) -> Tensor:
        """Return the rows, `(…, embedding_dim)`, for indices `(…)`; negative indices are not allowed.

        Args:
            input: the indices of rows, of any shape, int64 or int32.

        Raises:
            TensorTrainError: the indices are not integers, or one of them is out of range.
        """
        numbers = self._inside(self._checked(input).reshape(-1))
        value: Tensor = self.cores[0].weight.new_ones(numbers.shape[0], 1, 1)
        stride, ends = math.prod(self.shape), itertools.pairwise(self.ranks)
        for core, (left, right), size, dim in zip(self.cores, ends, self.shape, self.dim_shape, strict=True):
            stride //= size
            slices = core(numbers // stride)
            numbers = numbers % stride
            value = value @ slices.reshape(numbers.shape[0], left, dim * right)
            value = value.reshape(numbers.shape[0], value.shape[1] * dim, right)
        looked_up = value.reshape(*input.shape, self.embedding_dim)
        if self.padding_row is None:
            return looked_up
        return torch.where(self._is_padding(input)[..., None], self.padding_row.to(looked_up.dtype), looked_up)

    def _inside(self, numbers: Tensor) -> Tensor:
        """Return the indices, and one beyond the table for each index out of range, so that the first core refuses it.

        Compiled, exported and traced layers cannot read the indices to check them, but torch checks those of a plain
        embedding on every device.
        """
        outside = (numbers < 0) | (numbers >= self.num_embeddings)
        return numbers.masked_fill(outside, math.prod(self.shape))

    def _is_padding(self, input: Tensor) -> Tensor:
        """Return a boolean tensor that is true where an index is that of the padding row."""
        assert self.padding_idx is not None
        return torch.eq(input, self.padding_idx)

    def _checked(self, input: Tensor) -> Tensor:
        """Return the indices if they are integers in range."""
        if not isinstance(input, Tensor) or input.dtype not in (torch.int32, torch.int64):
            actual = f"of dtype {input.dtype}" if isinstance(input, Tensor) else f"a {type(input).__name__}"
            raise TensorTrainError(f"input is {actual}; a tensor of int64 or int32 is needed")
        if not torch.compiler.is_compiling() and input.numel() > 0 and not input.is_meta:
            low, high = (int(bound) for bound in torch.aminmax(physical(input)))
            if low < 0 or high >= self.num_embeddings:
                outside = low if low < 0 else high
                raise TensorTrainError(f"input holds {outside}; the rows are 0 … {self.num_embeddings - 1}")
        return input

    def forward(self, input: Tensor) -> Tensor:
        """Return the rows, `(…, embedding_dim)`, for indices `(…)`."""
        return self.rows(input)

    def extra_repr(self) -> str:
        """Return the factors of rows and columns, the ranks, the padding, the parameters and the error."""
        padding = "" if self.padding_idx is None else f", padding_idx={self.padding_idx}"
        shapes = ("·".join(map(str, sizes)) for sizes in (self.shape, self.dim_shape))
        summed = summary(self, self.num_embeddings * self.embedding_dim)
        return f"{', '.join(shapes)}, ranks={self.ranks}{padding}{summed}"


class TTEmbeddingBag(TTEmbedding):
    """`nn.EmbeddingBag` with a TT-matrix as table: sums, means or maxima of the rows of each bag.

    Args:
        table, num_embeddings, padding_idx, padding_row: arguments of `TTEmbedding`; bags ignore padding rows.
        mode: `"mean"`, `"sum"` or `"max"`.
        include_last_offset: argument of `nn.EmbeddingBag`.

    Raises:
        TensorTrainError: the mode is unknown, or `TTEmbedding` refuses an argument.

    >>> bag = TTEmbeddingBag(TensorTrainMatrix.random((10, 20), (4, 8), 3), mode="sum")
    >>> bag(torch.tensor([[0, 199, 5], [7, 7, 7]])).shape
    torch.Size([2, 32])
    """

    def __init__(
        self,
        table: TensorTrainMatrix,
        num_embeddings: int | None = None,
        padding_idx: int | None = None,
        padding_row: Tensor | None = None,
        mode: str = "mean",
        include_last_offset: bool = False,
    ) -> None:
        super().__init__(table, num_embeddings, padding_idx, padding_row)
        self.mode = checks.choice("mode", mode, ("mean", "sum", "max"))
        self.include_last_offset = include_last_offset

    @staticmethod
    def plain_class() -> type[nn.Module]:
        """Return the plain class that this layer replaces."""
        return nn.EmbeddingBag

    @classmethod
    def _options_of(cls, embedding: nn.Module) -> dict[str, Any]:
        """Return the constructor arguments, besides table and padding, that are copied from `embedding`."""
        return {"mode": embedding.mode, "include_last_offset": embedding.include_last_offset}

    def merge(self) -> nn.Module:
        """Return a plain `nn.EmbeddingBag` with the dense table."""
        with torch.no_grad():
            plain = nn.EmbeddingBag.from_pretrained(
                self.weight.contiguous(),
                freeze=not self.cores[0].weight.requires_grad,
                mode=self.mode,
                include_last_offset=self.include_last_offset,
                padding_idx=self.padding_idx,
            )
        return plain.train(self.training)

    def forward(self, input: Tensor, offsets: Tensor | None = None, per_sample_weights: Tensor | None = None) -> Tensor:
        """Return the sums, means or maxima of the rows of each bag, `(bags, embedding_dim)`, as `nn.EmbeddingBag` does.

        Args:
            input: indices, `(bags, length)`, or `(indices,)` with offsets.
            offsets: position of the first index of each bag, `(bags,)`.
            per_sample_weights: factors of the rows, with the shape of `input`, only for sums.

        Raises:
            TensorTrainError: an index is out of range, or `nn.EmbeddingBag` refuses the arguments.

        >>> bag = TTEmbeddingBag(TensorTrainMatrix.random((10, 20), (4, 8), 3))
        >>> bag(torch.tensor([0, 199, 5]), offsets=torch.tensor([0, 2])).shape
        torch.Size([2, 32])
        """
        rows = self.rows(input).reshape(-1, self.embedding_dim)
        places = torch.arange(len(rows), dtype=input.dtype, device=input.device).reshape(input.shape)
        padding = None
        if self.padding_row is not None:  # all padding indices refer to one additional row at the end
            padding = len(rows)
            places = places.masked_fill(self._is_padding(input), padding)
            rows = torch.cat([rows, self.padding_row.to(rows.dtype)[None]])
        try:
            return F.embedding_bag(
                places,
                rows,
                offsets,
                mode=self.mode,
                per_sample_weights=per_sample_weights,
                include_last_offset=self.include_last_offset,
                padding_idx=padding,
            )
        except (ValueError, RuntimeError, NotImplementedError, TypeError) as error:
            reason = str(error).partition("\n")[0]
            raise TensorTrainError(f"torch refuses these bags: {reason}") from None

    def extra_repr(self) -> str:
        """Return the text of `TTEmbedding`, and the mode."""
        return f"{super().extra_repr()}, mode={self.mode!r}"


def _padding(value: object, rows: int) -> int | None:
    """Return the index of the padding row; negative indices count from the end, as in PyTorch."""
    if value is None:
        return None
    row = checks.integer("padding_idx", value, minimum=-rows)
    if row >= rows:
        raise TensorTrainError(f"padding_idx = {row} is not one of the {rows} rows; legal: {-rows} … {rows - 1}")
    return row % rows


def _plain(weight: Tensor) -> nn.Embedding:
    """Return a plain embedding with a copy of `weight`; it is built on the meta device without random numbers."""
    embedding = nn.Embedding(weight.shape[0], weight.shape[1], device="meta")
    embedding.weight = nn.Parameter(weight.detach().clone(memory_format=torch.contiguous_format))
    return embedding
