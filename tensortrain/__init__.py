"""Tensor trains and convolutional tensor trains on PyTorch.

Decompose any tensor (`TensorTrain`), matrix (`TensorTrainMatrix`) and convolution kernel (`ConvTensorTrain`),
evaluate the result sequentially without rebuilding it, and count what it costs. Layers are in `tensortrain.nn`.
"""

from tensortrain import formats, functional, nn
from tensortrain.conv_tensor_train import ConvTensorTrain
from tensortrain.errors import TensorTrainError
from tensortrain.tensor_train import TensorTrain
from tensortrain.tt_matrix import TensorTrainMatrix

__all__ = ["ConvTensorTrain", "TensorTrain", "TensorTrainError", "TensorTrainMatrix", "formats", "functional", "nn"]
