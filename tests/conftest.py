"""Shared test settings: hypothesis profiles, one thread, and the folder of real data.

Profile "fixed" draws the same examples in every run, so that CI fails only where the code has changed. Profile "deep"
draws fresh ones, ten times as many (`make test-deep`, which is `pytest --hypothesis-profile=deep`); a failure prints
the line that repeats it, and hypothesis keeps the example for the next run.
"""

import os
from pathlib import Path

import hypothesis
import pytest
import torch

FIXED = hypothesis.settings(
    deadline=None,
    max_examples=30,
    derandomize=True,
    suppress_health_check=[hypothesis.HealthCheck.too_slow, hypothesis.HealthCheck.filter_too_much],
)
hypothesis.settings.register_profile("fixed", FIXED)
hypothesis.settings.register_profile(
    "deep", FIXED, derandomize=False, max_examples=10 * FIXED.max_examples, print_blob=True
)
# otherwise each of the many processes that tests start would compile the packages
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
hypothesis.settings.load_profile("fixed")  # unless --hypothesis-profile names another
torch.set_num_threads(1)  # the tensors are tiny: a second thread would mostly wait


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder with real data: `$ZOO_DATA`, else `../shared/data` beside the checkout. Skips the test without it."""
    root = Path(os.environ.get("ZOO_DATA") or Path(__file__).parents[2] / "shared" / "data")
    if not root.is_dir():
        pytest.skip(f"no real data at {root}; set ZOO_DATA")
    return root
