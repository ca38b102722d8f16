"""Train models: from a recipe to the folder of a run, and back to a model."""

from zoo import _torchvision  # noqa: F401 - before anything that imports torchvision
from zoo.training.loop import fit
from zoo.training.run_folder import Run, open_run

__all__ = ["Run", "fit", "open_run"]
