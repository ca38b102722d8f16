"""Whole models: replace every conv by a layer of this library, save the result, and rebuild it from the file."""

import copy
from collections.abc import Iterable, Mapping
from os import PathLike
from typing import Any, get_args

from torch import Tensor, nn

from tensortrain import storage
from tensortrain.compression.kernels import ConvKernel, join, select
from tensortrain.compression.layers import decompose_kernels, first_failure
from tensortrain.compression.limits import KernelSizes, LayerLimits, PerLayer, Ranks
from tensortrain.compression.records import LayerRecord, network_header, read_network
from tensortrain.errors import TensorTrainError
from tensortrain.nn.conv import ConvTransposeTT1d, ConvTransposeTT2d, ConvTransposeTT3d, ConvTT1d, ConvTT2d, ConvTT3d
from tensortrain.nn.linear import TTLinear

Layer = ConvTT1d | ConvTT2d | ConvTT3d | ConvTransposeTT1d | ConvTransposeTT2d | ConvTransposeTT3d
LAYERS: tuple[type[Layer], ...] = get_args(Layer)


def decompose(
    model: nn.Module,
    kernel_sizes: PerLayer[KernelSizes] = "auto",
    *,
    ranks: PerLayer[Ranks] | None = None,
    rtol: PerLayer[float] | None = None,
    max_parameters: PerLayer[int] | None = None,
    budget: PerLayer[float] | None = None,
    seed: int = 0,
    progress: bool | None = None,
    include: Iterable[str] = (),
    exclude: Iterable[str] = (),
) -> nn.Module:
    """A copy of a model with every conv replaced by a layer of this library.

    Convs that cannot be decomposed within the limits, or would not get smaller, stay as they are, and so do layers
    of this library.

    Every limit holds for each conv on its own. `kernel_sizes`, `ranks`, `rtol`, `max_parameters` and `budget` may be
    mappings from patterns on the names of the convs to values, such as `{"layer1.*": 0.5, "*": 0.25}`. The first
    pattern that matches a conv decides. A conv that no pattern names stays as it is; so does one that the patterns
    leave without any limit.

    Args:
        model: any module; it is not changed.
        kernel_sizes: see `ConvTensorTrain.decompose`; or a mapping.
        ranks: likewise.
        rtol: relative Frobenius tolerance in [0, 1) for each kernel; or a mapping.
        max_parameters: cap on the stored entries of each kernel; or a mapping.
        budget: the same as a fraction of each dense kernel; or a mapping.
        seed: of the random starts; equal seeds give equal results.
        progress: show a progress bar for each conv; by default only if one takes long and a person is watching.
        include: patterns on the names of the convs, such as `"layer2.*"`; only what matches one is replaced.
        exclude: likewise; what matches one is not replaced.

    Raises:
        TensorTrainError: no dense conv, a pattern that matches none, limits out of range, a conv that a layer could
            not replace exactly (see `ConvTT2d.from_conv`), or no conv that can be decomposed.

    One limit for all convs; the second conv is too small to be decomposed:

    >>> model = nn.Sequential(nn.Conv2d(8, 8, 5), nn.ReLU(), nn.Conv2d(8, 8, 1))
    >>> [type(m).__name__ for m in decompose(model, (3, 3), ranks=4)]
    ['ConvTT2d', 'ReLU', 'Conv2d']

    Limits that differ from conv to conv; the stem is named by no pattern:

    >>> body = nn.Sequential(nn.Conv2d(8, 8, 3), nn.Conv2d(8, 8, 3))
    >>> model = nn.ModuleDict({"stem": nn.Conv2d(3, 8, 3), "body": body})
    >>> small = decompose(model, "separable", budget={"body.0": 0.5, "body.*": 0.25})
    >>> [name for name, m in small.named_modules() if isinstance(m, nn.Conv2d) and "cores" not in name]
    ['stem']
    >>> [layer.chain.n_parameters / 576 for layer in small["body"]]
    [0.5, 0.25]
    """
    limits = LayerLimits(kernel_sizes, ranks, rtol, max_parameters, budget)
    convs = _dense_convs(model)
    if not convs:
        raise TensorTrainError(f"model is a {type(model).__name__} without any dense conv")
    kernels = select([_kernel(name, conv) for name, conv in convs.items()], include, exclude)
    arguments = limits.by_kernel(kernels)
    for kernel in kernels:
        if kernel.name in arguments:
            _check(kernel.layer, convs[kernel.layer])
    outcomes = list(decompose_kernels(kernels, limits, seed=seed, progress=progress))
    layers = {
        conv: layer_type.like(conv, outcome.chain)
        for outcome in outcomes
        if outcome.chain is not None and (layer_type := _layer_type(conv := convs[outcome.kernel.layer]))
    }
    if not layers:
        failure = first_failure(outcomes)
        raise TensorTrainError(f"no conv can be decomposed; {failure.kernel.layer}: {failure.reason}")
    # a conv that is used in several places stays one layer
    places = {name: layers[m] for name, m in model.named_modules(remove_duplicate=False) if m in layers}
    return _swap(copy.deepcopy(model), places)


