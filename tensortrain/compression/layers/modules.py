"""The conv and linear layers of a model: find them, check whether they can be replaced, and replace them."""

import copy
import math
from collections.abc import Iterator, Mapping
from types import MethodType
from typing import Any, get_args

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from tensortrain import checks
from tensortrain.compression.layers.candidates import Factors
from tensortrain.compression.layers.unfolding import PatchMap
from tensortrain.compression.layers.wrappers import unwrapped
from tensortrain.compression.state_dicts.names import COMPILED
from tensortrain.conv import functional
from tensortrain.conv.conv_tensor_train import ConvTensorTrain
from tensortrain.errors import TensorTrainError
from tensortrain.nn.conv import ConvTransposeTT1d, ConvTransposeTT2d, ConvTransposeTT3d, ConvTT1d, ConvTT2d, ConvTT3d
from tensortrain.nn.embedding import TTEmbedding
from tensortrain.nn.from_cores import FromCores
from tensortrain.nn.from_matrix import FromMatrix, check_plain
from tensortrain.nn.linear import TTLinear
from tensortrain.nn.low_rank import LowRankLinear

ConvLayer = ConvTT1d | ConvTT2d | ConvTT3d | ConvTransposeTT1d | ConvTransposeTT2d | ConvTransposeTT3d
CONV_LAYERS: tuple[type[ConvLayer], ...] = get_args(ConvLayer)
FACTORISED = (*CONV_LAYERS, LowRankLinear, TTLinear)


def conv_layer_type(module: nn.Module) -> type[ConvLayer] | None:
    """Return the type of the layer that replaces a plain convolution; None if it is not a convolution."""
    return next((layer for layer in CONV_LAYERS if isinstance(module, layer.plain)), None)


def is_plain(module: nn.Module) -> bool:
    """Return whether a module is a conv or linear layer of torch."""
    return isinstance(module, nn.Linear) or conv_layer_type(module) is not None


