"""The settings of a training run as dataclasses, and their conversion to and from plain data.

A `Recipe` holds all settings of a run. It is read from YAML or the command line, and a copy is written to the folder of
the run. A step is one update of the weights, and an epoch is `clips_per_epoch` training clips. Each kind of data set,
schedule and optimiser has its own class, so a recipe holds only settings that have a meaning in its run.

>>> recipe = Recipe("conv-lstm", data=KTHData(size=64), sampling=LinearSampling(stop=1000))
>>> from_plain(to_plain(recipe), "here") == recipe
True
"""

from zoo.settings.data import (
    DATA_SETS,
    LARGEST_AUGMENTATION,
    VALIDATION_PERSONS,
    ArraysData,
    Clips,
    Content,
    Data,
    FilmedData,
    ImagesData,
    KTHData,
    LorenzData,
    MovingMNISTData,
    OwnData,
    PythonData,
    Resize,
    StoredData,
    Video,
    VideoData,
    VideosData,
    Windows,
    data_class,
    kind_of,
)
from zoo.settings.optimizers import AdamOptimizer, Optimizer, RMSPropOptimizer, SGDOptimizer
from zoo.settings.plain import CHOICES, from_plain, settings_class, to_plain
from zoo.settings.recipe import FRAME_LOSSES, LOSS_TERMS, Origin, Recipe, Training
from zoo.settings.schedules import (
    ConstantRate,
    CosineRate,
    LearningRate,
    LinearSampling,
    NoSampling,
    PlateauRate,
    PlateauSampling,
    ReverseSampling,
    Sampling,
    SigmoidSampling,
    StepRate,
)

__all__ = [
    "CHOICES",
    "DATA_SETS",
    "FRAME_LOSSES",
    "LARGEST_AUGMENTATION",
    "LOSS_TERMS",
    "VALIDATION_PERSONS",
    "AdamOptimizer",
    "ArraysData",
    "Clips",
    "ConstantRate",
    "Content",
    "CosineRate",
    "Data",
    "FilmedData",
    "ImagesData",
    "KTHData",
    "LearningRate",
    "LinearSampling",
    "LorenzData",
    "MovingMNISTData",
    "NoSampling",
    "Optimizer",
    "Origin",
    "OwnData",
    "PlateauRate",
    "PlateauSampling",
    "PythonData",
    "RMSPropOptimizer",
    "Recipe",
    "Resize",
    "ReverseSampling",
    "SGDOptimizer",
    "Sampling",
    "SigmoidSampling",
    "StepRate",
    "StoredData",
    "Training",
    "Video",
    "VideoData",
    "VideosData",
    "Windows",
    "data_class",
    "from_plain",
    "kind_of",
    "settings_class",
    "to_plain",
]