def save(model: nn.Module, path: str | PathLike[str]) -> None:
    """Write a network with conv layers of this library, trained further or not, to a file that `load` reads.

    Raises:
        TensorTrainError: no such layer in the model, one that `load` cannot rebuild, or a path that cannot be written.
    """
    for name, layer in model.named_modules():
        if isinstance(layer, TTLinear):
            raise TensorTrainError(
                f"{name!r} is a TTLinear, which the format of convs does not hold; replace it by its merge(), or save"
                " model.state_dict() with safetensors"
            )
    records = [
        LayerRecord.of(join(name, "weight"), layer.chain, layer.weight_shape, layer.groups)
        for name, layer in model.named_modules(remove_duplicate=False)
        if isinstance(layer, Layer)
    ]
    if not records:
        raise TensorTrainError(f"model is a {type(model).__name__} without any conv layer of tensortrain.nn")
    storage.write(path, model.state_dict(), network_header(records))


def load(model: nn.Module, path: str | PathLike[str]) -> nn.Module:
    """Rebuild a decomposed network in a model of the original architecture.

    Every conv for which the file has a chain is replaced by a layer with the stride, padding, … of that conv;
    then all tensors are loaded strictly. The model is changed in place, or not at all if an error is raised.

    Args:
        model: with its dense convs; dtypes and devices are kept.
        path: what the command `tensortrain decompose` or `save` wrote.

    Returns:
        The model; if it is itself a conv, the layer that replaces it.

    Raises:
        TensorTrainError: a file that cannot be read, or does not fit the model; the message says where.
    """
    tensors, records = read_network(path)
    by_conv: dict[nn.Module, Layer] = {}  # a conv that is used in several places becomes one layer
    layers: dict[str, Layer] = {}
    for record in records:
        conv, layer_type = _conv_of(model, record)
        if conv not in by_conv:
            by_conv[conv] = layer_type.like(conv, record.chain(tensors))
        layers[record.name] = by_conv[conv]
    replaced = {join(name, part) for name in layers for part in ("weight", "bias")}
    expected = {name: value for name, value in model.state_dict().items() if name not in replaced}
    for name, layer in layers.items():
        expected.update({join(name, key): value for key, value in layer.state_dict().items()})
    _compare(expected, tensors, path)
    model = _swap(model, layers)
    model.load_state_dict(tensors)
    return model


def _dense_convs(model: nn.Module) -> dict[str, Any]:
    """The plain convs of a model by name, without those that are cores of a layer of this library."""
    cores = {core for layer in model.modules() if isinstance(layer, Layer) for core in layer.cores}
    return {name: module for name, module in model.named_modules() if _layer_type(module) and module not in cores}


def _layer_type(module: nn.Module) -> type[Layer] | None:
    """The type of the layer that replaces a module, None if the module is no plain conv."""
    return next((layer for layer in LAYERS if isinstance(module, layer.plain)), None)


def _kernel(name: str, conv: Any) -> ConvKernel:
    return ConvKernel(join(name, "weight"), conv.weight, conv.groups, conv.transposed)


def _check(name: str, conv: Any) -> None:
    """Refuse a conv that no layer can replace exactly."""
    layer_type = _layer_type(conv)
    assert layer_type is not None
    try:
        layer_type.check(conv)
    except TensorTrainError as error:
        raise TensorTrainError(f"{name!r}: {error}, or exclude it") from None


def _conv_of(model: nn.Module, record: LayerRecord) -> tuple[Any, type[Layer]]:
    """The conv that a record is about, and the type of the layer that replaces it."""
    try:
        conv: Any = model.get_submodule(record.name)
    except AttributeError:
        raise TensorTrainError(f"the model has no module {record.name!r}, for which the file has a chain") from None
    layer_type = _layer_type(conv)
    if layer_type is None or layer_type.transposed != record.transposed:
        wanted = "transposed conv" if record.transposed else "conv"
        raise TensorTrainError(f"{record.name!r} is a {type(conv).__name__} in the model; the file needs a {wanted}")
    if tuple(conv.weight.shape) != record.shape or conv.groups != record.groups:
        raise TensorTrainError(
            f"{record.weight!r} has shape {tuple(conv.weight.shape)} and {conv.groups} groups in the model;"
            f" the file needs {record.shape} and {record.groups}"
        )
    return conv, layer_type


def _compare(expected: Mapping[str, Tensor], tensors: Mapping[str, Tensor], path: str | PathLike[str]) -> None:
    """Refuse tensors of a file that are not exactly those of the model, by name and shape."""
    missing, unexpected = sorted(expected.keys() - tensors.keys()), sorted(tensors.keys() - expected.keys())
    if missing or unexpected:
        raise TensorTrainError(
            f"{path} does not fit the model: missing {missing[:5] or 'nothing'},"
            f" unexpected {unexpected[:5] or 'nothing'}"
        )
    for name, value in expected.items():
        if value.shape != tensors[name].shape:
            raise TensorTrainError(
                f"{path} does not fit the model: {name!r} has shape {tuple(tensors[name].shape)},"
                f" the model needs {tuple(value.shape)}"
            )


def _swap(model: nn.Module, layers: Mapping[str, nn.Module]) -> nn.Module:
    """`model` with the modules of these names replaced; the layer itself if the model is one."""
    for name, layer in layers.items():
        if not name:
            return layer
        model.set_submodule(name, layer)
    return model
