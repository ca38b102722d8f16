"""Entry points of `torch.hub`: one for each model of video and series, by its name with `_` for `-`.

torch.hub.load("PATH OF A CHECKOUT", "conv_tt_lstm_sw", source="local", pretrained="moving-mnist-small")
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import zoo

dependencies = ["torch", "numpy", "opt_einsum", "pydantic", "safetensors", "tensorly", "yaml"]


def _entry(name: str) -> Callable[..., Any]:
    def make(pretrained: str | Path | bool | None = None, **options: Any) -> Any:
        return zoo.create_model(name, pretrained, **options)

    make.__name__ = name.replace("-", "_")
    make.__doc__ = f'`zoo.create_model("{name}", pretrained, **options)`: see there.'
    return make


globals().update({name.replace("-", "_"): _entry(name) for name in zoo.list_models()})
