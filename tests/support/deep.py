"""Which tests only `make test-deep` runs."""

import hypothesis
import pytest

from tests.conftest import FIXED


def deep() -> bool:
    """Whether `make test-deep` runs."""
    return hypothesis.settings().max_examples > FIXED.max_examples


def leave_to_deep_tests(reason: str) -> None:
    """Skip a test, unless `make test-deep` runs."""
    if not deep():
        pytest.skip(f"{reason} by `make test-deep`")
