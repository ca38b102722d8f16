"""Tensor trains and convolutional tensor trains on PyTorch.

Decompose any tensor (`TensorTrain`), matrix (`TensorTrainMatrix`) and convolution kernel (`ConvTensorTrain`),
evaluate the result sequentially without rebuilding it, and count what it costs. Layers are in `tensortrain.nn`.
"""

from tensortrain import functional, nn
from tensortrain.conv import formats
from tensortrain.conv.conv_tensor_train import ConvTensorTrain
from tensortrain.errors import TensorTrainError
from tensortrain.tt.matrix import TensorTrainMatrix
from tensortrain.tt.tensor_train import TensorTrain

__all__ = ["ConvTensorTrain", "TensorTrain", "TensorTrainError", "TensorTrainMatrix", "formats", "functional", "nn"]
