"""What trains of tensors and of matrices have in common: immutable cores, moved, copied and stored as one."""

from collections.abc import Iterable
from dataclasses import dataclass
from os import PathLike
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from tensortrain import storage
from tensortrain.errors import TensorTrainError


@dataclass(frozen=True, init=False, eq=False, repr=False)
class Cores:
    """An immutable sequence of cores; neighbours share the rank that is the last axis of one and the first of the next.

    Args:
        cores: the cores, finite, of one dtype and on one device.
        error: what to report as `error`.

    Attributes:
        error: relative Frobenius error against what was decomposed or rounded; None if built from cores or under
            `torch.vmap`.

    Raises:
        TensorTrainError: cores that do not fit together.
    """

    cores: tuple[Tensor, ...]
    error: float | None
    kind: ClassVar[str]
    """What the header of its files says."""

    def __init__(self, cores: Iterable[Tensor], *, error: float | None = None) -> None:
        object.__setattr__(self, "cores", self._checked(cores))
        object.__setattr__(self, "error", error)

    @staticmethod
    def _checked(cores: Iterable[Tensor]) -> tuple[Tensor, ...]:
        """The cores as a tuple, if they fit together."""
        raise NotImplementedError

    @classmethod
    def _of(cls, cores: Iterable[Tensor], error: float | None = None) -> Self:
        """An instance of cores that are known to fit: they are not checked again."""
        instance = cls.__new__(cls)
        object.__setattr__(instance, "cores", tuple(cores))
        object.__setattr__(instance, "error", error)
        return instance

    @property
    def order(self) -> int:
        """Number of cores m."""
        return len(self.cores)

    @property
    def ranks(self) -> tuple[int, ...]:
        """`(R_0, …, R_m)`."""
        return (*(core.shape[0] for core in self.cores), self.cores[-1].shape[-1])

    @property
    def dtype(self) -> torch.dtype:
        """Data type of the cores."""
        return self.cores[0].dtype

    @property
    def device(self) -> torch.device:
        """Device of the cores."""
        return self.cores[0].device

    @property
    def n_parameters(self) -> int:
        """Stored entries, those of all cores together."""
        return sum(core.numel() for core in self.cores)

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """The same on another device or in another dtype, as `Tensor.to`; the error stays.

        Raises:
            TensorTrainError: no such device, or a dtype that is neither floating nor complex, or that the entries
                overflow.
        """
        return type(self)(self._moved("cannot convert the train", "to", *args, **kwargs), error=self.error)

    def cpu(self) -> Self:
        """The same on the CPU."""
        return self.to("cpu")

    def cuda(self, device: int | torch.device | None = None) -> Self:
        """The same on a GPU, by default the current one.

        Raises:
            TensorTrainError: no such GPU.
        """
        return self._of(self._moved(f"cannot move to the GPU {device}", "cuda", device), self.error)

    def _moved(self, failure: str, method: str, *args: Any, **kwargs: Any) -> list[Tensor]:
        """What a method of tensors that moves or converts them makes of the cores."""
        try:
            return [getattr(core, method)(*args, **kwargs) for core in self.cores]
        except (RuntimeError, AssertionError, TypeError, ValueError) as error:
            reason = str(error).partition("\n")[0]
            raise TensorTrainError(f"{failure}: {reason}") from None

    def double(self) -> Self:
        """The same in double precision: `torch.float64`, or `torch.complex128` for complex cores."""
        return self.to(torch.complex128 if self.dtype.is_complex else torch.float64)

    def conj(self) -> Self:
        """The complex conjugate; the same for real cores."""
        return self._of([core.conj() for core in self.cores], self.error)

    def clone(self) -> Self:
        """A copy that shares no memory; gradients flow through it, as through `Tensor.clone`."""
        return self._of([core.clone() for core in self.cores], self.error)

    def detach(self) -> Self:
        """The same numbers, in the same memory, without a gradient."""
        return self._of([core.detach() for core in self.cores], self.error)

    @property
    def requires_grad(self) -> bool:
        """Whether a gradient with respect to any core is recorded."""
        return any(core.requires_grad for core in self.cores)

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Set `requires_grad` of the cores themselves, and return `self`.

        Trains that were calculated from others may share cores with them: `train.clone().detach().requires_grad_()`
        has cores of its own.

        Raises:
            TensorTrainError: cores that were calculated from others with a gradient, whose gradient cannot be
                switched off: `detach()` them first.
        """
        if not isinstance(requires_grad, bool):
            raise TensorTrainError(f"requires_grad = {requires_grad!r} is neither True nor False")
        if not requires_grad and any(not core.is_leaf for core in self.cores):
            raise TensorTrainError("cores that were calculated with a gradient keep it; call detach() first")
        for core in self.cores:
            core.requires_grad_(requires_grad)
        return self

    def save(self, path: str | PathLike[str]) -> None:
        """Write the cores and the error to a safetensors file, aside first and then renamed."""
        storage.save_cores(path, self.kind, self.cores, {"error": self.error})

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Self:
        """Read what `save` wrote, on the CPU.

        Raises:
            TensorTrainError: a file that cannot be read or holds something else.
        """
        cores, fields = storage.load_cores(path, cls.kind)
        return cls(cores, **fields)


def _factor(value: float) -> str:
    """A factor with one decimal; from a million on with three digits and a power of ten."""
    return f"{value:.1f}" if value < 1e6 else f"{value:.3g}"


def describe(head: str, train: Any) -> str:
    """The text of a train or TT-matrix: `head`, then ranks, counts and error."""
    share = train.n_parameters / train.dense_parameters
    lines = [
        f"{head}, {str(train.dtype).removeprefix('torch.')}",
        f"  ranks       {train.ranks}",
        f"  parameters  {train.n_parameters:,} of {train.dense_parameters:,} "
        f"({share:.1%}, compression {_factor(1 / share)}×)",
        f"  MACs        {train.macs():,} sequential, {train.dense_macs():,} dense",
    ]
    if train.error is not None:
        lines.append(f"  error       {train.error:.4g} relative (Frobenius)")
    return "\n".join(lines)
