"""Whole networks: decompose every conv of a model, save it, and rebuild it in a model of the original architecture."""

import copy
from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from typing import Any, get_args

from torch import Tensor, nn

from tensortrain import storage
from tensortrain.compression.kernels import Kernel, decompose_kernels, select
from tensortrain.conv import formats
from tensortrain.errors import TensorTrainError
from tensortrain.nn.conv import ConvTransposeTT1d, ConvTransposeTT2d, ConvTransposeTT3d, ConvTT1d, ConvTT2d, ConvTT3d
from tensortrain.nn.linear import TTLinear
from tensortrain.storage import LayerRecord, join

Layer = ConvTT1d | ConvTT2d | ConvTT3d | ConvTransposeTT1d | ConvTransposeTT2d | ConvTransposeTT3d
LAYERS: tuple[type[Layer], ...] = get_args(Layer)


def decompose(
    model: nn.Module,
    kernel_sizes: str | Sequence[int | Sequence[int]] | formats.Format = "auto",
    *,
    ranks: int | Sequence[int] | None = None,
    rtol: float | None = None,
    budget: float | None = None,
    seed: int = 0,
    include: Iterable[str] = (),
    exclude: Iterable[str] = (),
) -> nn.Module:
    """A copy of a model with every conv replaced by a layer of this library.

    Convs that cannot be decomposed within the limits, or would not get smaller, stay as they are, and so do layers
    of this library. If a conv takes long and a person is watching, a progress bar shows.

    Args:
        model: any module; it is not changed.
        kernel_sizes, ranks, rtol, budget, seed: for each conv, see `ConvTensorTrain.decompose`.
        include, exclude: patterns on the names of the convs, such as `"layer2.*"`.

    Raises:
        TensorTrainError: no dense conv, a pattern that matches none, limits out of range, a conv that a layer could
            not stand for exactly (see `ConvTT2d.from_conv`), or not one that can be decomposed.

    >>> model = nn.Sequential(nn.Conv2d(8, 8, 5), nn.ReLU(), nn.Conv2d(8, 8, 1))
    >>> [type(m).__name__ for m in decompose(model, (3, 3), ranks=4)]
    ['ConvTT2d', 'ReLU', 'Conv2d']
    """
    done = {core for layer in model.modules() if isinstance(layer, Layer) for core in layer.cores}
    convs = {name: conv for name, conv in model.named_modules() if _kind(conv) and conv not in done}
    if not convs:
        raise TensorTrainError(f"model is a {type(model).__name__} without any dense conv")
    chosen = select([_kernel(name, conv) for name, conv in convs.items()], include, exclude)
    for kernel in chosen:
        _check(kernel.layer, convs[kernel.layer])
    outcomes = list(
        decompose_kernels(chosen, kernel_sizes=kernel_sizes, ranks=ranks, rtol=rtol, budget=budget, seed=seed)
    )
    layers = {
        conv: kind.like(conv, outcome.chain)
        for outcome in outcomes
        if outcome.chain is not None and (kind := _kind(conv := convs[outcome.kernel.layer]))
    }
    if not layers:
        raise TensorTrainError(f"no conv can be decomposed; {outcomes[0].kernel.layer}: {outcomes[0].reason}")
    # a conv that is used in several places stays one layer
    places = {name: layers[m] for name, m in model.named_modules(remove_duplicate=False) if m in layers}
    return _swap(copy.deepcopy(model), places)


def save(model: nn.Module, path: str | PathLike[str]) -> None:
    """Write a network with conv layers of this library, trained further or not, in the format `load` reads.

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
    storage.write(path, model.state_dict(), storage.network_header(records))


def load(model: nn.Module, path: str | PathLike[str]) -> nn.Module:
    """Rebuild a decomposed network in a model of the original architecture.

    Every conv that the file has a chain for is replaced by the layer with the conv's own stride, padding, …;
    then all tensors are loaded strictly. The model is changed in place, or not at all if an error is raised.

    Args:
        model: with its dense convs; dtypes and devices are kept.
        path: what the command `tensortrain decompose` or `save` wrote.

    Returns:
        The model; if it is itself a conv, the layer.

    Raises:
        TensorTrainError: a file that cannot be read, or does not fit the model; the message tells where.
    """
    tensors, records = storage.read_network(path)
    made: dict[nn.Module, Layer] = {}
    layers: dict[str, Layer] = {}
    for record in records:
        conv, kind = _find(model, record)
        if conv not in made:
            made[conv] = kind.like(conv, record.chain(tensors))
        layers[record.name] = made[conv]
    replaced = {join(name, part) for name in layers for part in ("weight", "bias")}
    expected = {name: value for name, value in model.state_dict().items() if name not in replaced}
    for name, layer in layers.items():
        expected.update({join(name, key): value for key, value in layer.state_dict().items()})
    _compare(expected, tensors, path)
    model = _swap(model, layers)
    model.load_state_dict(tensors)
    return model


def _kind(module: nn.Module) -> type[Layer] | None:
    """The layer that replaces a module, if it is a plain conv."""
    return next((layer for layer in LAYERS if isinstance(module, layer.plain)), None)


def _kernel(name: str, conv: Any) -> Kernel:
    """The kernel of a conv."""
    return Kernel(join(name, "weight"), conv.weight, conv.groups, conv.transposed)


def _check(name: str, conv: Any) -> None:
    """Refuse a conv that no layer can stand for."""
    kind = _kind(conv)
    assert kind is not None
    try:
        kind.check(conv)
    except TensorTrainError as error:
        raise TensorTrainError(f"{name!r}: {error}, or exclude it") from None


def _find(model: nn.Module, record: LayerRecord) -> tuple[Any, type[Layer]]:
    """The conv that a record is for, and its layer."""
    try:
        conv: Any = model.get_submodule(record.name)
    except AttributeError:
        raise TensorTrainError(f"the model has no module {record.name!r}, for which the file has a chain") from None
    kind = _kind(conv)
    if kind is None or kind.transposed != record.transposed:
        wanted = "transposed conv" if record.transposed else "conv"
        raise TensorTrainError(f"{record.name!r} is a {type(conv).__name__} in the model; the file needs a {wanted}")
    if tuple(conv.weight.shape) != record.shape or conv.groups != record.groups:
        raise TensorTrainError(
            f"{record.weight!r} has shape {tuple(conv.weight.shape)} and {conv.groups} groups in the model;"
            f" the file needs {record.shape} and {record.groups}"
        )
    return conv, kind


def _compare(expected: Mapping[str, Tensor], found: Mapping[str, Tensor], path: str | PathLike[str]) -> None:
    """Refuse tensors of a file that are not exactly those of the model."""
    missing, unexpected = sorted(expected.keys() - found.keys()), sorted(found.keys() - expected.keys())
    if missing or unexpected:
        raise TensorTrainError(
            f"{path} does not fit the model: missing {missing[:5] or 'nothing'},"
            f" unexpected {unexpected[:5] or 'nothing'}"
        )
    for name, value in expected.items():
        if value.shape != found[name].shape:
            raise TensorTrainError(
                f"{path} does not fit the model: {name!r} has shape {tuple(found[name].shape)},"
                f" the model needs {tuple(value.shape)}"
            )


def _swap(model: nn.Module, layers: Mapping[str, nn.Module]) -> nn.Module:
    """`model` with the modules of these names replaced; the layer itself if the model is one."""
    for name, layer in layers.items():
        if not name:
            return layer
        model.set_submodule(name, layer)
    return model
