"""Whole models: replace every conv by a layer of this library, save the result, and rebuild it from the file."""

import copy
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from os import PathLike
from typing import Any

from torch import Tensor, nn
from torch.nn.utils import parametrize

from tensortrain import storage
from tensortrain.compression.exchange import exchange, exchanged
from tensortrain.compression.kernels import ConvKernel, select
from tensortrain.compression.layers import UNNAMED, Outcome, decompose_kernels, first_failure
from tensortrain.compression.limits import KernelSizes, LayerLimits, PerLayer, Ranks
from tensortrain.compression.modules import ConvLayer, check, conv_layer_type, outermost, places, swap
from tensortrain.compression.names import join, layer_name, plain_names
from tensortrain.compression.records import Changes, LayerRecord, network_header, read_changes, read_network
from tensortrain.compression.ties import shared_weights, tie
from tensortrain.conv.conv_tensor_train import ConvTensorTrain
from tensortrain.errors import TensorTrainError
from tensortrain.nn.linear import TTLinear
from tensortrain.nn.low_rank import LowRankLinear


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

    Convs that cannot be decomposed within the limits, or would not get smaller, stay as they are, and so do those
    whose weight another part of the model shares; a warning names them and says why. Convs that share their weight
    with each other share the cores.

    A layer of this library is decomposed once more: limits and errors are then relative to the kernel that it stands
    for, and it is replaced only if it gets smaller.

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
        TensorTrainError: no conv, a pattern that matches none, limits out of range, a conv that a layer could
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
    convs = _convs(model)
    if not convs:
        raise TensorTrainError(f"model is a {type(model).__name__} without any conv")
    kernels = select([_kernel(name, conv) for name, conv in convs.items()], include, exclude)
    arguments = limits.by_kernel(kernels)
    dense = {kernel.layer: _dense(kernel.layer, convs[kernel.layer]) for kernel in kernels if kernel.name in arguments}
    kernels = [replace(k, weight=dense[k.layer].weight) if k.layer in dense else k for k in kernels]
    shared = shared_weights(model, {name: convs[name] for name in dense if not isinstance(convs[name], ConvLayer)})
    outcomes = [Outcome(kernel, None, shared[kernel.layer], 0.0) for kernel in kernels if kernel.layer in shared]
    alone = [kernel for kernel in kernels if kernel.layer not in shared]
    outcomes += decompose_kernels(alone, limits, seed=seed, progress=progress)
    layers = {
        outcome.kernel.layer: layer_type.like(conv, outcome.chain)
        for outcome in outcomes
        if outcome.chain is not None and (layer_type := conv_layer_type(conv := dense[outcome.kernel.layer]))
    }
    if not layers:
        failure = first_failure(outcomes)
        raise TensorTrainError(f"no conv can be decomposed; {failure.kernel.layer}: {failure.reason}")
    _warn_of_the_rest(outcomes)
    tie((dense[name], layer) for name, layer in layers.items())
    return swap(copy.deepcopy(model), places(model, layers))


def _warn_of_the_rest(outcomes: Sequence[Outcome]) -> None:
    """Warn of convs that stay as they are although they were to be decomposed."""
    left = [outcome for outcome in outcomes if outcome.reason not in (None, UNNAMED)]
    if left:
        reasons = "; ".join(f"{outcome.kernel.layer}: {outcome.reason}" for outcome in left)
        warnings.warn(f"{len(left)} of {len(outcomes)} convs stay as they are. {reasons}", stacklevel=3)


def save(model: nn.Module, path: str | PathLike[str]) -> None:
    """Write a network with conv layers or linear layers of low rank, trained further or not, for `load` to read.

    Raises:
        TensorTrainError: no such layer in the model, one that `load` cannot rebuild, or a path that cannot be written.
    """
    storage.write(path, model.state_dict(), network_header(layer_records(model), Changes(exchanged=exchanged(model))))


def layer_records(model: nn.Module) -> list[LayerRecord]:
    """What a file has to say about the layers of this library in a network.

    Raises:
        TensorTrainError: there are none, or one that `load` cannot rebuild.
    """
    records = []
    for name, layer in model.named_modules(remove_duplicate=False):
        if isinstance(layer, TTLinear):
            raise TensorTrainError(
                f"{name!r} is a TTLinear, which the format of networks does not hold; replace it by its merge(), or"
                " save model.state_dict() with safetensors"
            )
        if isinstance(layer, ConvLayer):
            records.append(LayerRecord.of(join(name, "weight"), layer.chain, layer.weight_shape, layer.groups))
        elif isinstance(layer, LowRankLinear):
            records.append(LayerRecord.of_linear(join(name, "weight"), layer))
    if not records:
        raise TensorTrainError(
            f"model is a {type(model).__name__} without any conv layer or linear layer of low rank of tensortrain.nn"
        )
    return records


