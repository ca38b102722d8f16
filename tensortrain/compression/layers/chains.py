"""Layers as chains of any format: the kernel that is fitted, and the layer that is built from a fit."""

import torch
from torch import Tensor, nn

from tensortrain.compression.layers.modules import conv_layer
from tensortrain.compression.layers.unfolding import PatchMap
from tensortrain.conv.conv_tensor_train import ConvTensorTrain
from tensortrain.conv.fit.choose_format import Entrant
from tensortrain.conv.fit.kernel import NormalizedKernel, composed
from tensortrain.conv.fit.metric import Metric
from tensortrain.conv.fit.solver import Fit


def layer_kernel(own: PatchMap, matrix: Tensor, moment: Tensor | None) -> NormalizedKernel:
    """Return the kernel that solvers fit to the matrix of a layer.

    Args:
        own: the layer.
        matrix: the matrix to fit, `(G, p, d)`.
        moment: second moment of the patches, `(G, d, d)`, in whose metric the matrix is fitted; None for the Frobenius
            norm.
    """
    raw = matrix.reshape(own.groups, own.outputs, own.inputs, *own.size)
    norm = float(raw.norm())
    unit = raw / norm if norm else raw
    energy = 0.0 if moment is None else float(((unit.flatten(2) @ moment) * unit.flatten(2)).sum())
    metric = Metric(moment / energy) if moment is not None and energy > 0 else None
    return NormalizedKernel(raw, unit, norm, own.layer.weight.dtype, own.transposed, metric)


def chain_layer(own: PatchMap, kernel: NormalizedKernel, fit: Fit) -> nn.Module:
    """Build the layer of a fit to `kernel`, with the bias and all settings of the plain layer of `own`."""
    cores, groups, _ = kernel.finish(fit.cores, fit.groups)
    return conv_layer(own, ConvTensorTrain(cores, groups=groups, transposed=own.transposed))


def fitted_matrix(kernel: NormalizedKernel, fit: Fit) -> Tensor:
    """Return the matrix `(G, p, d)` of a fit to `kernel`."""
    return kernel.norm * composed(fit.cores, fit.groups).flatten(2)


def stand_in_chain(own: PatchMap, entrant: Entrant) -> nn.Module:
    """Build a layer of this format and these ranks with random weights, to time it or to count its operations."""
    bounds = (own.outputs, *entrant.ranks, own.inputs)
    groups = entrant.chain_format.groups(bounds)
    generator = torch.Generator().manual_seed(0)
    cores = []
    for l, (size, g) in enumerate(zip(entrant.chain_format.kernel_sizes, groups, strict=True)):
        shape = (own.groups, bounds[l], bounds[l + 1] // g, *size)
        cores.append(torch.randn(shape, generator=generator).to(own.layer.weight.device, torch.float64))
    kernel = layer_kernel(own, torch.ones(own.groups, own.outputs, own.patch, dtype=torch.float64), None)
    return chain_layer(own, kernel, Fit(entrant.chain_format, entrant.ranks, cores, groups, 0.0, 1.0))
