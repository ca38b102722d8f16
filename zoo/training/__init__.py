"""Training: from settings to a run folder and back."""

from zoo import _torchvision  # noqa: F401 - before anything that imports torchvision
from zoo.training.loop import fit
from zoo.training.run_folder import Run, open_run

__all__ = ["Run", "fit", "open_run"]
