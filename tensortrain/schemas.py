"""What the headers of this library's files and the index of a sharded checkpoint must look like, field by field.

Pydantic takes a while to load, so this module is imported where a file is read and nowhere else.
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

MOST_CHARACTERS = 2**24  # of a header; one of ten thousand layers has a quarter of them
KINDS = ("chain", "train", "matrix", "network")

Count = Annotated[int, Field(ge=1, lt=2**63)]
Error = Annotated[float, Field(ge=0, allow_inf_nan=False)]
# FailFast, since a megabyte of wrong items would otherwise become gigabytes of errors
Sizes = Annotated[tuple[Count, ...], Field(min_length=1), FailFast()]
Axes = Annotated[tuple[Count, ...], FailFast()]  # none of a linear layer


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class _Header(_Strict):
    """What all headers have; those of version 1 have no digest, all later ones do."""

    version: Literal[1, 2]
    digest: str | None = None

    @model_validator(mode="after")
    def _has_a_digest_from_version_2_on(self) -> Self:
        if (self.digest is None) != (self.version == 1):
            raise ValueError(f"version {self.version} and digest = {self.digest!r} do not belong together")
        return self


class _Chain(_Header):
    kind: Literal["chain"]
    complex: bool = False  # the first files of chains have no such entry
    groups: Sizes
    transposed: bool
    error: Error | None
    upper_bound: Error | None
    lower_bound: Error | None
    data_error: Error | None = None  # of fits in the metric of the data
    data_lower_bound: Error | None = None


class _Train(_Header):
    kind: Literal["train", "matrix"]
    complex: bool
    error: Error | None


class _Layer(_Strict):
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
    data_error: Error | None = None  # files that were written without inputs have none

    @model_validator(mode="after")
    def _lengths_agree(self) -> Self:
        order, axes = len(self.kernel_sizes), len(self.shape) - 2
        if len(self.core_groups) != order or len(self.ranks) != order + 1:
            raise ValueError(f"{order} cores need {order} core_groups and {order + 1} ranks")
        if any(len(size) != axes for size in self.kernel_sizes):
            raise ValueError(f"the kernel_sizes of a kernel of shape {self.shape} have {axes} entries each")
        if not axes and ((self.groups, *self.core_groups) != (1, 1, 1) or self.transposed):
            raise ValueError("a linear layer has two cores and no groups")
        if not isinstance(getattr(torch, self.dtype, None), torch.dtype):
            raise ValueError(f"dtype = {self.dtype!r} is none of torch")
        return self


class _Calibration(_Strict):
    samples: Count
    digest: str


class _Network(_Header):
    kind: Literal["network"]
    layers: Annotated[tuple[_Layer, ...], Field(min_length=1), FailFast()]
    # files of networks that were only decomposed have none of these
    changed: Annotated[tuple[tuple[str, str], ...], FailFast()] = ()
    exchanged: Annotated[tuple[str, ...], FailFast()] = ()
    calibration: _Calibration | None = None
    about: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        if len({layer.weight for layer in self.layers}) < len(self.layers):
            raise ValueError("two layers have one weight")
        return self


class _Version(BaseModel):
    version: Annotated[int, Field(strict=True)]
    kind: Annotated[str, Field(strict=True)]


_HEADERS: TypeAdapter[_Chain | _Train | _Network] = TypeAdapter(
    Annotated[_Chain | _Train | _Network, Discriminator("kind")]
)


def parse_header(text: str) -> dict[str, Any]:
    """The fields of a header of this library as the file has them, tuples for lists.

    Raises:
        TensorTrainError: a header of a newer version, of a kind that this library does not write, or a damaged one.
    """
    if len(text) > MOST_CHARACTERS:
        raise TensorTrainError(f"its header has {len(text)} characters; {MOST_CHARACTERS} are the most")
    start = _validated(TypeAdapter(_Version), text)
    if start.version > 2:
        raise TensorTrainError(f"it has format version {start.version}; this library reads 1 and 2: upgrade it")
    if start.kind not in KINDS:
        raise TensorTrainError(f"it is of kind {start.kind!r}; legal: {', '.join(KINDS)}")
    header: BaseModel = _validated(_HEADERS, text)
    return header.model_dump(exclude_unset=True)


class _Index(BaseModel):
    """The index of a sharded checkpoint; other programs may put more into it."""

    weight_map: Annotated[dict[str, Any], Field(min_length=1)]

    @model_validator(mode="after")
    def _names_files(self) -> Self:
        odd = next((name for name, shard in self.weight_map.items() if not isinstance(shard, str)), None)
        if odd is not None:
            raise ValueError(f"the file of {odd!r} has no name")
        return self


def parse_index(text: bytes) -> dict[str, str]:
    """The file of each tensor by the index of a sharded checkpoint.

    Raises:
        TensorTrainError: what is no such index.
    """
    return dict(_validated(TypeAdapter(_Index), text, "the index").weight_map)


def _validated(schema: TypeAdapter[Any], text: str | bytes, what: str = "its header") -> Any:
    try:
        return schema.validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
    location = first["loc"][1 if first["loc"] and first["loc"][0] in KINDS else 0 :]  # without the name of a schema
    where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).removeprefix(".")
    if first["type"] == "missing":
        raise TensorTrainError(f"{what} has no {where!r}; the file is damaged")
    raise TensorTrainError(f"{what} is damaged: {f'{where}: ' if where else ''}{first['msg']}")
