"""What needs a GPU: without one every test here is skipped.

Nothing here imports the command line, nor anything that a bare machine with a GPU may lack; `docs/tasks/gpu.md` lists
what it needs.
"""

import pytest
import torch


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/cuda/" in item.nodeid and not torch.cuda.is_available():
            item.add_marker(pytest.mark.skip(reason="torch sees no GPU"))
