"""Evaluate predictions, compare them with published results, and draw them."""

from zoo import _torchvision  # noqa: F401 - before torchvision is imported
from zoo.evaluation.analysis import Series, entanglement, gradient_norms
from zoo.evaluation.baselines import Blank, CopyLast
from zoo.evaluation.comparison import compare, measured
from zoo.evaluation.comparison_curves import curves, save_figure
from zoo.evaluation.conventions import CONVENTIONS, Convention, find_convention
from zoo.evaluation.evaluator import evaluate
from zoo.evaluation.pictures import Prediction, predict
from zoo.evaluation.published import LAYOUTS
from zoo.evaluation.scores import Scores, save_values
from zoo.evaluation.series_pictures import SeriesPrediction, predict_series
from zoo.evaluation.video import read_video

__all__ = [
    "CONVENTIONS",
    "LAYOUTS",
    "Blank",
    "Convention",
    "CopyLast",
    "Prediction",
    "Scores",
    "Series",
    "SeriesPrediction",
    "compare",
    "curves",
    "entanglement",
    "evaluate",
    "find_convention",
    "gradient_norms",
    "measured",
    "predict",
    "predict_series",
    "read_video",
    "save_figure",
    "save_values",
]
