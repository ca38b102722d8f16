"""Whole models: decompose every layer within its own limits, merge or save the result, and rebuild it from the file."""

import copy
import warnings
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from os import PathLike
from typing import Any

import torch
from torch import Tensor, nn

from tensortrain import checks, storage
from tensortrain.compression.layers import undo
from tensortrain.compression.layers.assembly import assembled
from tensortrain.compression.layers.exchange import exchange, exchangeable, exchanged, unexchangeable
from tensortrain.compression.layers.modules import (
    FACTORISED,
    ConvLayer,
    check,
    check_cores,
    conv_layer_type,
    is_plain,
    outermost,
    places,
    plain,
    swap,
)
from tensortrain.compression.layers.replaceable import copy_of, obstacles, reference_of
from tensortrain.compression.layers.ties import shared_weights, tie
from tensortrain.compression.state_dicts.decomposition import UNNAMED, Outcome, decompose_kernels, first_failure
from tensortrain.compression.state_dicts.effort import Effort
from tensortrain.compression.state_dicts.kernels import ConvKernel, select
from tensortrain.compression.state_dicts.limits import KernelSizes, LayerLimits, PerLayer, Ranks
from tensortrain.compression.state_dicts.matrices import MatrixRecord, matrix_records
from tensortrain.compression.state_dicts.names import join, layer_name, plain_modules, plain_names
from tensortrain.compression.state_dicts.records import (
    Changes,
    LayerRecord,
    network_header,
    read_changes,
    read_matrices,
    read_network,
)
from tensortrain.conv.conv_tensor_train import ConvTensorTrain
from tensortrain.errors import TensorTrainError
from tensortrain.nn.from_cores import FromCores
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
    effort: float = 1.0,
    seconds: float | None = None,
    objective: str = "error",
    size: int | Sequence[int] | None = None,
    seed: int = 0,
    resume: str | PathLike[str] | None = None,
    progress: bool | None = None,
    include: str | Iterable[str] = (),
    exclude: str | Iterable[str] = (),
) -> nn.Module:
    """Copy a model and replace every conv and linear layer by a layer of this library, which approximates its weight.

    Every limit holds for each layer; to share one budget among all layers, use `tt.compress`. Convs are decomposed into
    chains, and linear layers into two thin ones, whatever `kernel_sizes` says. Layers that share a weight share the
    cores. They need equal limits.

    A layer stays as it is if it cannot be decomposed within the limits, or would not become smaller, or has hooks,
    parametrizations or its own `forward`, or if another part of the model shares its weight. A warning lists such
    layers with the reasons.

    A conv layer of this library and a `LowRankLinear` are decomposed again. Limits and errors are then relative to the
    kernel of the layer's chain, and it is replaced only if it becomes smaller. A `TTLinear` stays as it is.

    `kernel_sizes`, `ranks`, `rtol`, `max_parameters` and `budget` may be mappings from patterns on the names of layers
    to values, such as `{"layer1.*": 0.5, "*": 0.25}`. The first pattern that matches a layer decides. A layer stays as
    it is if no pattern matches it, or if the patterns set no limit for it.

    Kernels with fewer than four million entries are decomposed side by side, as many at a time as torch has threads.
    This does not change the result.

    Args:
        model: any module; it is not changed.
        kernel_sizes: as in `ConvTensorTrain.decompose`; or a mapping.
        ranks: as in `ConvTensorTrain.decompose`; or a mapping.
        rtol: relative Frobenius tolerance in [0, 1) for each kernel; or a mapping.
        max_parameters: largest number of parameters of each layer; or a mapping.
        budget: largest number of parameters, as a fraction of each dense kernel; or a mapping.
        effort: factor on the work of each fit, see `ConvTensorTrain.decompose`.
        seconds: time limit for all fits together.
        objective: how `"auto"` chooses a format: `"error"`, `"speed"` or `"both"`, see `ConvTensorTrain.decompose`.
        size: height and width in pixels of the images on which formats are timed; 32 by default.
        seed: seed of the random starting points; equal seeds give equal results.
        resume: a file that keeps finished layers. After an interruption, the same call continues from it. It is removed
            at the end.
        progress: whether to show a progress bar; by default only in a terminal and if the work takes long. Without a
            terminal, a line says in advance how long it will take.
        include: pattern on the names of layers, such as `"layer2.*"`, or several; only layers that match are replaced.
        exclude: pattern on the names of layers, or several; layers that match are not replaced.

    Returns:
        The copy; if the model itself is a conv or linear layer, the layer that replaces it.

    Raises:
        TensorTrainError: the model has no conv or linear layer, no layer can be decomposed, a weight has NaN or
            infinite entries, a pattern matches no layer, a limit is out of range, `resume` belongs to another
            decomposition, or this is called in `torch.inference_mode`.

    One limit for all convs; the second conv is too small to be decomposed:

    >>> model = nn.Sequential(nn.Conv2d(8, 8, 5), nn.ReLU(), nn.Conv2d(8, 8, 1))
    >>> [type(m).__name__ for m in decompose(model, (3, 3), ranks=4)]
    ['ConvTT2d', 'ReLU', 'Conv2d']

    Limits that differ from conv to conv; no pattern matches the stem:

    >>> body = nn.Sequential(nn.Conv2d(8, 8, 3), nn.Conv2d(8, 8, 3))
    >>> model = nn.ModuleDict({"stem": nn.Conv2d(3, 8, 3), "body": body})
    >>> small = decompose(model, "separable", budget={"body.0": 0.5, "body.*": 0.25})
    >>> [name for name, m in small.named_modules() if isinstance(m, nn.Conv2d) and "cores" not in name]
    ['stem']
    >>> [layer.chain.n_parameters / 576 for layer in small["body"]]
    [0.5, 0.25]
    """
    checks.trainable_result()
    limits = LayerLimits(kernel_sizes, ranks, rtol, max_parameters, budget)
    reference = reference_of(model)
    layers = {name: layer for name, layer in outermost(reference) if not isinstance(layer, TTLinear)}
    if not layers:
        raise TensorTrainError(f"model is a {type(model).__name__} without any conv or linear layer")
    kernels = select([_kernel(name, layer) for name, layer in layers.items()], include, exclude)
    arguments = limits.by_kernel(kernels)
    wanted = {kernel.layer: layers[kernel.layer] for kernel in kernels if kernel.name in arguments}
    reasons = obstacles(wanted)
    dense = {name: plain(layer) for name, layer in wanted.items() if name not in reasons}
    _share((layer, dense[name]) for name, layer in wanted.items() if name in dense and not is_plain(layer))
    own_limits = {kernel.layer: arguments[kernel.name] for kernel in kernels if kernel.layer in dense}
    reasons |= shared_weights(reference, {name: layers[name] for name in dense}, own_limits)
    weights = [kernel if kernel.layer in reasons else _with_weight(kernel, layers, dense) for kernel in kernels]
    effort_of_fits = Effort(seed, effort, seconds, objective, size)
    outcomes = decompose_kernels(weights, limits, effort_of_fits, obstacles=reasons, resume=resume, progress=progress)
    chains = {outcome.kernel.layer: outcome.chain for outcome in outcomes if outcome.chain is not None}
    if not chains:
        failure = first_failure(outcomes)
        raise TensorTrainError(f"no layer can be decomposed; {failure.kernel.layer}: {failure.reason}")
    _warn_of_the_rest(outcomes)
    replaced = {name: _layer(dense[name], chain) for name, chain in chains.items()}
    tie((dense[name], layer) for name, layer in replaced.items())
    return assembled(model, replaced)


