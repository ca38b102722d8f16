"""HTML views of objects in a notebook: small tables of their properties. Every text is escaped."""

import html
from collections.abc import Mapping, Sequence

_CELL = "padding:2px 10px 2px 0;text-align:left;vertical-align:top"
_MOST = 2000  # longest text of a value that is shown, in characters


def facts(title: str, rows: Mapping[str, str], folded: Mapping[str, str] | None = None) -> str:
    """Return HTML with a title, a table of names and values, and longer texts that the reader can unfold.

    >>> facts("Kernel <3>", {"ranks": "(4, 2)"}).count("&lt;3&gt;")
    1
    """
    lines = "".join(
        f'<tr><th style="{_CELL};font-weight:normal;opacity:.7">{html.escape(name)}</th>'
        f'<td style="{_CELL}">{html.escape(value[:_MOST])}</td></tr>'
        for name, value in rows.items()
    )
    details = "".join(
        f"<details><summary>{html.escape(name)}</summary><pre>{html.escape(text)}</pre></details>"
        for name, text in (folded or {}).items()
    )
    return f"<div><b>{html.escape(title)}</b><table>{lines}</table>{details}</div>"


def chain_drawing(ranks: Sequence[int], cores: Sequence[str]) -> str:
    """Return an SVG drawing of a chain from input to output: a box for each core, joined by lines for the channels.

    Args:
        ranks: the numbers of channels from the input to the output, which label the lines; one more than there are
            cores.
        cores: the sizes of the cores as text, which label the boxes, in the same order.
    """
    wide, gap, parts = 74, 46, []
    for i, rank in enumerate(ranks):
        x = i * (wide + gap)
        parts.append(
            f'<path d="M{x} 32h{gap}" stroke="currentColor"/>'
            f'<text x="{x + gap / 2}" y="26" text-anchor="middle">{rank}</text>'
        )
    for i, core in enumerate(cores):
        x = i * (wide + gap) + gap
        parts.append(
            f'<rect x="{x}" y="16" width="{wide}" height="32" rx="6" fill="#4477AA"/>'
            f'<text x="{x + wide / 2}" y="37" text-anchor="middle" fill="#fff">{html.escape(core)}</text>'
        )
    width = len(cores) * (wide + gap) + gap
    return (
        f'<svg width="{width}" height="56" viewBox="0 0 {width} 56" style="max-width:100%;font:13px sans-serif" '
        f'fill="currentColor" role="img" aria-label="the cores from input to output">{"".join(parts)}</svg>'
    )
