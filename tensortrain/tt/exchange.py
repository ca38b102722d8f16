"""Trains of other libraries, as they come and as they go, and dense arrays."""

import importlib
import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from tensortrain import checks
from tensortrain.errors import TensorTrainError
from tensortrain.tt import functional
from tensortrain.tt.container import Cores

MOST_BYTES = 2**32
"""Of an array that is made without being asked for by name."""


@dataclass(frozen=True, init=False, eq=False, repr=False)
class Exchange(Cores):
    """Conversions of cores `(R_{l-1}, I_l, R_l)` that share their numbers where both sides can."""

    def numpy(self) -> "np.ndarray[Any, Any]":
        """The dense tensor as a NumPy array, `(I_1, …, I_m)`, also by `np.asarray(train)`.

        Raises:
            TensorTrainError: more than 4 GiB (take entries by indexing), cores that require a gradient (`detach()`
                first) or are not on the CPU (`cpu()` first), or a dtype that NumPy does not have.

        >>> import numpy as np, tensortrain as tt
        >>> np.asarray(tt.TensorTrain.ones((2, 3))).shape
        (2, 3)
        """
        entries = self.ranks[0] * math.prod(core.shape[1] for core in self.cores) * self.ranks[-1]
        if entries * self.dtype.itemsize > MOST_BYTES:
            raise TensorTrainError(
                f"the dense array would have {entries:,} entries, more than {MOST_BYTES >> 30} GiB; look up the "
                "entries that you need, train[i, j, …]"
            )
        if len(self.cores) > 62:
            raise TensorTrainError(f"{len(self.cores)} axes are more than a NumPy array can have; reshape() first")
        self._check_for_numpy()
        return functional.tt_reconstruct([core.resolve_conj().resolve_neg() for core in self.cores]).numpy()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> "np.ndarray[Any, Any]":
        if copy is False:
            raise TensorTrainError("a train has no dense array that could be shared; without copy=False one is built")
        return self.numpy().astype(dtype, copy=False)

    def to_arrays(self) -> "list[np.ndarray[Any, Any]]":
        """The cores as NumPy arrays `(R_{l-1}, I_l, R_l)`, which is what teneva calls a train; they share the memory.

        Raises:
            TensorTrainError: cores that require a gradient, are not on the CPU or have a dtype that NumPy lacks.

        >>> import tensortrain as tt
        >>> [array.shape for array in tt.TensorTrain.ones((2, 3)).to_arrays()]
        [(1, 2, 1), (1, 3, 1)]
        """
        self._check_for_numpy()
        return [core.resolve_conj().resolve_neg().numpy() for core in self.cores]

    def to_tensorly(self) -> Any:
        """A `tensorly.tt_tensor.TTTensor` of the same cores; TensorLy needs its PyTorch backend to work on it.

        Raises:
            TensorTrainError: boundary ranks above 1, which TensorLy does not have.
        """
        self._check_ends("TensorLy")
        import tensorly
        from tensorly.tt_tensor import TTTensor

        with tensorly.backend_context("pytorch", local_threadsafe=True):
            return TTTensor(list(self.cores))

    def to_torchtt(self) -> Any:
        """A `torchtt.TT` of the same cores.

        Raises:
            TensorTrainError: boundary ranks above 1, or torchTT is not installed.
        """
        self._check_ends("torchTT")
        return _library("torchtt", "torchTT").TT(list(self.cores))

    def to_quimb(self) -> Any:
        """A `quimb.tensor.MatrixProductState` of the cores as NumPy arrays, with quimb's own names of indices.

        Raises:
            TensorTrainError: boundary ranks above 1, or quimb is not installed; as of `to_arrays`.
        """
        self._check_ends("quimb")
        arrays = self.to_arrays()
        arrays[0] = arrays[0][0]
        arrays[-1] = arrays[-1][..., 0]
        return _library("quimb.tensor", "quimb").MatrixProductState(arrays, shape="lpr")

    @classmethod
    def from_tensorly(cls, factors: Iterable[Any]) -> Self:
        """A train from a `TTTensor`, or from any sequence of its factors as tensors or NumPy arrays.

        Raises:
            TensorTrainError: factors that are no numbers, or not those of a train.
        """
        try:
            return cls([factor if isinstance(factor, Tensor) else torch.tensor(factor) for factor in factors])
        except (TypeError, RuntimeError) as error:
            reason = str(error).partition("\n")[0]
            raise TensorTrainError(f"factors are no tensors or arrays of numbers: {reason}") from None

    @classmethod
    def from_foreign(cls, train: Any) -> Self:
        """A train from one of another library, known by its attributes, so that no library needs to be installed.

        | library | what is taken |
        |---|---|
        | torchTT, tntorch | `.cores`, `(R_{l-1}, I_l, R_l)` |
        | t3f | `.tt_cores`, the same |
        | quimb | an open matrix product state: its tensors by `.site_ind` and the indices that neighbours share |
        | teneva, TensorLy | a sequence of arrays or tensors, `(R_{l-1}, I_l, R_l)` |

        Tensors of PyTorch share their memory with the train, and other arrays are copied.

        Raises:
            TensorTrainError: TT-matrices (`TensorTrainMatrix` takes their cores), periodic states, trains with Tucker
                factors, or anything else that is no train.

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
            raise TensorTrainError("the cores have 4 axes, as those of a TT-matrix; give them to TensorTrainMatrix")
        return cls.from_tensorly(core if isinstance(core, Tensor) else np.array(core) for core in cores)

    def _check_ends(self, library: str) -> None:
        if self.ranks[0] * self.ranks[-1] != 1:
            raise TensorTrainError(f"ranks = {self.ranks}: {library} needs boundary ranks of 1")

    def _check_for_numpy(self) -> None:
        if self.requires_grad:
            raise TensorTrainError("a NumPy array has no gradient; call train.detach() first")
        if self.device.type != "cpu":
            raise TensorTrainError(f"the train is on {self.device}, and NumPy on the CPU; call train.cpu() first")
        if self.dtype == torch.bfloat16:
            raise TensorTrainError("NumPy has no bfloat16; call train.to(torch.float32) first")


def _library(module: str, name: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise TensorTrainError(f"{name} cannot be imported ({error}); install it with pip install {name}") from None


def _of_sites(state: Any) -> list[Any]:
    """The arrays `(R_{l-1}, I_l, R_l)` of a matrix product state, whatever the order of their axes is."""
    if getattr(state, "cyclic", False):
        raise TensorTrainError("the matrix product state is periodic, which a train is not")
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
