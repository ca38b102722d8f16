"""What cannot be recorded. The last of these files, since it leaves a recording that was broken off behind."""

import pytest
import torch

from zoo.errors import ZooError
from zoo.training.graph import Graphed


def test_what_cannot_be_recorded_is_said() -> None:
    graphed = Graphed(lambda x: x * x.sum().item(), warm_up=1)
    graphed(torch.ones(3, device="cuda"))
    with pytest.raises(ZooError, match=r"cannot be recorded as a CUDA graph .*; set training\.graph to false"):
        graphed(torch.ones(3, device="cuda"))
    assert float((2 * torch.ones(3, device="cuda")).sum()) == 6
