"""The common style of all figures of this project, stored in `figures.mplstyle` beside this file."""

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")
STYLE = "tensortrain.figures"


def styled(draw: Callable[P, T]) -> Callable[P, T]:
    """Make a function that creates a figure use the project's style; the caller's own figures keep their style.

    In a program of your own, `matplotlib.style.use("tensortrain.figures")` selects the same style.

    >>> @styled
    ... def background():
    ...     import matplotlib
    ...     return matplotlib.rcParams["image.cmap"]
    >>> background()
    'cividis'
    """

    @functools.wraps(draw)
    def in_style(*args: P.args, **kwargs: P.kwargs) -> T:
        """Call `draw` within the style's context."""
        from matplotlib import style

        with style.context(STYLE):
            return draw(*args, **kwargs)

    return in_style


@styled
def palette() -> list[str]:
    """The colours of the style's curves, in their order; the last is grey.

    Matplotlib resolves the colours of lines such as `"C0"` only when it saves a figure, which is after the style's
    context has ended. A figure therefore takes its colours from here.

    >>> palette()[0]
    '#4477AA'
    """
    from matplotlib import rcParams

    colours: list[str] = rcParams["axes.prop_cycle"].by_key()["color"]
    return colours
