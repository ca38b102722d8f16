"""Tensor trains and convolutional tensor trains on PyTorch.

Decompose any tensor (`TensorTrain`), matrix (`TensorTrainMatrix`) and convolution kernel (`ConvTensorTrain`),
evaluate the result sequentially without rebuilding it, and count what it costs. Layers are in `tensortrain.nn`.
"""

from typing import TYPE_CHECKING

from tensortrain import functional, nn
from tensortrain.conv import formats
from tensortrain.conv.conv_tensor_train import ConvTensorTrain
from tensortrain.errors import TensorTrainError
from tensortrain.tt.matrix import TensorTrainMatrix
from tensortrain.tt.tensor_train import TensorTrain

if TYPE_CHECKING:
    __version__: str
else:

    def __getattr__(name: str) -> str:
        if name != "__version__":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib.metadata import version  # reads the installed package's metadata, so only on demand

        return version("tensortrain")


__all__ = [
    "ConvTensorTrain",
    "TensorTrain",
    "TensorTrainError",
    "TensorTrainMatrix",
    "__version__",
    "formats",
    "functional",
    "nn",
]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
