"""Convolutional tensor trains (CTTD), which represent a convolution kernel as a chain of smaller kernels."""