def _warn_of_the_rest(outcomes: Sequence[Outcome]) -> None:
    """Warn of layers that were to be decomposed but stay as they are."""
    left = [outcome for outcome in outcomes if outcome.reason not in (None, UNNAMED)]
    if left:
        reasons = "; ".join(f"{outcome.kernel.layer}: {outcome.reason}" for outcome in left)
        warnings.warn(f"{len(left)} of {len(outcomes)} layers stay as they are. {reasons}", stacklevel=3)


def merge(model: nn.Module) -> nn.Module:
    """Copy a model and replace every layer of this library by the plain layer that computes the same.

    Convs, linear layers and embeddings have dense weights again, which approximate the original ones. The outputs stay
    the same up to rounding. The plain layers have the settings, biases, dtype, device, `requires_grad` and training
    mode of the layers that they replace, and share a weight if those share all cores. Other modules are copied. So are
    `tt.nn.MultiheadAttention` and `tt.nn.WindowAttention`, whose projections become `nn.Linear`.

    Args:
        model: any module; it is not changed.

    Returns:
        The copy; if the model is itself such a layer, the plain layer.

    Raises:
        TensorTrainError: the model has no layer of this library or cannot be copied; or a layer has hooks,
            parametrizations or further tensors, which would be lost, or cores that are quantised or do not fit it.

    >>> model = nn.Sequential(nn.Conv2d(8, 8, 5), nn.ReLU(), nn.Conv2d(8, 8, 1))
    >>> small = decompose(model, (3, 3), ranks=4, include=["0"])
    >>> merge(small)[0]
    Conv2d(8, 8, kernel_size=(5, 5), stride=(1, 1))
    """
    copied = copy_of(model)
    layers: dict[str, Any] = {name: m for name, m in copied.named_modules() if isinstance(m, FromCores)}
    if not layers:
        raise TensorTrainError(f"model is a {type(model).__name__} without any layer of tensortrain.nn to merge")
    plain_layers = {name: _merged(name, layer) for name, layer in layers.items()}
    _share(zip(layers.values(), plain_layers.values(), strict=True))
    return swap(copied, places(copied, plain_layers))


