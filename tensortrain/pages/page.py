"""The frame of all pages: sections of text, tables, charts, pictures and players, in one self-contained HTML file."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tensortrain.errors import TensorTrainError
from tensortrain.files import aside
from tensortrain.pages.charts import Chart, interactive, javascript, png
from tensortrain.tables import Table

if TYPE_CHECKING:
    from jinja2 import Template

_TEMPLATE = Path(__file__).parent / "page.html"


@dataclass(frozen=True)
class Prose:
    """Paragraphs of plain text."""

    paragraphs: Sequence[str]
    kind = "prose"


@dataclass(frozen=True)
class Details:
    """Text that is folded away below a title, in the letters of a terminal: settings, commands.

    Args:
        title: what is folded away.
        text: of several lines.
        open: whether it is shown at first.
    """

    title: str
    text: str
    open: bool = False
    kind = "details"


@dataclass(frozen=True)
class Picture:
    """A picture.

    Args:
        title: above it.
        png: the file's content.
        alternative: what it shows, in words, for those who cannot see it.
    """

    title: str
    png: bytes
    alternative: str
    kind = "picture"

    @property
    def source(self) -> str:
        """The picture as an address that holds it."""
        return _address(self.png)


@dataclass(frozen=True)
class Player:
    """Films side by side that play together, with a button and a slider.

    Args:
        title: above them.
        sprite: a PNG file with a frame of every film and moment: films below each other, time from left to right.
        films: their names.
        stages: what each moment is called, such as "frame 3, predicted".
        size: (height, width) of a frame in the sprite.
        first: the moment that is shown before it plays.
    """

    title: str
    sprite: bytes
    films: Sequence[str]
    stages: Sequence[str]
    size: tuple[int, int]
    first: int = 0
    kind = "player"

    @property
    def source(self) -> str:
        """The sprite as an address that holds it."""
        return _address(self.sprite)


Part = Prose | Details | Picture | Player | Table | Chart


@dataclass(frozen=True)
class Section:
    """A part of a page with a heading.

    Args:
        title: the heading.
        parts: in order; neighbouring charts stand side by side where there is room.
        intro: a paragraph below the heading.
    """

    title: str
    parts: Sequence[Part]
    intro: str = ""


@dataclass(frozen=True)
class Tile:
    """A number that everybody looks for first.

    Args:
        value: the number with its unit.
        label: what it is.
        note: what it is beside others.
    """

    value: str
    label: str
    note: str = ""


@dataclass(frozen=True)
class Page:
    """A page.

    Args:
        title: of the page, also in the browser's tab.
        lead: sentences below it that say it all.
        tiles: the most important numbers.
        sections: the rest.
        foot: the last line.
    """

    title: str
    lead: Sequence[str]
    tiles: Sequence[Tile]
    sections: Sequence[Section]
    foot: str = ""

    def to_html(self) -> str:
        """The file's content. All texts are escaped; nothing is loaded from anywhere.

        Raises:
            TensorTrainError: there are charts, and neither altair nor matplotlib is installed.
        """
        charts = [part for section in self.sections for part in section.parts if isinstance(part, Chart)]
        live = bool(charts) and interactive()
        return _template().render(
            page=self,
            sections=[_grouped(section, live) for section in self.sections],
            javascript=javascript() if live else "",
        )

    def save(self, path: str | PathLike[str]) -> None:
        """Write the page; nothing half-written is left.

        Raises:
            TensorTrainError: the file cannot be written, or as in `to_html`.
        """
        content = self.to_html()
        with aside(path) as temporary:
            temporary.write_text(content, encoding="utf-8")


def _grouped(section: Section, live: bool) -> dict[str, Any]:
    """A section as the template reads it: neighbouring charts are one group."""
    groups: list[dict[str, Any]] = []
    for part in section.parts:
        if isinstance(part, Chart):
            if not groups or groups[-1]["kind"] != "charts":
                groups.append({"kind": "charts", "charts": []})
            groups[-1]["charts"].append(_chart(part, live))
        elif isinstance(part, Table):
            groups.append({"kind": "table", "html": part.to_html()})
        else:
            groups.append({"kind": part.kind, "part": part})
    return {"title": section.title, "intro": section.intro, "groups": groups}


def _chart(chart: Chart, live: bool) -> Mapping[str, Any]:
    shown: dict[str, Any] = {"title": chart.title, "caption": chart.caption}
    if live:
        return shown | {"specification": chart.specification()}
    return shown | {"source": _address(png(chart))}


def _address(data: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"


@lru_cache(1)
def _template() -> "Template":
    try:
        from jinja2 import Environment, StrictUndefined
    except ImportError:
        raise TensorTrainError("pages need jinja2; install it with pip install jinja2") from None
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(_TEMPLATE.read_text(encoding="utf-8"))
