"""Recognise the network of a foreign checkpoint, and make the corresponding model of this package."""

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from tensortrain.compression.state_dicts.checkpoints import read_checkpoint
from tensortrain.errors import TensorTrainError
from tensortrain.torch_files import read_torch
from zoo.checks import check_recipe
from zoo.errors import ZooError
from zoo.foreign import tensorflow
from zoo.foreign.ledger import Foreign, Ledger
from zoo.foreign.torch_stack import read_conv_lstm, read_conv_tt_lstm
from zoo.foreign.torch_zigzag import read_predrnn, read_predrnn_pp
from zoo.model_files.building import build_model, fill
from zoo.names import FOREIGN, check_name
from zoo.predictors.predictor import Predictor
from zoo.predictors.video_model import VideoModel
from zoo.settings import OwnData, Recipe, Video, data_class

_METHODS = {  # methods by a pattern of their tensors' names; the first that matches counts
    r"cell_list\.\d+\.conv_a\b": "an action-conditioned PredRNN",
    r"cell_list\.\d+\.conv_x\.0\.conv3d\.": "E3D-LSTM, whose recall in that code differs from its paper's",
    r"cell_list\.\d+\.conv_t\b": "MAU",
    r"stlstm_layer": "MIM",
    r"(encoder\.)?(phycell|convcell)\.": "PhyDNet",
    r"(Downsample|Upsample|ST)\.": "SwinLSTM",
    r"(hid|enc)\.": "SimVP or one of its kin, such as TAU",
    r"gradient_highway\.": "PredRNN++",
    r"cell_list\.\d+\.conv_m\b": "PredRNN",
    r"cell_list\.\d+\.conv_h\b": "ConvLSTM",
    r"layers\.b\d+l\d+\.": "the Conv-TT-LSTM paper's network",
}
_READ = {
    "openstl": {"PredRNN": read_predrnn, "PredRNN++": read_predrnn_pp, "ConvLSTM": read_conv_lstm},
    "predrnn-pytorch": {"PredRNN": read_predrnn},
}
TENSORFLOW = (
    "write the variables to an .npz file by their names, where TensorFlow is installed: reader = tf.train."
    "load_checkpoint(PATH); numpy.savez(FILE, **{name: reader.get_tensor(name) for name in "
    "reader.get_variable_to_shape_map()}); then zoo import predrnn-pp FILE.npz"
)


class Imported(NamedTuple):
    """A foreign checkpoint, converted to a model of this package.

    Args:
        model: the model with its weights, in evaluation mode.
        recipe: the options of the model, and the clips to evaluate it on. Its other settings are defaults, because the
            file does not say how the model was trained.
        remarks: which tensors were ignored, and why.
    """

    model: Predictor
    recipe: Recipe
    remarks: list[str]


def import_weights(
    source: str,
    path: str | Path,
    channels: int = 1,
    sigmoid: bool = False,
    dataset: str = "moving-mnist",
    size: int | list[int] | None = None,
) -> Imported:
    """Convert a checkpoint of another code base. No code in it is run.

    Args:
        source: "openstl", "predrnn-pytorch", "conv-tt-lstm", or "predrnn-pp" for an `.npz` file of its variables.
        path: the file.
        channels: C of the frames, which cannot be read from a file if frames were folded.
        sigmoid: for "conv-tt-lstm", whether the model was trained with a sigmoid on its predictions, as for KTH.
        dataset: the data set of the model; see `zoo.recipe`.
        size: height and width of the frames, as one number or a list; by default those of the data set.

    Raises:
        ZooError: if the source is unknown; if the file cannot be read or is of a method that this package lacks; if a
            tensor is missing, superfluous, of another shape or not finite; or if the settings do not fit.

    >>> import_weights("openstl", "checkpoints/latest.pth").recipe.model  # doctest: +SKIP
    'predrnn'
    """
    check_name("source", source, FOREIGN)
    path = Path(path)
    _refuse_tensorflow(path)
    if source == "predrnn-pp":
        foreign = _read_predrnn_pp(path, channels)
    elif source == "conv-tt-lstm":
        names = _tensors(path, ["the Conv-TT-LSTM paper's network"])
        foreign = read_conv_tt_lstm(Ledger(names, str(path), "network of the Conv-TT-LSTM paper"), sigmoid)
        if foreign.options["channels"] != channels:
            raise ZooError(
                f"{path} is for frames with {foreign.options['channels']} channels; set --channels to this number"
            )
    else:
        tensors = _tensors(path, _READ[source])
        method = _method(tensors)
        foreign = _READ[source][method](Ledger(tensors, str(path), f"{method} of {source}"), channels)
    if sigmoid and source != "conv-tt-lstm":
        raise ZooError(f"no model of {source} ends with a sigmoid; leave --sigmoid out")
    return _build(foreign, str(path), channels, dataset, size)


