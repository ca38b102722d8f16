"""Networks of recurrent cells, which models of `zoo.models` are made of."""

from typing import Literal

Slot = Literal["bottom", "middle", "top"] | int  # where a gradient highway is; see `zoo.networks.zigzag`