def load(model: nn.Module, path: str | PathLike[str]) -> nn.Module:
    """Rebuild a decomposed or compressed network in a model of the original architecture.

    Every conv or linear layer for which the file has a chain is replaced by a layer with the stride, padding, … of the
    original one, and attention modules are exchanged where the file says so; then all tensors are loaded strictly.
    Prefixes of wrappers, such as `module.`, may be in front of the names in the file, in the model, or in both. The
    model is changed in place, or not at all if an error is raised.

    Args:
        model: with its dense layers; dtypes and devices are kept.
        path: what the command `tensortrain decompose`, `save` or the result of `tt.compress` wrote.

    Returns:
        The model; if it is itself a conv or linear layer, the layer that replaces it.

    Raises:
        TensorTrainError: a file that cannot be read, or does not fit the model; the message says where.
    """
    tensors, records = read_network(path)
    names = read_changes(path).exchanged
    rebuilt = exchange(copy.deepcopy(model), names) if names else model
    layers, named = _rebuilt_layers(rebuilt, tensors, records)
    replaced = {join(name, part) for name in layers for part in ("weight", "bias")}
    expected = {name: value for name, value in rebuilt.state_dict().items() if name not in replaced}
    for name, layer in layers.items():
        expected.update({join(name, key): value for key, value in layer.state_dict().items()})
    _compare(expected, named, path)
    model = swap(exchange(model, names), layers)
    model.load_state_dict(named)
    return model


def _rebuilt_layers(
    model: nn.Module, tensors: Mapping[str, Tensor], records: Iterable[LayerRecord]
) -> tuple[dict[str, nn.Module], dict[str, Tensor]]:
    """The layers that the records describe, by their places in the model, and all tensors by their names in it."""
    names = {plain: name for name, plain in plain_names(model.state_dict()).items()}
    by_module: dict[nn.Module, Any] = {}  # a module that is used in several places becomes one layer
    layers: dict[str, nn.Module] = {}
    for record in records:
        place = layer_name(names.get(record.weight, record.weight))
        module = _module_of(model, place, record)
        if module not in by_module:
            by_module[module] = _rebuilt(module, record, record.chain(tensors))
        layers[place] = by_module[module]
        names |= {join(record.name, key): join(place, key) for key in by_module[module].state_dict()}
    tie(by_module.items())
    return layers, {names.get(name, name): tensor for name, tensor in tensors.items()}


def _rebuilt(module: Any, record: LayerRecord, chain: ConvTensorTrain) -> nn.Module:
    """The layer that replaces a dense one."""
    if record.linear:
        outer, inner = (core[..., 0] for core in chain.cores)
        return LowRankLinear.like(module, outer, inner, error=record.error)
    layer_type = conv_layer_type(module)
    assert layer_type is not None
    return layer_type.like(module, chain)


def _convs(model: nn.Module) -> dict[str, Any]:
    """The plain convs of a model by name, and the conv layers of this library, whose cores are convs, too."""
    return {n: m for n, m in outermost(model) if isinstance(m, ConvLayer) or conv_layer_type(m) is not None}


def _kernel(name: str, conv: Any) -> ConvKernel:
    """The kernel of a conv; of a layer of this library the first core stands for it until it is put together."""
    chained = isinstance(conv, ConvLayer)
    stored = sum(core.weight.numel() for core in conv.cores) if chained else None
    weight = conv.cores[0].weight if chained else conv.weight
    return ConvKernel(join(name, "weight"), weight, conv.groups, conv.transposed, chain_parameters=stored)


def _dense(name: str, conv: Any) -> Any:
    """A conv that a layer can replace exactly: `conv` itself or, if it is a layer of this library, what it stands for.

    Raises:
        TensorTrainError: there is none.
    """
    try:
        if isinstance(conv, ConvLayer):
            if any(parametrize.is_parametrized(m) or m._forward_hooks or m._forward_pre_hooks for m in conv.modules()):
                raise TensorTrainError("the layer or one of its cores has hooks or parametrizations; remove them first")
            return conv.merge()
        check(conv)
        return conv
    except TensorTrainError as error:
        raise TensorTrainError(f"{name!r}: {error}, or exclude it") from None


def _module_of(model: nn.Module, name: str, record: LayerRecord) -> Any:
    """The dense layer that a record is about."""
    try:
        module: Any = model.get_submodule(name)
    except AttributeError:
        raise TensorTrainError(f"the model has no module {record.name!r}, for which the file has a chain") from None
    layer_type = conv_layer_type(module)
    is_conv = layer_type is not None and layer_type.transposed == record.transposed and not record.linear
    if not is_conv and not (record.linear and isinstance(module, nn.Linear)):
        wanted = "linear layer" if record.linear else "transposed conv" if record.transposed else "conv"
        raise TensorTrainError(f"{name!r} is a {type(module).__name__} in the model; the file needs a {wanted}")
    groups = getattr(module, "groups", 1)
    if tuple(module.weight.shape) != record.shape or groups != record.groups:
        raise TensorTrainError(
            f"{record.weight!r} has shape {tuple(module.weight.shape)} and {groups} groups in the model;"
            f" the file needs {record.shape} and {record.groups}"
        )
    return module


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
