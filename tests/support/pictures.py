"""What a figure looks like when it is saved."""

import io

from matplotlib import rc_context, rcParams, style
from matplotlib.figure import Figure


def saved(figure: Figure) -> bytes:
    """The figure's image."""
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=50, metadata={"Software": None})
    return data.getvalue()


def looks_the_same_in_the_style(figure: Figure) -> bool:
    """Whether a figure has the project's colours although it is saved outside the style's context, as users save it.

    The size of the font is the caller's in both cases: matplotlib counts by it how many ticks an axis has room for.
    """
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # a constrained layout goes on moving the axes from one drawing to the next
    outside = saved(figure)
    size = rcParams["font.size"]
    with style.context("tensortrain.figures"), rc_context({"font.size": size}):
        return saved(figure) == outside
