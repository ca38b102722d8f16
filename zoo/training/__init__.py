"""Training: from settings to a run folder and back."""

from zoo import _torchvision  # noqa: F401 - before anything that imports torchvision
from zoo.training.fit import fit
from zoo.training.run import Run, open_run

__all__ = ["Run", "fit", "open_run"]
