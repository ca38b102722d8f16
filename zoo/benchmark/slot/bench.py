"""What the rows of the speed table share: the place to run, and the results of earlier rows."""

import statistics
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tensortrain.profiling.clock import Clock
from zoo.benchmark.measurement import Case
from zoo.benchmark.setup import benchmark_recipe
from zoo.benchmark.slot.sizes import Sizes
from zoo.data import make_dataset
from zoo.registry import find_model

TIMES = 3  # how often each row is timed

Values = dict[str, Any]


@dataclass
class Bench:
    """Where rows are measured, and the results so far.

    Args:
        sizes: the sizes of networks and kernels.
        device: the device to run on.
        clock: the clock that takes the times.
        folder: the folder for files beside the table.
        root: the data root.

    Attributes:
        results: the values of the rows measured so far, by name.
        plain: the plain loop's seconds, GMAC and gradients, by model, preset and batch.
        floors: the seconds of a network's convolutions in isolation, by model.
        product: GMAC/s of matrix products in bf16; 0 if not measured.
    """

    sizes: Sizes
    device: torch.device
    clock: Clock
    folder: Path
    root: Path | None
    results: dict[str, Values] = field(default_factory=dict)
    plain: dict[tuple[str, str, int], tuple[float, float, list[Tensor]]] = field(default_factory=dict)
    floors: dict[str, float] = field(default_factory=dict)
    product: float = 0.0

    def case(self, model: str, preset: str, batch: int) -> Case:
        """A training step of a network that reads only its own predictions after the observed frames."""
        recipe = benchmark_recipe(model, preset, batch, self.sizes.frames, 0.0)
        known = find_model(model).options
        options = {name: value for name, value in self.sizes.options.items() if name in known}
        recipe = replace(recipe, options=recipe.options | options)
        return Case(recipe, preset, "training", 0.0, make_dataset(recipe.data, "train", self.root), self.device)

    def median(self, run: Callable[[], Any]) -> float:
        """The median of the seconds of a few runs."""
        return statistics.median(self.clock.seconds(run) for _ in range(TIMES))

    def shares(self, values: Values) -> Values:
        """Two fractions of a row: of its time in convolutions, and of the rate of matrix products that it reaches."""
        shares: Values = {}
        if "bf16" in values.get("variant", ""):
            if values["model"] in self.floors and values["preset"] == "paper":
                shares["convolutions_share"] = self.floors[values["model"]] / values["seconds"]
            if self.product:
                shares["product_share"] = values["gmac_per_second"] / self.product
        return shares


@dataclass(frozen=True)
class Measure:
    """A row of the table.

    Args:
        name: the name of the row.
        run: the function that measures it.
        needs: the number of seconds that must be left to start it.
    """

    name: str
    run: Callable[[Bench], Values]
    needs: float
