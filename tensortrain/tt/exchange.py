"""Convert trains from and to other libraries and dense arrays."""

import importlib
import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from tensortrain import checks, counts
from tensortrain.errors import TensorTrainError
from tensortrain.tt import checks as tt_checks
from tensortrain.tt import functional
from tensortrain.tt.container import Cores

MOST_BYTES = 2**32
"""Size in bytes of the largest dense array that `numpy` creates."""


@dataclass(frozen=True, init=False, eq=False, repr=False)
class Exchange(Cores):
    """Conversions of cores `(R_{l-1}, I_l, R_l)`, which share memory with the result if both libraries allow it."""

    def numpy(self) -> "np.ndarray[Any, Any]":
        """Return the dense tensor as a NumPy array, `(I_1, …, I_m)`; `np.asarray(train)` calls this method.

        Raises:
            TensorTrainError: the array would have more than 4 GiB (read single entries by indexing) or more than 62
                axes (call `reshape()` first), the cores require a gradient (call `detach()` first) or are not on the
                CPU (call `cpu()` first), or NumPy lacks their dtype.

        >>> import numpy as np, tensortrain as tt
        >>> np.asarray(tt.TensorTrain.ones((2, 3))).shape
        (2, 3)
        """
        entries = self.ranks[0] * math.prod(core.shape[1] for core in self.cores) * self.ranks[-1]
        if entries * self.dtype.itemsize > MOST_BYTES:
            raise TensorTrainError(
                f"the dense array would have {counts.count(entries)} entries, more than {MOST_BYTES >> 30} GiB; read"
                " only the entries that you need: train[i, j, …]"
            )
        if len(self.cores) > 62:
            raise TensorTrainError(f"{len(self.cores)} axes are more than a NumPy array can have; reshape() first")
        self._check_for_numpy()
        return functional.tt_reconstruct([core.resolve_conj().resolve_neg() for core in self.cores]).numpy()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> "np.ndarray[Any, Any]":
        if copy is False:
            raise TensorTrainError("a train has no dense array to share; leave out copy=False to create one")
        if self.dtype.is_complex and dtype is not None and np.dtype(dtype).kind in "iuf":
            raise TensorTrainError(f"a complex train cannot become {np.dtype(dtype)}, which drops the imaginary parts")
        return self.numpy().astype(dtype, copy=False)

    def to_arrays(self) -> "list[np.ndarray[Any, Any]]":
        """Return the cores as NumPy arrays `(R_{l-1}, I_l, R_l)`, the format of teneva. They share the cores' memory.

        Raises:
            TensorTrainError: the cores require a gradient or are not on the CPU, or NumPy lacks their dtype.

        >>> import tensortrain as tt
        >>> [array.shape for array in tt.TensorTrain.ones((2, 3)).to_arrays()]
        [(1, 2, 1), (1, 3, 1)]
        """
        self._check_for_numpy()
        return [core.resolve_conj().resolve_neg().numpy() for core in self.cores]

    def to_tensorly(self) -> Any:
        """Return a `tensorly.tt_tensor.TTTensor` with the same cores. TensorLy must use its PyTorch backend for it.

        Raises:
            TensorTrainError: a boundary rank is above 1, which TensorLy does not support.

        >>> import tensortrain as tt
        >>> tt.TensorTrain.ones((2, 3)).to_tensorly().shape
        (2, 3)
        """
        self._check_ends("TensorLy")
        import tensorly
        from tensorly.tt_tensor import TTTensor

        with tensorly.backend_context("pytorch", local_threadsafe=True):
            return TTTensor(list(self.cores))

    def to_torchtt(self) -> Any:
        """Return a `torchtt.TT` with the same cores.

        Raises:
            TensorTrainError: a boundary rank is above 1, or torchTT is not installed.
        """
        self._check_ends("torchTT")
        return _library("torchtt", "torchTT").TT(list(self.cores))

    def to_quimb(self) -> Any:
        """Return a `quimb.tensor.MatrixProductState` with the cores as NumPy arrays and quimb's own index names.

        Raises:
            TensorTrainError: a boundary rank is above 1, quimb is not installed, or `to_arrays` fails.
        """
        self._check_ends("quimb")
        arrays = self.to_arrays()
        arrays[0] = arrays[0][0]
        arrays[-1] = arrays[-1][..., 0]
        return _library("quimb.tensor", "quimb").MatrixProductState(arrays, shape="lpr")

    @classmethod
    def from_tensorly(cls, factors: Iterable[Any]) -> Self:
        """Return a train from a `TTTensor`, or from any sequence of factors that are tensors or NumPy arrays.

        Raises:
            TensorTrainError: the factors are not arrays of numbers, or do not form a train.

        >>> import torch, tensortrain as tt
        >>> tt.TensorTrain.from_tensorly([torch.ones(1, 2, 3), torch.ones(3, 4, 1)]).shape
        (2, 4)
        """
        try:
            cores = [factor if isinstance(factor, Tensor) else torch.tensor(factor) for factor in factors]
        except (TypeError, RuntimeError, ValueError, OverflowError) as error:
            reason = str(error).partition("\n")[0]
            raise TensorTrainError(f"factors must be tensors or arrays of numbers: {reason}") from None
        return cls(cores)

    @classmethod
    def from_foreign(cls, train: Any) -> Self:
        """Return a train from a train of another library, which is recognised by its attributes.

        The other library itself does not need to be installed.

        | library | data that is read |
        |---|---|
        | torchTT, tntorch | `.cores`, `(R_{l-1}, I_l, R_l)` |
        | t3f | `.tt_cores`, `(R_{l-1}, I_l, R_l)` |
        | quimb | the tensors of an open matrix product state, by `.site_ind` and the indices that neighbours share |
        | teneva, TensorLy | a sequence of arrays or tensors, `(R_{l-1}, I_l, R_l)` |

        Tensors of PyTorch share their memory with the train, and other arrays are copied.

        Raises:
            TensorTrainError: the argument is a TT-matrix (pass its cores to `TensorTrainMatrix`), a periodic state, a
                train with Tucker factors, or not a train at all.

        >>> import numpy as np, tensortrain as tt
        >>> tt.TensorTrain.from_foreign([np.ones((1, 2, 3)), np.ones((3, 4, 1))]).shape
        (2, 4)
        """
        if hasattr(train, "site_ind"):
            return cls.from_tensorly(_of_sites(train))
        if any(factor is not None for factor in getattr(train, "Us", None) or ()):
            raise TensorTrainError("the train has Tucker factors on its axes; multiply them into the cores first")
        cores = getattr(train, "tt_cores", getattr(train, "cores", train))
        if not checks.iterates(cores):
            raise TensorTrainError(f"train is a {type(train).__name__}, which has neither cores nor tensors of sites")
        cores = list(cores)
        if any(getattr(core, "ndim", 3) == 4 for core in cores):
            raise TensorTrainError("the cores have 4 axes, as those of a TT-matrix; pass them to TensorTrainMatrix")
        return cls.from_tensorly(core if isinstance(core, Tensor) else np.array(core) for core in cores)

    def _check_ends(self, library: str) -> None:
        """Refuse a train with boundary ranks above 1."""
        if self.ranks[0] * self.ranks[-1] != 1:
            raise TensorTrainError(f"ranks = {self.ranks}: {library} needs boundary ranks of 1")

    def _check_for_numpy(self) -> None:
        """Refuse cores that NumPy cannot share: with a gradient, on another device or in bfloat16."""
        tt_checks.check_single("a conversion to NumPy", *self.cores)
        if self.requires_grad:
            raise TensorTrainError("a NumPy array has no gradient; call train.detach() first")
        if self.device.type != "cpu":
            raise TensorTrainError(f"the train is on {self.device}, and NumPy on the CPU; call train.cpu() first")
        if self.dtype == torch.bfloat16:
            raise TensorTrainError("NumPy has no bfloat16; call train.to(torch.float32) first")


