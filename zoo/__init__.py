"""Video-prediction models built on tensor trains: make them, train them, measure them, look at them.

>>> import torch, zoo
>>> model = zoo.create_model("conv-tt-lstm-sw", hidden=(4,), layers=(1,), kernel=3)
>>> model(torch.rand(1, 10, 1, 16, 16), horizon=10).shape  # all of the 19 next frames
torch.Size([1, 19, 1, 16, 16])
"""

import importlib
from typing import TYPE_CHECKING, Any

from zoo.errors import ZooError
from zoo.recurrent import RecurrentPredictor
from zoo.registry import create_model, model_names, register
from zoo.video_model import VideoModel

if TYPE_CHECKING:
    from zoo.data import KTH, MovingMNIST, Videos
    from zoo.evaluation.evaluator import evaluate
    from zoo.evaluation.pictures import predict
    from zoo.presets import recipe
    from zoo.training.loop import fit
    from zoo.training.run_folder import open_run

# what imports Lightning and the like is loaded when it is first used
_LATER = {
    "KTH": "zoo.data",
    "MovingMNIST": "zoo.data",
    "Videos": "zoo.data",
    "evaluate": "zoo.evaluation",
    "predict": "zoo.evaluation",
    "recipe": "zoo.presets",
    "fit": "zoo.training",
    "open_run": "zoo.training",
}

__all__ = [
    "KTH",
    "MovingMNIST",
    "RecurrentPredictor",
    "VideoModel",
    "Videos",
    "ZooError",
    "create_model",
    "evaluate",
    "fit",
    "model_names",
    "open_run",
    "predict",
    "recipe",
    "register",
]


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module 'zoo' has no attribute {name!r}")
    return getattr(importlib.import_module(_LATER[name]), name)


def __dir__() -> list[str]:
    return __all__
