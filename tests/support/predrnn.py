"""What the tests of PredRNN's cells and of its networks share."""

import torch

from zoo.cells import CausalLSTMCell, SpatialToTemporalCell, STLSTMCell

CELLS = [STLSTMCell, CausalLSTMCell, SpatialToTemporalCell]
SIZE = (2, 3)


def fill(module: torch.nn.Module) -> torch.nn.Module:
    """Random weights, biases and norms in double precision."""
    generator = torch.Generator().manual_seed(0)
    for parameter in module.double().parameters():
        torch.nn.init.normal_(parameter, std=0.5, generator=generator)
    return module
