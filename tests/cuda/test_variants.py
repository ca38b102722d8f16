"""Every way to run a model, measured on a GPU."""

from dataclasses import replace

import pytest
import torch

from tensortrain.profiling.clock import Clock
from zoo.benchmark import JOBS, VARIANTS, Case, benchmark_recipe, measure
from zoo.data import MovingMNIST


@pytest.mark.parametrize("job", JOBS)
def test_every_way_to_run_runs(job: str) -> None:
    device = torch.device("cuda")
    recipe = benchmark_recipe("conv-tt-lstm-sw", "paper", 2, 5, 0.5)
    recipe = replace(recipe, options={"hidden": [2, 3], "layers": [1, 1], "patch": 8, "kernel": 3, "rank": 2})
    case = Case(recipe, "paper", job, 0.5, MovingMNIST("train", source="embedded", length=5), device)
    variants = [variant for variant in VARIANTS.values() if "cuda" in variant.devices and job in variant.jobs]
    row_of = {row.variant: row for row in measure(case, variants, 2, Clock(device, 1))}
    assert {name: row.note for name, row in row_of.items() if row.note} == {}
    assert row_of["graph"].launches < row_of["eager"].launches
    assert row_of["graph"].difference == row_of["eager"].difference
    assert row_of["compiled"].difference < 1e-4
