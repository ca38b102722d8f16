"""The common base class of tensor trains and TT-matrices: immutable cores that are moved, copied and saved together."""

from collections.abc import Iterable
from dataclasses import dataclass
from os import PathLike
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from tensortrain import counts, storage
from tensortrain.errors import TensorTrainError
from tensortrain.tt.narrowing import narrowed


@dataclass(frozen=True, init=False, eq=False, repr=False)
class Cores:
    """An immutable sequence of cores. The last axis of a core and the first axis of the next have the same rank.

    Args:
        cores: the cores. All entries must be finite, and all cores must have the same dtype and device.
        error: the value of the attribute `error`.

    Attributes:
        error: relative Frobenius error of the decomposition or rounding that computed the cores. None if the object was
            built from cores or under `torch.vmap`.

    Raises:
        TensorTrainError: the cores do not fit together.
    """

    cores: tuple[Tensor, ...]
    error: float | None
    kind: ClassVar[str]
    """The kind that the header of its files records."""

    def __init__(self, cores: Iterable[Tensor], *, error: float | None = None) -> None:
        object.__setattr__(self, "cores", self._checked(cores))
        object.__setattr__(self, "error", error)

    @staticmethod
    def _checked(cores: Iterable[Tensor]) -> tuple[Tensor, ...]:
        """Return the cores as a tuple if they fit together."""
        raise NotImplementedError

    @classmethod
    def _of(cls, cores: Iterable[Tensor], error: float | None = None) -> Self:
        """Return an instance with cores that are known to fit, without checking them again."""
        instance = cls.__new__(cls)
        object.__setattr__(instance, "cores", tuple(cores))
        object.__setattr__(instance, "error", error)
        return instance

    @property
    def order(self) -> int:
        """Return the number of cores m."""
        return len(self.cores)

    @property
    def ranks(self) -> tuple[int, ...]:
        """Return the ranks `(R_0, …, R_m)`, with both boundary ranks."""
        return (*(core.shape[0] for core in self.cores), self.cores[-1].shape[-1])

    @property
    def dtype(self) -> torch.dtype:
        """Return the data type of the cores."""
        return self.cores[0].dtype

    @property
    def device(self) -> torch.device:
        """Return the device of the cores."""
        return self.cores[0].device

    @property
    def n_parameters(self) -> int:
        """Return the number of stored entries of all cores."""
        return sum(core.numel() for core in self.cores)

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """Return the train on another device or in another dtype, with the arguments of `Tensor.to`. The error is kept.

        Like `Tensor.to`, it copies nothing if device and dtype do not change. Where a core is too large or too small
        for the dtype but the train is not, powers of two are moved between the cores.

        Raises:
            TensorTrainError: the device does not exist, or the dtype is neither floating nor complex, is real for
                complex cores or is too small for the entries.

        >>> import torch, tensortrain as tt
        >>> tt.TensorTrain.ones((2, 3)).to(torch.float64).dtype
        torch.float64
        """

        def convert(cores: Iterable[Tensor]) -> list[Tensor]:
            """Return the converted cores."""
            return moved(cores, "cannot convert the train", "to", *args, **kwargs)

        return type(self)(narrowed(self.cores, convert), error=self.error)

    def cpu(self) -> Self:
        """Return the train on the CPU, with the same cores if they are there already.

        >>> import tensortrain as tt
        >>> tt.TensorTrain.ones((2, 3)).cpu().device
        device(type='cpu')
        """
        return self.to("cpu")

    def cuda(self, device: int | torch.device | None = None) -> Self:
        """Return the train on a GPU, by default the current GPU, with the same cores if they are there already.

        Raises:
            TensorTrainError: the GPU does not exist.
        """
        return self._of(moved(self.cores, f"cannot move to the GPU {device}", "cuda", device), self.error)

    def double(self) -> Self:
        """Return the train in double precision: `torch.float64`, or `torch.complex128` for complex cores.

        >>> import tensortrain as tt
        >>> tt.TensorTrain.ones((2, 3)).double().dtype
        torch.float64
        """
        return self.to(torch.complex128 if self.dtype.is_complex else torch.float64)

    def conj(self) -> Self:
        """Return the complex conjugate; real cores stay the same.

        >>> import tensortrain as tt
        >>> tt.TensorTrain.full((2, 3), 1j).conj()[0, 0].item()
        -1j
        """
        return self._of([core.conj() for core in self.cores], self.error)

    def clone(self) -> Self:
        """Return a copy that shares no memory. Gradients flow through it, as through `Tensor.clone`.

        >>> import tensortrain as tt
        >>> train = tt.TensorTrain.ones((2, 3))
        >>> train.clone().cores[0] is train.cores[0], train.detach().cores[0].data_ptr() == train.cores[0].data_ptr()
        (False, True)
        """
        return self._of([core.clone() for core in self.cores], self.error)

    def detach(self) -> Self:
        """Return the same cores, in the same memory, without a gradient."""
        return self._of([core.detach() for core in self.cores], self.error)

    @property
    def requires_grad(self) -> bool:
        """Return whether a gradient with respect to any core is recorded."""
        return any(core.requires_grad for core in self.cores)

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Set `requires_grad` of the cores, and return `self`.

        A train that was calculated from another may share cores with it. `train.clone().detach().requires_grad_()`
        gives a train with cores of its own.

        Raises:
            TensorTrainError: the argument is not a bool, or is False for cores that were calculated with a gradient;
                call `detach()` first.

        >>> import tensortrain as tt
        >>> train = tt.TensorTrain.random((4, 5), 2).requires_grad_()
        >>> train.sum().backward()
        >>> train.cores[0].grad.shape
        torch.Size([1, 4, 2])
        """
        if not isinstance(requires_grad, bool):
            raise TensorTrainError(f"requires_grad = {requires_grad!r} is neither True nor False")
        if not requires_grad and any(not core.is_leaf for core in self.cores):
            raise TensorTrainError("cores that were calculated with a gradient keep it; call detach() first")
        for core in self.cores:
            core.requires_grad_(requires_grad)
        return self

    def save(self, path: str | PathLike[str]) -> None:
        """Write the cores and the error to a safetensors file, which appears only when it is complete.

        Args:
            path: the file to write; an old file is replaced.

        Raises:
            TensorTrainError: the file cannot be written.

        >>> import tempfile, tensortrain as tt
        >>> path = tempfile.mkdtemp() + "/train.safetensors"
        >>> tt.TensorTrain.ones((2, 3)).save(path)
        >>> tt.TensorTrain.load(path).shape
        (2, 3)
        """
        storage.save_cores(path, self.kind, self.cores, {"error": self.error})

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Self:
        """Read a file that `save` wrote, onto the CPU.

        Args:
            path: the file to read.

        Raises:
            TensorTrainError: the file cannot be read or is of another kind.
        """
        cores, fields = storage.load_cores(path, cls.kind)
        return cls(cores, **fields)


def moved(cores: Iterable[Tensor], failure: str, method: str, *args: Any, **kwargs: Any) -> list[Tensor]:
    """Return the results of a tensor method that moves or converts the cores."""
    try:
        return [getattr(core, method)(*args, **kwargs) for core in cores]
    except (RuntimeError, AssertionError, TypeError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise TensorTrainError(f"{failure}: {reason}") from None


def describe(head: str, train: Any) -> str:
    """Return the text of a train or TT-matrix: `head`, then the ranks, counts and error."""
    stored, dense = train.n_parameters, train.dense_parameters
    lines = [
        f"{head}, {str(train.dtype).removeprefix('torch.')}",
        f"  ranks       {train.ranks}",
        f"  parameters  {counts.count(stored)} of {counts.count(dense)} "
        f"({stored / dense:.1%}, compression {counts.factor(dense, stored)}×)",
        f"  MACs        {counts.count(train.macs())} sequential, {counts.count(train.dense_macs())} dense",
    ]
    if train.error is not None:
        lines.append(f"  error       {train.error:.4g} relative (Frobenius)")
    return "\n".join(lines)
