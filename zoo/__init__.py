"""Models that predict video and series, built on tensor trains: create, train, evaluate and compare them.

>>> import torch, zoo
>>> model = zoo.create_model("conv-tt-lstm-sw", hidden=(4,), layers=(1,), kernel=3)
>>> model(torch.rand(1, 10, 1, 16, 16), horizon=10).shape  # predictions of frames 2 to 20: 9 observed, 10 new
torch.Size([1, 19, 1, 16, 16])
"""

import importlib
from typing import TYPE_CHECKING, Any

from zoo.errors import ZooError

if TYPE_CHECKING:
    from zoo.data import KTH, Lorenz, MovingMNIST, Videos
    from zoo.evaluation.evaluator import evaluate
    from zoo.evaluation.pictures import predict
    from zoo.evaluation.series_pictures import predict_series
    from zoo.model_files.pretrained import create_model, list_models, pretrained_names
    from zoo.papers import Paper
    from zoo.predictors.recurrent import RecurrentPredictor
    from zoo.predictors.series_model import SeriesModel
    from zoo.predictors.video_model import VideoModel
    from zoo.presets import recipe
    from zoo.registry import PresetOptions, register
    from zoo.training.loop import fit
    from zoo.training.run_folder import open_run

    __version__: str

# Each name is loaded when it is first used. Most of these modules import torch, some import Lightning, and the command
# can handle Ctrl-C only after this module was imported.
_LATER = {
    "KTH": "zoo.data",
    "Lorenz": "zoo.data",
    "MovingMNIST": "zoo.data",
    "Paper": "zoo.papers",
    "PresetOptions": "zoo.registry",
    "RecurrentPredictor": "zoo.predictors.recurrent",
    "SeriesModel": "zoo.predictors.series_model",
    "VideoModel": "zoo.predictors.video_model",
    "Videos": "zoo.data",
    "create_model": "zoo.model_files.pretrained",
    "evaluate": "zoo.evaluation",
    "fit": "zoo.training",
    "list_models": "zoo.model_files.pretrained",
    "open_run": "zoo.training",
    "predict": "zoo.evaluation",
    "predict_series": "zoo.evaluation",
    "pretrained_names": "zoo.model_files.pretrained",
    "recipe": "zoo.presets",
    "register": "zoo.registry",
}

__all__ = [
    "KTH",
    "Lorenz",
    "MovingMNIST",
    "Paper",
    "PresetOptions",
    "RecurrentPredictor",
    "SeriesModel",
    "VideoModel",
    "Videos",
    "ZooError",
    "__version__",
    "create_model",
    "evaluate",
    "fit",
    "list_models",
    "open_run",
    "predict",
    "predict_series",
    "pretrained_names",
    "recipe",
    "register",
]


if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        if name == "__version__":
            from importlib.metadata import version  # reads the installed package's metadata, so only on demand

            return version("tensortrain")
        if name not in _LATER:
            raise AttributeError(f"module 'zoo' has no attribute {name!r}")
        importlib.import_module("zoo.models")  # registers the models of the package, before any of the user's
        return getattr(importlib.import_module(_LATER[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