def _merged(name: str, layer: FromCores) -> nn.Module:
    """Return the plain layer that computes what a layer of this library does."""
    try:
        check(layer)
        return layer.merge()
    except TensorTrainError as error:
        raise TensorTrainError(f"{name!r} cannot be merged: {error}") from None


def _share(pairs: Iterable[tuple[Any, Any]]) -> None:
    """Let plain layers share a weight or a bias that was computed from the same parameters.

    Args:
        pairs: pairs of a layer of this library and of the plain layer that replaces it.
    """
    first: dict[tuple[object, ...], nn.Parameter] = {}
    for layer, dense in pairs:
        weights = [id(parameter) for name, parameter in layer.named_parameters() if name.rpartition(".")[2] != "bias"]
        for part, sources in (("weight", weights), ("bias", [id(getattr(layer, "bias", None))])):
            own: nn.Parameter | None = getattr(dense, part, None)
            if own is None:
                continue
            shared = first.setdefault((part, *sources), own)
            if shared.shape == own.shape and (own.is_meta or torch.equal(shared, own)):
                setattr(dense, part, shared)


def save(model: nn.Module, path: str | PathLike[str], *, about: Mapping[str, Any] | None = None) -> None:
    """Write a network with layers of this library to a file, from which `load` rebuilds it.

    The network may have been trained after it was decomposed.

    Args:
        model: the network.
        path: the safetensors file to write.
        about: further values for the header, as JSON, such as how the architecture is built.

    Raises:
        TensorTrainError: the network has no layer of this library, `load` could not rebuild a layer, or the file cannot
            be written.

    >>> import tempfile, torch
    >>> path = tempfile.mkdtemp() + "/small.safetensors"
    >>> small = decompose(nn.Sequential(nn.Conv2d(8, 8, 5)), (3, 3), ranks=4)
    >>> save(small, path)
    >>> x = torch.randn(1, 8, 9, 9)
    >>> torch.equal(load(nn.Sequential(nn.Conv2d(8, 8, 5)), path)(x), small(x))
    True
    """
    checks.module("model", model)
    changes = Changes(exchanged=exchanged(model), about=about)
    header = network_header(layer_records(model), changes, matrix_records(model))
    storage.write(path, model.state_dict(), header)


