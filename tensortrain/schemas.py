"""Schemas of the headers of this library's files and of the index of a sharded checkpoint, field by field.

Importing pydantic is slow, so this module is imported only in the functions that read a file.
"""

from typing import Annotated, Any, Literal, Self

import torch
from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    FailFast,
    Field,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from tensortrain.errors import TensorTrainError

MOST_CHARACTERS = 2**24  # in a header; a header of ten thousand layers has about a quarter of that
KINDS = ("chain", "train", "matrix", "network")

Count = Annotated[int, Field(ge=1, lt=2**63)]
Error = Annotated[float, Field(ge=0, allow_inf_nan=False)]
# FailFast, since a megabyte of wrong items would otherwise become gigabytes of errors
Sizes = Annotated[tuple[Count, ...], Field(min_length=1), FailFast()]
Axes = Annotated[tuple[Count, ...], FailFast()]  # empty for a linear layer


class _Strict(BaseModel):
    """A model that accepts no other types and no further fields."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class _Header(_Strict):
    """The fields of all headers. Headers of version 1 have no digest, and all later headers have one."""

    version: Literal[1, 2]
    digest: str | None = None

    @model_validator(mode="after")
    def _has_a_digest_from_version_2_on(self) -> Self:
        """Refuse a header of version 1 with a digest, and a later one without."""
        if (self.digest is None) != (self.version == 1):
            raise ValueError(f"version {self.version} and digest = {self.digest!r} do not belong together")
        return self


class _Chain(_Header):
    """The header of a file with a convolutional tensor train."""

    kind: Literal["chain"]
    complex: bool = False  # the oldest files of chains lack this field
    groups: Sizes
    transposed: bool
    error: Error | None
    upper_bound: Error | None
    lower_bound: Error | None
    data_error: Error | None = None  # only fits to data have it
    data_lower_bound: Error | None = None


class _Train(_Header):
    """The header of a file with a tensor train or a TT-matrix."""

    kind: Literal["train", "matrix"]
    complex: bool
    error: Error | None


class _Layer(_Strict):
    """The record of one decomposed layer in the header of a network."""

    weight: Annotated[str, Field(min_length=1)]
    shape: Annotated[Sizes, Field(min_length=2, max_length=5)]
    dtype: str
    groups: Count
    transposed: bool
    kernel_sizes: Annotated[tuple[Axes, ...], Field(min_length=1), FailFast()]
    core_groups: Sizes
    ranks: Sizes
    error: Error | None
    upper_bound: Error | None
    lower_bound: Error | None
    data_error: Error | None = None  # only networks that were compressed with data have it

    @model_validator(mode="after")
    def _lengths_agree(self) -> Self:
        """Refuse lists whose lengths disagree with the number of cores or axes."""
        order, axes = len(self.kernel_sizes), len(self.shape) - 2
        if len(self.core_groups) != order or len(self.ranks) != order + 1:
            raise ValueError(f"{order} cores need {order} core_groups and {order + 1} ranks")
        if any(len(size) != axes for size in self.kernel_sizes):
            raise ValueError(f"the kernel_sizes of a kernel of shape {self.shape} have {axes} entries each")
        if not axes and ((self.groups, *self.core_groups) != (1, 1, 1) or self.transposed):
            raise ValueError("a linear layer has two cores and no groups")
        if not isinstance(getattr(torch, self.dtype, None), torch.dtype):
            raise ValueError(f"dtype = {self.dtype!r} is not a dtype of torch")
        return self


class _Matrix(_Strict):
    """The record of one layer with a TT-matrix in the header of a network."""

    weight: Annotated[str, Field(min_length=1)]
    layer: Literal["TTLinear", "TTEmbedding", "TTEmbeddingBag"]
    shape: Annotated[Sizes, Field(min_length=2, max_length=2)]
    out_shape: Sizes
    in_shape: Sizes
    ranks: Sizes
    error: Error | None

    @model_validator(mode="after")
    def _lengths_agree(self) -> Self:
        """Refuse lists whose lengths disagree."""
        if not len(self.out_shape) == len(self.in_shape) == len(self.ranks) - 1:
            order = len(self.out_shape)
            raise ValueError(f"{order} sizes in out_shape need {order} sizes in in_shape and {order + 1} ranks")
        return self


class _Calibration(_Strict):
    """The record of the inputs that a network was compressed with."""

    samples: Count
    digest: str
    seed: int = 0  # files of the first versions do not say it


class _Network(_Header):
    """The header of a file with a decomposed or compressed network."""

    kind: Literal["network"]
    layers: Annotated[tuple[_Layer, ...], FailFast()]
    matrices: Annotated[tuple[_Matrix, ...], FailFast()] = ()  # only files of networks with such layers have it
    # files of networks that were decomposed without further changes lack the following fields
    changed: Annotated[tuple[tuple[str, str], ...], FailFast()] = ()
    exchanged: Annotated[tuple[str, ...], FailFast()] = ()
    calibration: _Calibration | None = None
    about: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        """Refuse a network without layers, and two layers with the same weight."""
        weights = [layer.weight for layer in self.layers] + [matrix.weight for matrix in self.matrices]
        if not weights:
            raise ValueError("the network has no layers")
        if len(set(weights)) < len(weights):
            raise ValueError("two layers have the same weight")
        return self


class _Version(BaseModel):
    """The fields of a header that are read before its schema is known."""

    version: Annotated[int, Field(strict=True)]
    kind: Annotated[str, Field(strict=True)]


_HEADERS: TypeAdapter[_Chain | _Train | _Network] = TypeAdapter(
    Annotated[_Chain | _Train | _Network, Discriminator("kind")]
)


def parse_header(text: str) -> dict[str, Any]:
    """Return the fields that a header in a file of this library has, with tuples in place of lists.

    Raises:
        TensorTrainError: the header is damaged, of a newer version, or of a kind that this library does not write.
    """
    if len(text) > MOST_CHARACTERS:
        raise TensorTrainError(f"its header has {len(text)} characters; at most {MOST_CHARACTERS} are allowed")
    start = _validated(TypeAdapter(_Version), text)
    if start.version > 2:
        raise TensorTrainError(
            f"it has format version {start.version}; this library reads 1 and 2: upgrade tensortrain"
        )
    if start.kind not in KINDS:
        raise TensorTrainError(f"it is of kind {start.kind!r}; legal: {', '.join(KINDS)}")
    header: BaseModel = _validated(_HEADERS, text)
    return header.model_dump(exclude_unset=True)


class _Index(BaseModel):
    """The index of a sharded checkpoint; other programs may write further fields."""

    weight_map: Annotated[dict[str, Any], Field(min_length=1)]

    @model_validator(mode="after")
    def _names_files(self) -> Self:
        """Refuse an index in which the file of a tensor is not named by a string."""
        unnamed = next((name for name, shard in self.weight_map.items() if not isinstance(shard, str)), None)
        if unnamed is not None:
            raise ValueError(f"the file of {unnamed!r} is not named by a string")
        return self


def parse_index(text: bytes) -> dict[str, str]:
    """Return the file of each tensor, from the index of a sharded checkpoint.

    Raises:
        TensorTrainError: the text is not such an index.
    """
    return dict(_validated(TypeAdapter(_Index), text, "the index").weight_map)


def _validated(schema: TypeAdapter[Any], text: str | bytes, what: str = "its header") -> Any:
    """Return the text as an object of the schema, or raise `TensorTrainError` with the first error."""
    try:
        return schema.validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
    location = first["loc"][1 if first["loc"] and first["loc"][0] in KINDS else 0 :]  # without the name of a schema
    where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).removeprefix(".")
    if first["type"] == "missing":
        raise TensorTrainError(f"{what} has no {where!r}; the file is damaged")
    raise TensorTrainError(f"{what} is damaged: {f'{where}: ' if where else ''}{first['msg']}")
