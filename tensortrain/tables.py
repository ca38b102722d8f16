"""Tables that fit every terminal without cutting a number or a name, and that can be written to files.

A table that is too wide for the screen is printed in several parts below each other, each with the names of its rows.
Texts are wrapped between words. In a pipe, the width is the value of the variable COLUMNS, or 80.
"""

import csv
import html
import io
import re
import shutil
import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tensortrain.errors import TensorTrainError
from tensortrain.files import aside

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.table import Table as RichTable

_GAP = 2  # number of spaces between two columns
_LEAST_TEXT = 24  # smallest width of wrapped text, in characters
_LATEX = {char: f"\\{char}" for char in "&%$#_{}"} | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}"}
_LATEX |= {"^": r"\textasciicircum{}", "×": r"$\times$", "→": r"$\to$", "±": r"$\pm$", "↑": r"$\uparrow$"}
_LATEX |= {"↓": r"$\downarrow$", "≈": r"$\approx$", "≤": r"$\le$", "|": "$|$"}
_RAISED = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Args:
        heading: the text above the column; it may have several lines.
        words: whether the column holds names or texts, which are aligned to the left, rather than numbers.
        wraps: whether the texts may be wrapped between words. Names that a user types are never wrapped.
    """

    heading: str
    words: bool = False
    wraps: bool = False


@dataclass(frozen=True)
class Table:
    """A table with plain text in its cells. The library `rich` prints it: `Console().print(table)`.

    Args:
        columns: the columns; the first one holds the names of the rows.
        rows: the rows, each with one text for each column.
        title: text that is printed above the table; empty for none.
        notes: sentences that are printed below the table.
        best: the cells, as pairs (row, column) counted from 0, that are marked as the best of their column.
        faint: the rows, counted from 0, that are printed in grey because they are not the reader's own, such as
            baselines.

    Raises:
        TensorTrainError: the number of cells in a row differs from the number of columns.

    >>> table = Table((Column("layer", words=True), Column("error")), [("conv1", "0.1234")], notes=("One layer.",))
    >>> print(table.text(40))
    layer   error
    conv1  0.1234
    <BLANKLINE>
    One layer.
    >>> print(table.to_csv())
    layer,error
    conv1,0.1234
    <BLANKLINE>
    """

    columns: Sequence[Column]
    rows: Sequence[Sequence[str]]
    title: str = ""
    notes: Sequence[str] = ()
    best: frozenset[tuple[int, int]] = frozenset()
    faint: frozenset[int] = field(default_factory=frozenset)

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise TensorTrainError(f"a row has {len(row)} cells, and the table {len(self.columns)} columns: {row}")

    def text(self, width: int | None = None) -> str:
        """Return the table as plain text in lines of at most `width` characters, by default as wide as the terminal."""
        from rich.console import Console

        width = shutil.get_terminal_size().columns if width is None else width
        console = Console(width=width, file=io.StringIO(), color_system=None, highlight=False)
        with console.capture() as captured:
            console.print(self)
        return "\n".join(line.rstrip() for line in captured.get().rstrip().splitlines())

    def __str__(self) -> str:
        return self.text()

    def _repr_html_(self) -> str:
        """Return the table for a notebook."""
        return self.to_html()

    def __rich_console__(self, console: "Console", options: "ConsoleOptions") -> "Iterator[RenderableType]":
        from rich.text import Text

        width = options.max_width
        if self.title:
            yield Text("\n".join(wrapped(self.title, width)), style="bold", overflow="fold")
            yield Text("")
        parts = self._parts(width)
        for i, part in enumerate(parts):
            if i:
                yield Text("")
            yield self._rich(part, width)
        if not parts:
            yield self._blocks(width)
        if self.notes:
            yield Text("")
        for note in self.notes:
            yield Text("\n".join(wrapped(note, width)), overflow="fold")

    def to_csv(self) -> str:
        """Return comma-separated values: the headings, then the rows. Title and notes are left out."""
        file = io.StringIO()
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([_joined(column.heading) for column in self.columns])
        writer.writerows(self.rows)
        return file.getvalue()

    def to_markdown(self) -> str:
        """Return a Markdown table with the title above it and the notes below it."""

        def line(cells: Sequence[str]) -> str:
            """Return one line of the table."""
            return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", "<br>") for cell in cells) + " |"

        lines = [line([_joined(column.heading) for column in self.columns])]
        lines.append("|" + "|".join("---" if column.words else "---:" for column in self.columns) + "|")
        lines += [line(cells) for cells in self._marked(lambda text: f"**{text}**")]
        return "\n\n".join(filter(None, (self.title, "\n".join(lines), *self.notes))) + "\n"

    def to_latex(self) -> str:
        """Return a LaTeX `tabular` with the rules of the package booktabs and with the notes below it."""
        cells = [[_latex(cell) for cell in row] for row in self.rows]
        for row, column in self.best:
            cells[row][column] = f"\\textbf{{{cells[row][column]}}}"
        heads = [_latex(_joined(column.heading)) for column in self.columns]
        alignment = "".join("l" if column.words else "r" for column in self.columns)
        body = "\n".join(" & ".join(row) + r" \\" for row in cells)
        text = (
            f"% needs \\usepackage{{booktabs}}\n\\begin{{tabular}}{{{alignment}}}\n\\toprule\n"
            f"{' & '.join(heads)} \\\\\n\\midrule\n{body}\n\\bottomrule\n\\end{{tabular}}\n"
        )
        return "\n".join([*([f"% {self.title}"] if self.title else []), text, *map(_latex, self.notes)]).rstrip() + "\n"

    def to_html(self) -> str:
        """Return an HTML `table`, in which all texts are escaped."""
        heads = "".join(
            f"<th{'' if column.words else _RIGHT}>{html.escape(column.heading).replace(chr(10), '<br>')}</th>"
            for column in self.columns
        )
        rows = []
        for number, row in enumerate(self.rows):
            cells = []
            for i, cell in enumerate(row):
                text = html.escape(cell).replace("\n", "<br>")
                text = f"<b>{text}</b>" if (number, i) in self.best else text
                cells.append(f"<td{'' if self.columns[i].words else _RIGHT}>{text}</td>")
            faint = ' class="faint"' if number in self.faint else ""
            rows.append(f"<tr{faint}>{''.join(cells)}</tr>")
        caption = f"<caption>{html.escape(self.title)}</caption>" if self.title else ""
        notes = "".join(f'<p class="note">{html.escape(note)}</p>\n' for note in self.notes)
        body = "\n".join(rows)
        return f"<table>{caption}<thead><tr>{heads}</tr></thead><tbody>\n{body}\n</tbody></table>\n{notes}"

    def as_text(self, path: str | PathLike[str]) -> str:
        """Return the content of a file for the table, in the format of the file's ending: .csv, .md, .tex or .html.

        Raises:
            TensorTrainError: the file name has another ending.
        """
        ending = Path(path).suffix.lower()
        if ending not in _WRITERS:
            raise TensorTrainError(f"{path} ends in {ending!r}; a table can be {', '.join(ENDINGS)}")
        return _WRITERS[ending](self)

    def save(self, path: str | PathLike[str]) -> None:
        """Write the table to a file in the format of the file's ending; see `as_text`.

        Raises:
            TensorTrainError: the file name has another ending, or the file cannot be written.
        """
        content = self.as_text(path)
        with aside(path) as temporary:
            temporary.write_text(content, encoding="utf-8")

    def _marked(self, mark: Callable[[str], str]) -> list[list[str]]:
        """Return the rows with the best cells marked."""
        return [
            [mark(cell) if (number, i) in self.best else cell for i, cell in enumerate(row)]
            for number, row in enumerate(self.rows)
        ]

    def _widths(self, column: int) -> tuple[int, int]:
        """Return the smallest and the natural width of a column."""
        from rich.cells import cell_len

        texts = [self.columns[column].heading, *(row[column] for row in self.rows)]
        natural = max(cell_len(line) for text in texts for line in [*text.split("\n"), ""])
        if not self.columns[column].wraps:
            return natural, natural
        longest = max((cell_len(word) for text in texts for word in text.split()), default=0)
        return min(natural, max(longest, _LEAST_TEXT)), natural

    def _least(self, part: Sequence[int]) -> int:
        """Return the smallest width of several columns and the gaps between them."""
        return sum(self._widths(column)[0] for column in part) + _GAP * (len(part) - 1)

    def _parts(self, width: int) -> list[list[int]]:
        """Return the columns in as few parts as fit the width, each with the first column.

        Return no parts if a name leaves no room for other columns, or if texts of one row would be separated.
        """
        texts = any(column.wraps for column in self.columns)
        parts = [[0]]
        for column in range(1, len(self.columns)):
            if len(parts[-1]) > 1 and not texts and self._least([*parts[-1], column]) > width:
                parts.append([0])
            parts[-1].append(column)
        return parts if all(self._least(part) <= width for part in parts) else []

    def _rich(self, part: Sequence[int], width: int) -> "RichTable":
        """Return one part of the table as a table of `rich`."""
        from rich.table import Table as RichTable
        from rich.text import Text

        table = RichTable(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="bold")
        spare = width - self._least(part)
        for column in part:
            least, natural = self._widths(column)
            wide = least + min(spare, natural - least)
            spare -= wide - least
            kind = self.columns[column]
            lines = "\n".join(wrapped(kind.heading, wide)) if kind.wraps else kind.heading
            justify: Any = "left" if kind.words else "right"
            table.add_column(Text(lines), justify=justify, min_width=wide, overflow="fold")
        for number, row in enumerate(self.rows):
            cells = []
            for i, column in enumerate(part):
                text = row[column]
                if self.columns[column].wraps:
                    text = "\n".join(wrapped(text, table.columns[i].min_width or width))
                cells.append(Text(text, style="bold" if (number, column) in self.best else ""))
            table.add_row(*cells, style="dim" if number in self.faint else None)
        return table

    def _blocks(self, width: int) -> "RenderableType":
        """Return each row as a block: its name on the first line, and the other cells with their headings below."""
        from rich.text import Text

        lines = []
        for name, *cells in self.rows:
            lines.append(name)
            for column, cell in zip(self.columns[1:], cells, strict=True):
                if not cell:
                    continue
                entry = f"{_joined(column.heading)}: {' '.join(cell.split())}"
                lines += [f"  {line}" for line in wrapped(entry, width - _GAP)]
        return Text("\n".join(lines), overflow="fold")


_RIGHT = ' class="number" style="text-align:right"'
_WRITERS: dict[str, Callable[[Table], str]] = {
    ".csv": Table.to_csv,
    ".md": Table.to_markdown,
    ".tex": Table.to_latex,
    ".html": Table.to_html,
}
ENDINGS = tuple(_WRITERS)  # legal endings of a table's file


def show(table: Table) -> None:
    """Print a table as wide as the terminal, or in a pipe as wide as the variable COLUMNS says, by default 80."""
    from rich.console import Console

    console = Console(highlight=False)
    if console.is_terminal:
        console.print(table)
    else:  # without trailing spaces
        print(table.text(console.width))


def say(text: str) -> None:
    """Print a sentence, wrapped between words like the notes of a table."""
    print("\n".join(wrapped(text, shutil.get_terminal_size().columns)))


def wrapped(text: str, width: int) -> list[str]:
    """Return lines of at most `width` characters, broken between words. A longer word, such as a path, stays whole.

    >>> wrapped("the file runs/conv-lstm is new", 16)
    ['the file', 'runs/conv-lstm', 'is new']
    """
    lines = []
    for line in text.split("\n"):
        options: dict[str, Any] = {"break_long_words": False, "break_on_hyphens": False}
        lines += textwrap.wrap(line, max(width, 1), **options) or [""]
    return lines


def _joined(heading: str) -> str:
    """Return a heading on one line."""
    return heading.replace("\n", " ")


def _latex(text: str) -> str:
    """Return a text with LaTeX commands in place of special characters."""
    plain = "".join(_LATEX.get(char, char) for char in text.replace("\n", " "))
    return re.sub("[⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+", lambda raised: f"$^{{{raised[0].translate(_RAISED)}}}$", plain)