def layer_records(model: nn.Module) -> list[LayerRecord]:
    """Return the records of the layers in a network whose kernels are chains, for the header of a file.

    Raises:
        TensorTrainError: there are no layers of this library, or `load` could not rebuild one of them.
    """
    layers = [item for item in model.named_modules(remove_duplicate=False) if isinstance(item[1], FromCores)]
    if not layers:
        raise TensorTrainError(
            f"model is a {type(model).__name__} without any layer of tensortrain.nn that a file can hold"
        )
    records = []
    for name, layer in layers:
        _check_rebuildable(name, layer)
        if isinstance(layer, ConvLayer):
            records.append(LayerRecord.of(join(name, "weight"), layer.chain, layer.weight_shape, layer.groups))
        elif isinstance(layer, LowRankLinear):
            records.append(LayerRecord.of_linear(join(name, "weight"), layer))
    return records


def _check_rebuildable(name: str, layer: FromCores) -> None:
    """Refuse a layer that `load` could not rebuild from a file. Its hooks are not part of the file."""
    try:
        check_cores(layer)
        for l, core in enumerate(layer.cores):
            checks.tensor(f"cores[{l}]", core.weight)
    except TensorTrainError as error:
        raise TensorTrainError(f"{name!r} cannot be saved: {error}") from None


def load(model: nn.Module, path: str | PathLike[str]) -> nn.Module:
    """Rebuild a decomposed or compressed network in a model of the original architecture.

    Every layer for which the file has cores is replaced by a layer with the same stride, padding and other settings.
    Layers with a TT-matrix may also be in the model already. Attention modules are exchanged if the file says so. Then
    all tensors are loaded, and each of them must fit. Names in the file and in the model may have prefixes of wrappers,
    such as `module.`. The model is changed in place, unless an error is raised.

    Args:
        model: a model of the original architecture, with its dense layers; dtypes and devices are kept.
        path: file written by `tensortrain decompose`, by `save`, or by the result of `tt.compress`.

    Returns:
        The model; if it is itself a conv or linear layer, the layer that replaces it.

    Raises:
        TensorTrainError: the file cannot be read, or does not fit the model; a tensor of the model is on the meta
            device, or its dtype cannot hold an entry of the file; or a module of the model refuses its tensors, or
            has hooks or parametrizations although it must be replaced. The message says where.

    >>> import tempfile
    >>> path = tempfile.mkdtemp() + "/small.safetensors"
    >>> save(decompose(nn.Sequential(nn.Conv2d(8, 8, 5)), (3, 3), ranks=4), path)
    >>> load(nn.Sequential(nn.Conv2d(8, 8, 5)), path)[0].chain.ranks
    (8, 4, 8)
    """
    checks.module("model", model)
    _check_has_entries(model)
    tensors, records = read_network(path)
    names = _exchanged_modules(model, read_changes(path).exchanged)
    rebuilt = exchange(copy.deepcopy(model), names) if names else model
    layers, named = _rebuilt_layers(rebuilt, tensors, [*records, *read_matrices(path)])
    replaced = {join(name, part) for name in layers for part in ("weight", "bias")}
    expected = {name: value for name, value in rebuilt.state_dict().items() if name not in replaced}
    for name, layer in layers.items():
        expected.update({join(name, key): value for key, value in layer.state_dict().items()})
    _compare(expected, named, path)
    try:
        with ExitStack() as undoing:  # after an error, it calls the functions that it was given, the last one first
            undoing.callback(undo.attributes(model))
            loaded = swap(exchange(model, names), layers)
            undoing.callback(undo.entries(loaded))
            loaded.load_state_dict(named)
            undoing.pop_all()  # there was no error
    except Exception as error:  # also whatever the methods of a model's own modules raise
        reason = " ".join(str(error).split())[:500]
        raise TensorTrainError(f"{path} cannot be loaded into the model: {type(error).__name__}: {reason}") from error
    return loaded


