"""Shared test settings: one hypothesis profile, one thread, and where real data lies."""

import os
from pathlib import Path

import hypothesis
import pytest
import torch

hypothesis.settings.register_profile(
    "tensortrain",
    deadline=None,
    max_examples=40,
    derandomize=True,
    suppress_health_check=[hypothesis.HealthCheck.too_slow, hypothesis.HealthCheck.filter_too_much],
)
hypothesis.settings.load_profile("tensortrain")
torch.set_num_threads(1)  # the tensors are tiny: a second thread would mostly wait


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder with real data (`$ZOO_DATA`, else `../shared/data` beside the checkout); skips visibly without it."""
    root = Path(os.environ.get("ZOO_DATA") or Path(__file__).parents[2] / "shared" / "data")
    if not root.is_dir():
        pytest.skip(f"no real data at {root}; set ZOO_DATA")
    return root