def _read_predrnn_pp(path: Path, channels: int) -> Foreign:
    if path.suffix.lower() != ".npz":
        raise ZooError(f"{path} is not an .npz file of PredRNN++'s variables; {TENSORFLOW}")
    arrays, state = tensorflow.read_arrays(path)
    foreign = tensorflow.read_predrnn_pp(Ledger(arrays, str(path), "PredRNN++ in TensorFlow"), channels)
    if state:
        foreign.remarks.append(f"ignored: {len(state)} arrays such as {state[0]}: the optimiser's state")
    return foreign


def _tensors(path: Path, known: Collection[str]) -> Mapping[str, Tensor]:
    """The tensors of a torch or safetensors file, if it is of a known method.

    Raises:
        ZooError: if it cannot be read, or is of another method.
    """
    try:
        tensors = read_checkpoint(path).tensors
    except TensorTrainError as error:
        advice = ". If it holds more than tensors, save these alone with torch.save" if path.is_file() else ""
        raise ZooError(f"{error}{advice}") from None
    method = _method(tensors)
    if method not in known:
        problem = f"is of {method}" if method else f"holds tensors such as {next(iter(tensors))}, of no known method"
        setting = _setting(path)
        raise ZooError(f"{path} {problem}{setting}; these can be imported: {', '.join(known)}")
    return tensors


def _method(tensors: Mapping[str, Any]) -> str:
    """The method whose network has such names; empty if it is not known."""
    for pattern, method in _METHODS.items():
        if any(re.match(pattern, name) for name in tensors):
            return method
    return ""


def _setting(path: Path) -> str:
    """The method that the file itself names, as files of Lightning do; empty if there is none."""
    try:
        content = read_torch(path).content
    except TensorTrainError:  # for example a safetensors file
        return ""
    settings = content.get("hyper_parameters") if isinstance(content, Mapping) else None
    method = settings.get("method") if isinstance(settings, Mapping) else None
    return f" (its settings say {method!r})" if isinstance(method, str) else ""


def _refuse_tensorflow(path: Path) -> None:
    """Raise a ZooError for a checkpoint of TensorFlow, which says how to convert it."""
    beside = path.with_name(path.name + ".index")
    if re.search(r"\.(index|meta|pb|data-\d+-of-\d+)$", path.name) or (not path.exists() and beside.exists()):
        raise ZooError(f"{path} is a TensorFlow checkpoint, which cannot be read; {TENSORFLOW}")


def _build(foreign: Foreign, where: str, channels: int, dataset: str, size: int | list[int] | None) -> Imported:
    kind = data_class(dataset)
    if not issubclass(kind, Video):
        raise ZooError(f"{dataset} is not a video data set; choose one")
    settings: dict[str, Any] = {"name": dataset}
    if issubclass(kind, OwnData):
        settings["channels"] = channels
    elif channels != 1:
        raise ZooError(f"{dataset} is grey, but the frames have {channels} channels; choose --dataset python")
    if size is not None:
        settings["size"] = size
    recipe = check_recipe(Recipe(foreign.model, foreign.options, kind(**settings)))
    model = build_model(recipe, where, foreign.weights)
    fill(model, {name: each.contiguous() for name, each in foreign.weights.items()}, where)
    if isinstance(model, VideoModel) and any(recipe.data.frame):  # type: ignore[union-attr]
        model.check_size(*recipe.data.frame)  # type: ignore[union-attr]
    return Imported(model.eval(), recipe, foreign.remarks)