def _exchanged_modules(model: nn.Module, wanted: Sequence[str]) -> list[str]:
    """Return the names of the attention modules to exchange in a model; `wanted` names them as in the bare model."""
    tensors, reasons = plain_names(model.state_dict()), unexchangeable(model)
    for name, bare in plain_modules(reasons, tensors).items():
        if bare in wanted:
            raise TensorTrainError(
                f"{name!r} must be exchanged to load this file, but {reasons[name]}; remove that first, or pass a newly"
                " built model of the original architecture"
            )
    return [name for name, bare in plain_modules(exchangeable(model), tensors).items() if bare in wanted]


def _check_has_entries(model: nn.Module) -> None:
    """Refuse a model with a tensor that entries cannot be written to."""
    for name, value in model.state_dict().items():
        if isinstance(value, Tensor) and value.is_meta:
            raise TensorTrainError(
                f"{name!r} of the model is on the meta device, which holds no entries; build the model on another"
                ' device, or call model.to_empty(device="cpu") first'
            )
        if nn.parameter.is_lazy(value):
            raise TensorTrainError(f"{name!r} of the model has no shape yet; run the model once on an input first")


def _rebuilt_layers(
    model: nn.Module, tensors: Mapping[str, Tensor], records: Iterable[LayerRecord | MatrixRecord]
) -> tuple[dict[str, nn.Module], dict[str, Tensor]]:
    """Return the layers of the records by their names in the model, and all tensors by their names in it."""
    names = {plain: name for name, plain in plain_names(model.state_dict()).items()}
    by_module: dict[nn.Module, Any] = {}  # a module that is used in several places becomes one layer
    layers: dict[str, nn.Module] = {}
    for record in records:
        place = layer_name(names.get(record.weight, record.weight))
        module = _module_of(model, place, record)
        if module not in by_module:
            _check_cores(module, record, tensors)
            by_module[module] = _rebuilt(module, record, tensors)
        layers[place] = by_module[module]
        names |= {join(record.name, key): join(place, key) for key in by_module[module].state_dict()}
    tie(by_module.items())
    return layers, {names.get(name, name): tensor for name, tensor in tensors.items()}


def _check_cores(module: nn.Module, record: LayerRecord | MatrixRecord, tensors: Mapping[str, Tensor]) -> None:
    """Refuse cores with entries that the dtype of the module in their place cannot hold."""
    own = next(module.parameters(), None)
    for key in (join(record.name, f"cores.{l}.weight") for l in range(len(record.ranks) - 1)):
        if own is not None and key in tensors:
            _check_dtype(key, tensors[key], own.dtype)


def _rebuilt(module: Any, record: LayerRecord | MatrixRecord, tensors: Mapping[str, Tensor]) -> nn.Module:
    """Build the layer of a record that replaces a plain layer."""
    if isinstance(record, MatrixRecord):
        return record.rebuilt(module, tensors)
    _check_fits(module, record)
    return _layer(module, record.chain(tensors))


def _layer(dense: Any, chain: ConvTensorTrain) -> nn.Module:
    """Build the layer of a chain that replaces a plain layer."""
    if isinstance(dense, nn.Linear):
        outer, inner = (core[..., 0] for core in chain.cores)
        return LowRankLinear.like(dense, outer, inner, error=chain.error)
    layer_type = conv_layer_type(dense)
    assert layer_type is not None
    return layer_type.like(dense, chain)


def _kernel(name: str, layer: Any) -> ConvKernel:
    """Return the kernel of a layer. That of a layer of this library is empty until it is composed."""
    return ConvKernel(
        join(name, "weight"),
        torch.empty(0) if isinstance(layer, FACTORISED) else layer.weight,
        getattr(layer, "groups", 1),
        getattr(layer, "transposed", False),
        linear=isinstance(layer, nn.Linear | LowRankLinear),
    )


