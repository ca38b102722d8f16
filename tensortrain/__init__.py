"""Tensor trains and convolutional tensor trains on PyTorch.

Decompose any tensor (`TensorTrain`), matrix (`TensorTrainMatrix`) or convolution kernel (`ConvTensorTrain`).
Evaluate the result core by core, without forming the dense tensor, and count its parameters and operations.
Layers for neural networks are in `tensortrain.nn`.
"""

import importlib
from typing import TYPE_CHECKING, Any

from tensortrain.errors import TensorTrainError

if TYPE_CHECKING:
    from tensortrain import functional, nn
    from tensortrain.compression.network import compress, compression_curve
    from tensortrain.conv import formats
    from tensortrain.conv.conv_tensor_train import ConvTensorTrain
    from tensortrain.conv.moments import second_moment
    from tensortrain.tt import tangent
    from tensortrain.tt.eigen import lowest_eigenpair
    from tensortrain.tt.functions import interpolate
    from tensortrain.tt.matrix import TensorTrainMatrix
    from tensortrain.tt.sums import round_sum
    from tensortrain.tt.systems import solve
    from tensortrain.tt.tensor_train import TensorTrain

    __version__: str

# modules that import torch are loaded on first use, so that the commands can handle Ctrl-C before torch is imported
_LATER = {
    "ConvTensorTrain": "tensortrain.conv.conv_tensor_train",
    "TensorTrain": "tensortrain.tt.tensor_train",
    "TensorTrainMatrix": "tensortrain.tt.matrix",
    "compress": "tensortrain.compression.network",
    "compression_curve": "tensortrain.compression.network",
    "formats": "tensortrain.conv.formats",
    "functional": "tensortrain.functional",
    "interpolate": "tensortrain.tt.functions",
    "lowest_eigenpair": "tensortrain.tt.eigen",
    "nn": "tensortrain.nn",
    "round_sum": "tensortrain.tt.sums",
    "second_moment": "tensortrain.conv.moments",
    "solve": "tensortrain.tt.systems",
    "tangent": "tensortrain.tt.tangent",
}

__all__ = [
    "ConvTensorTrain",
    "TensorTrain",
    "TensorTrainError",
    "TensorTrainMatrix",
    "__version__",
    "compress",
    "compression_curve",
    "formats",
    "functional",
    "interpolate",
    "lowest_eigenpair",
    "nn",
    "round_sum",
    "second_moment",
    "solve",
    "tangent",
]


if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        if name == "__version__":
            from importlib.metadata import version  # reads the installed package's metadata, so only on demand

            return version("tensortrain")
        if name not in _LATER:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        module = importlib.import_module(_LATER[name])
        return module if module.__name__.endswith(f".{name}") else getattr(module, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
