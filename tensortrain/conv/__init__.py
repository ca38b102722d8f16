"""Convolutional tensor trains (CTTD): a convolution kernel as a chain of smaller ones."""