def outermost(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield the conv and linear layers of torch and of this library, with their names, but not the cores inside them.

    >>> [name for name, _ in outermost(nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Linear(3, 4)))]
    ['0', '2']
    """
    cores = {core for layer in model.modules() if isinstance(layer, FACTORISED) for core in layer.cores}
    for name, module in model.named_modules():
        if module not in cores and (is_plain(module) or isinstance(module, FACTORISED)):
            yield name, module


def duplicate(model: nn.Module) -> nn.Module:
    """Return a copy of a model.

    Unlike `copy.deepcopy`, it also copies models that hold a weight which was computed from parameters.

    >>> from torch.nn.utils import prune
    >>> net = prune.random_unstructured(nn.Linear(3, 2), "weight", 0.5)
    >>> torch.equal(duplicate(net).weight, net.weight)
    True
    """
    computed = (x for m in model.modules() for x in vars(m).values() if isinstance(x, Tensor) and not x.is_leaf)
    return copy.deepcopy(model, {id(x): x.detach().clone() for x in computed})


def places(model: nn.Module, layers: Mapping[str, nn.Module]) -> dict[str, nn.Module]:
    """Return the replacements by all names of the modules that they replace.

    A module that is used in several places has several names, of which `layers` has the first.
    """
    replaced = {model.get_submodule(name): layer for name, layer in layers.items()}
    return {name: replaced[m] for name, m in model.named_modules(remove_duplicate=False) if m in replaced}


def swap(model: nn.Module, layers: Mapping[str, nn.Module]) -> nn.Module:
    """Replace the modules of these names in place, and return the model, or the new layer if the name is empty."""
    for name, layer in layers.items():
        if not name:
            return layer
        model.set_submodule(name, layer)
    return model


def plain(layer: nn.Module) -> Any:
    """Return the plain conv or linear layer that computes the same: the layer itself, or its `merge()`."""
    return layer.merge() if isinstance(layer, FACTORISED) else layer


def check(layer: nn.Module) -> None:
    """Check that a layer of this library could replace a layer exactly.

    Raises:
        TensorTrainError: none could; see the method `check` of the layer types, and `check_cores`.
    """
    if isinstance(layer, FromCores):
        _check_factorised(layer)
        return
    conv_type = conv_layer_type(layer)
    (LowRankLinear if conv_type is None else conv_type).check(layer)  # type: ignore[arg-type]


def _check_factorised(layer: FromCores) -> None:
    """Refuse a layer of this library whose cores are not all that it computes with, and all that it holds."""
    if any(parametrize.is_parametrized(m) or checks.has_hooks(m) for m in layer.modules()):
        raise TensorTrainError("the layer or one of its cores has hooks or parametrizations; remove them first")
    checks.no_additions("the layer", layer, ("cores", "bias", "padding_row"))
    check_cores(layer)
    for l, core in enumerate(layer.cores):
        check_plain(f"cores[{l}]", unwrapped(core), _core_type(layer))


def check_cores(layer: FromCores) -> None:
    """Check that a layer of this library consists of plain cores that fit together, and of its bias.

    Then its tensors and settings determine it. Hooks are not checked, and neither are the entries, which may be NaN.

    Raises:
        TensorTrainError: the layer has its own forward; a core is quantised, parametrized, pruned or of another type;
            the layer or a core holds further tensors; the cores have several dtypes, or one with which torch does not
            calculate; or their sizes are not those of the layer.
    """
    kind = next(base for base in type(layer).__mro__ if base.__module__.startswith("tensortrain."))
    if checks.has_own_forward(layer, kind):
        raise TensorTrainError(f"the layer is a {type(layer).__name__} with its own forward, which it would lose")
    plain_type = _core_type(layer)
    for l, core in enumerate(layer.cores):
        if isinstance(getattr(core, "weight", None), MethodType):  # so it is in the quantised layers of torch
            raise TensorTrainError(f"cores[{l}] is quantised; use the network as it was before it was quantised")
        if not isinstance(unwrapped(core), plain_type):
            raise TensorTrainError(f"cores[{l}] is a {type(core).__name__}; a plain nn.{plain_type.__name__} is needed")
    _check_names(layer)
    _check_dtypes(layer)
    _check_sizes(layer)


def _core_type(layer: Any) -> type[nn.Module]:
    """Return the type of torch's layers of which the cores of a layer are instances."""
    if isinstance(layer, CONV_LAYERS):
        return layer.plain
    return nn.Embedding if isinstance(layer, TTEmbedding) else nn.Linear


def _check_names(layer: FromCores) -> None:
    """Refuse a layer that holds other tensors than the weights of its cores, its bias and its padding row."""
    held = {name.replace(COMPILED, "") for name in layer.state_dict()}
    weights = {f"cores.{l}.weight" for l in range(len(layer.cores))}
    others = held - weights - ({"cores.0.bias"} if "bias" in layer.derived else {"bias", "padding_row"})
    if others:
        raise TensorTrainError(
            f"it also holds {', '.join(sorted(others))}, which a {type(layer).__name__} does not have; if a"
            " parametrization holds them, remove it first, by torch.nn.utils.prune.remove or"
            " torch.nn.utils.parametrize.remove_parametrizations, and otherwise delete them"
        )
    if weights - held:
        raise TensorTrainError(f"its {min(weights - held)} is not a parameter; make it an nn.Parameter")


def _check_dtypes(layer: FromCores) -> None:
    """Refuse cores that do not have one floating dtype with which torch calculates."""
    for l, core in enumerate(layer.cores):
        checks.ordinary(f"cores[{l}]", core.weight)
    dtypes = {core.weight.dtype for core in layer.cores}
    if len(dtypes) > 1 or not all(dtype.is_floating_point for dtype in dtypes):
        raise TensorTrainError(
            f"its cores have the dtypes {', '.join(sorted(map(str, dtypes)))}; one real floating dtype is needed:"
            " convert the layer, such as with .float()"
        )


