"""Networks of recurrent cells, from which the models of `zoo.models` are built."""

from typing import Literal

Slot = Literal["bottom", "middle", "top"] | int  # the place of a gradient highway; see `zoo.networks.zigzag`