def _library(module: str, name: str) -> Any:
    """Import and return an optional library."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise TensorTrainError(f"{name} cannot be imported ({error}); install it with pip install {name}") from None


def _of_sites(state: Any) -> list[Any]:
    """Return the arrays `(R_{l-1}, I_l, R_l)` of a matrix product state, whatever the order of its axes."""
    if getattr(state, "cyclic", False):
        raise TensorTrainError("the matrix product state is periodic; a train must have open ends")
    tensors = [state[site] for site in state.sites]
    names = [set(tensor.inds) for tensor in tensors]
    bonds = [sorted(left & right) for left, right in itertools.pairwise(names)]
    if any(len(bond) != 1 for bond in bonds):
        raise TensorTrainError("neighbours in the matrix product state must share exactly one index")
    arrays = []
    for l, (site, tensor) in enumerate(zip(state.sites, tensors, strict=True)):
        inner = [state.site_ind(site)]
        order = [*(bonds[l - 1] if l else []), *inner, *(bonds[l] if l < len(bonds) else [])]
        if sorted(order) != sorted(tensor.inds):
            raise TensorTrainError(f"site {site} has the indices {tuple(tensor.inds)}; {tuple(order)} are needed")
        array = np.transpose(np.asarray(tensor.data), [tensor.inds.index(name) for name in order])
        left = array.shape[0] if l else 1
        arrays.append(array.reshape(left, tensor.ind_size(inner[0]), -1))
    return arrays