def _with_weight(kernel: ConvKernel, layers: Mapping[str, Any], dense: Mapping[str, Any]) -> ConvKernel:
    """Return the kernel with the weight of its plain layer, or with the composed weight of a layer of this library."""
    if kernel.layer not in dense:
        return kernel
    layer, weight = layers[kernel.layer], dense[kernel.layer].weight
    stored = sum(core.weight.numel() for core in layer.cores) if isinstance(layer, FACTORISED) else None
    return replace(kernel, weight=weight[..., None] if kernel.linear else weight, chain_parameters=stored)


def _module_of(model: nn.Module, name: str, record: LayerRecord | MatrixRecord) -> Any:
    """Return the dense layer to which a record belongs."""
    try:
        return model.get_submodule(name)
    except AttributeError:
        raise TensorTrainError(
            f"the model has no module {record.name!r}, but the file has cores for it; pass a model of the original"
            " architecture"
        ) from None


def _check_fits(module: Any, record: LayerRecord) -> None:
    """Refuse a module that is not the dense layer of a record."""
    layer_type = conv_layer_type(module)
    is_conv = layer_type is not None and layer_type.transposed == record.transposed and not record.linear
    if not is_conv and not (record.linear and isinstance(module, nn.Linear)):
        needed = "linear layer" if record.linear else "transposed conv" if record.transposed else "conv"
        raise TensorTrainError(f"{record.name!r} is a {type(module).__name__} in the model; the file needs a {needed}")
    groups = getattr(module, "groups", 1)
    if tuple(module.weight.shape) != record.shape or groups != record.groups:
        raise TensorTrainError(
            f"{record.weight!r} has shape {tuple(module.weight.shape)} and {groups} groups in the model;"
            f" the file needs {record.shape} and {record.groups}"
        )
    try:
        check(module)
    except TensorTrainError as error:
        raise TensorTrainError(f"{record.name!r} of the model cannot be replaced: {error}") from None


def _compare(expected: Mapping[str, object], tensors: Mapping[str, Tensor], path: str | PathLike[str]) -> None:
    """Check that the tensors of a file have the names and shapes of the model's tensors, and fit their dtypes."""
    missing, unexpected = sorted(expected.keys() - tensors.keys()), sorted(tensors.keys() - expected.keys())
    if missing or unexpected:
        raise TensorTrainError(
            f"{path} does not fit the model: missing {missing[:5] or 'nothing'},"
            f" unexpected {unexpected[:5] or 'nothing'}"
        )
    for name, value in expected.items():
        if not isinstance(value, Tensor):
            continue  # the extra state of a module, which decides itself what it accepts
        if value.shape != tensors[name].shape:
            raise TensorTrainError(
                f"{path} does not fit the model: {name!r} has shape {tuple(tensors[name].shape)},"
                f" the model needs {tuple(value.shape)}"
            )
        _check_dtype(name, tensors[name], value.dtype)


def _check_dtype(name: str, tensor: Tensor, dtype: torch.dtype) -> None:
    """Refuse a tensor of a file with entries that its dtype in the model cannot hold."""
    lost = _lost(tensor, dtype)
    if len(lost):
        raise TensorTrainError(
            f"the file does not fit the model: {name!r} holds {lost[0].item():.6g}, which {dtype}, its dtype in the"
            f" model, cannot hold; convert the model first, such as with .to({tensor.dtype})"
        )


def _lost(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the entries of a tensor that another dtype cannot hold. Rounding to a floating dtype is no loss."""
    entries = tensor.flatten()
    if dtype == tensor.dtype or dtype.is_complex:
        return entries[:0]
    if tensor.is_complex():
        return entries
    converted = entries.to(dtype)
    if dtype.is_floating_point:
        return entries[entries.double().isfinite() & ~converted.double().isfinite()]
    return entries[converted != entries]
