"""One style for all figures of this project, `figures.mplstyle` beside this file."""

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")
STYLE = "tensortrain.figures"


def styled(draw: Callable[P, T]) -> Callable[P, T]:
    """Let a function that creates a figure do so in the project's style; the style of the caller's figures stays.

    In a program of your own `matplotlib.style.use("tensortrain.figures")` chooses the same style.

    >>> @styled
    ... def background():
    ...     import matplotlib
    ...     return matplotlib.rcParams["image.cmap"]
    >>> background()
    'cividis'
    """

    @functools.wraps(draw)
    def in_style(*args: P.args, **kwargs: P.kwargs) -> T:
        from matplotlib import style

        with style.context(STYLE):
            return draw(*args, **kwargs)

    return in_style