def _check_sizes(layer: Any) -> None:
    """Refuse cores whose sizes do not fit each other or the layer."""
    weights = [core.weight.detach().to("meta") for core in layer.cores]  # the sizes without the entries
    sizes: Any
    needed: Any
    if isinstance(layer, FromMatrix):
        what, sizes, needed = "shapes", [tuple(weight.shape) for weight in weights], _matrix_sizes(layer)
    elif isinstance(layer, LowRankLinear):
        chain = ConvTensorTrain([weight[..., None] for weight in weights])
        what, sizes = "number, out and in features", (chain.order, chain.out_channels, chain.in_channels)
        needed = (2, layer.out_features, layer.in_features)
    else:
        groups = [core.groups for core in layer.cores]
        chain = ConvTensorTrain(weights, groups=groups, transposed=layer.transposed)
        what = "out and in channels, kernel size and groups"
        sizes = (chain.out_channels, chain.in_channels, chain.kernel_size, math.gcd(chain.conv_groups, layer.groups))
        needed = (layer.out_channels, layer.in_channels, layer.kernel_size, layer.groups)
    if sizes != needed:
        raise TensorTrainError(
            f"its cores do not fit the layer: {what} of the cores are {sizes}, but {needed} are needed; build a layer"
            " of the new cores instead"
        )


def _matrix_sizes(layer: FromMatrix) -> list[tuple[int, int]]:
    """Return the sizes of the weights in which a layer stores the cores of its TT-matrix."""
    cores = zip(layer.ranks[:-1], *layer.shapes, layer.ranks[1:], strict=True)
    if isinstance(layer, TTEmbedding):
        return [(rows, left * columns * right) for left, rows, columns, right in cores]
    return [(rows * left, columns * right) for left, rows, columns, right in cores]


def factorised(maps: PatchMap, factors: Factors, error: float | None = None) -> nn.Module:
    """Build the layer of some factors, with the bias and all settings of the plain layer of `maps`."""
    layer, groups = maps.layer, maps.groups
    if isinstance(layer, nn.Linear):
        assert factors.outer is not None
        return LowRankLinear.like(layer, factors.outer[0].to(layer.weight), factors.kernel[0, :, :, 0], error=error)
    chain = ConvTensorTrain(
        [core.to(layer.weight.dtype) for core in _cores(maps, factors)],
        groups=None if groups == 1 else [groups] * (1 + (factors.outer is not None) + (factors.inner is not None)),
        transposed=maps.transposed,
        error=error,
    )
    return conv_layer(maps, chain)


def conv_layer(maps: PatchMap, chain: ConvTensorTrain) -> nn.Module:
    """Build the layer of a chain. Settings, bias and memory format are those of the plain convolution of `maps`."""
    layer = maps.layer
    conv_type = conv_layer_type(layer)
    assert conv_type is not None
    new = conv_type.like(layer, chain)
    last = {4: torch.channels_last, 5: torch.channels_last_3d}.get(layer.weight.dim())
    if last is not None and not layer.weight.is_contiguous() and layer.weight.is_contiguous(memory_format=last):
        new.to(memory_format=last)  # type: ignore[call-overload]
    return new


def _cores(maps: PatchMap, factors: Factors) -> list[Tensor]:
    """Return the factors as weights of convolutions, or of transposed ones, output side first."""
    ones = (1,) * len(maps.size)
    s, r = factors.kernel.shape[1:3]
    kernel = factors.kernel.reshape(maps.groups * s, r, *maps.size)
    ends = [
        None if f is None else f.flatten(0, 1).reshape(-1, f.shape[2], *ones) for f in (factors.outer, factors.inner)
    ]
    cores = [core for core in (ends[0], kernel, ends[1]) if core is not None]
    return [functional.transpose_weight(core, maps.groups) for core in cores] if maps.transposed else cores
