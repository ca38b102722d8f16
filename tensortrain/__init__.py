"""Tensor trains and convolutional tensor trains on PyTorch.

Decompose any tensor (`TensorTrain`) and any convolution kernel (`ConvTensorTrain`), evaluate the result
sequentially without rebuilding it, and count what it costs.
"""

from tensortrain import formats, functional
from tensortrain.conv_tensor_train import ConvTensorTrain
from tensortrain.errors import TensorTrainError

__all__ = ["ConvTensorTrain", "TensorTrainError", "formats", "functional"]
