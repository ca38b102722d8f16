"""The structure of all pages: sections of text, tables, charts, pictures and players in a self-contained HTML file."""

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
    """Text in a fixed-width font that the reader can unfold below a title, such as settings or commands.

    Args:
        title: the title, which is always visible.
        text: the text, of any number of lines.
        open: whether the text is visible at first.
    """

    title: str
    text: str
    open: bool = False
    kind = "details"


@dataclass(frozen=True)
class Picture:
    """A picture with a title.

    Args:
        title: the title above the picture.
        png: the content of a PNG file.
        alternative: a description of the picture for readers who cannot see it.
    """

    title: str
    png: bytes
    alternative: str
    kind = "picture"

    @property
    def source(self) -> str:
        """Return the picture as a data URL."""
        return _address(self.png)


@dataclass(frozen=True)
class Player:
    """Films side by side that play together, controlled by a button and a slider.

    Args:
        title: the title above the films.
        sprite: the content of a PNG file with every frame: films below each other, time from left to right.
        films: the names of the films.
        stages: the name of each moment, such as "frame 3, predicted".
        size: (height, width) of a frame in the sprite.
        first: index of the moment that is shown before the films play.
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
        """Return the sprite as a data URL."""
        return _address(self.sprite)


Part = Prose | Details | Picture | Player | Table | Chart


@dataclass(frozen=True)
class Section:
    """A part of a page with a heading.

    Args:
        title: the heading.
        parts: the parts in order; neighbouring charts stand side by side if there is room.
        intro: a paragraph below the heading.
    """

    title: str
    parts: Sequence[Part]
    intro: str = ""


@dataclass(frozen=True)
class Tile:
    """One of the most important numbers, shown large at the top of a page.

    Args:
        value: the number with its unit.
        label: the name of the number.
        note: a comparison with other numbers.
    """

    value: str
    label: str
    note: str = ""


@dataclass(frozen=True)
class Page:
    """A page with a title, the most important numbers, and sections.

    Args:
        title: the title of the page, which the browser's tab shows as well.
        lead: sentences below the title that summarise the page.
        tiles: the most important numbers.
        sections: the sections of the page.
        foot: the last line of the page.
    """

    title: str
    lead: Sequence[str]
    tiles: Sequence[Tile]
    sections: Sequence[Section]
    foot: str = ""

    def to_html(self, *, live: bool = True) -> str:
        """Return the content of the HTML file. All texts are escaped, and nothing is loaded from the network.

        Args:
            live: whether charts may be interactive, if altair and vl-convert-python are installed. It takes seconds to
                prepare the first such page.

        Raises:
            TensorTrainError: there are charts, but neither matplotlib nor altair and vl-convert-python are installed.
        """
        charts = [part for section in self.sections for part in section.parts if isinstance(part, Chart)]
        live = live and bool(charts) and interactive()
        return _template().render(
            page=self,
            sections=[_grouped(section, live) for section in self.sections],
            javascript=javascript() if live else "",
        )

    def save(self, path: str | PathLike[str]) -> None:
        """Write the page to a file, which appears only when it is complete.

        Raises:
            TensorTrainError: the file cannot be written, or `to_html` fails.
        """
        content = self.to_html()
        with aside(path) as temporary:
            temporary.write_text(content, encoding="utf-8")


def _grouped(section: Section, live: bool) -> dict[str, Any]:
    """Return a section in the form that the template reads, with neighbouring charts in one group."""
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
    """Return a chart in the form that the template reads: a specification, or a picture."""
    shown: dict[str, Any] = {"title": chart.title, "caption": chart.caption}
    if live:
        return shown | {"specification": chart.specification()}
    return shown | {"source": _address(png(chart))}


def _address(data: bytes) -> str:
    """Return a PNG file as a data URL."""
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"


@lru_cache(1)
def _template() -> "Template":
    """Return the template of all pages."""
    try:
        from jinja2 import Environment, StrictUndefined
    except ImportError:
        raise TensorTrainError("pages need jinja2; install it with pip install jinja2") from None
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(_TEMPLATE.read_text(encoding="utf-8"))
