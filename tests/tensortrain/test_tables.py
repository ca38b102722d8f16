"""Tables lose nothing at any width, in a terminal or a pipe, and in every kind of file."""

import csv
import io
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from tensortrain.errors import TensorTrainError
from tensortrain.tables import ENDINGS, Column, Table, wrapped
from tests.support.deep import leave_to_deep_tests

COLUMNS = (Column("layer", words=True), Column("error"), Column("kept"), Column("parameters\nafter"))
NAMES = st.text("abcdef.:-_", min_size=1, max_size=45)
NUMBERS = st.integers(0, 10**9).map("{:,}".format)


def words(text: str) -> str:
    return "".join(text.split())


@given(rows=st.lists(st.tuples(NAMES, NUMBERS, NUMBERS, NUMBERS), min_size=1, max_size=4), width=st.integers(46, 200))
def test_no_name_and_no_number_is_cut_at_any_width(rows: list[tuple[str, ...]], width: int) -> None:
    text = Table(COLUMNS, rows, notes=("what is said of all rows " * 5,)).text(width)
    assert max(map(len, text.splitlines())) <= width
    for row in rows:
        for cell in row:
            assert cell in text.split(), (cell, text)
    assert "…" not in text


@given(name=NAMES, width=st.integers(5, 45))
def test_a_name_that_is_longer_than_a_line_is_broken_but_whole(name: str, width: int) -> None:
    assert words(name) in words(Table(COLUMNS, [(name, "1", "2", "3")]).text(width))


def test_wide_tables_come_in_parts_with_the_names_in_each() -> None:
    table = Table(COLUMNS, [("x" * 30, "0.1234", "25.0%", "1,234")])
    assert table.text(80).count("x" * 30) == 1
    assert table.text(45).count("x" * 30) == 2
    assert table.text(25).splitlines()[2] == "  error: 0.1234"  # the name in two lines, the values below


def test_texts_are_wrapped_and_stay_beside_their_names() -> None:
    columns = (Column("model", words=True), Column("what it is", words=True, wraps=True))
    table = Table(columns, [("conv-lstm", "a network of many words that does not fit in a line"), ("b", "short")])
    assert table.text(40).splitlines()[1:3] == [
        "conv-lstm  a network of many words that",
        "           does not fit in a line",
    ]


def test_paths_stay_whole() -> None:
    assert wrapped("see /a/very/long/path/to/a-file.csv for more", 12) == [
        "see",
        "/a/very/long/path/to/a-file.csv",
        "for more",
    ]


def test_files_hold_every_cell(tmp_path: Path) -> None:
    row = ("a|b_c & <d>", "0.1 ± 0.2", "×10⁻³", "5")
    table = Table(COLUMNS, [row], title="T & <t>", notes=("N | <n>",), best=frozenset({(0, 1)}))
    for ending in ENDINGS:
        table.save(tmp_path / f"table{ending}")
    text = {ending: (tmp_path / f"table{ending}").read_text() for ending in ENDINGS}
    assert tuple(list(csv.reader(io.StringIO(text[".csv"])))[1]) == row
    assert "| a\\|b_c & <d> | **0.1 ± 0.2** |" in text[".md"]
    assert r"a$|$b\_c \& <d> & \textbf{0.1 $\pm$ 0.2} & $\times$10$^{-3}$ & 5 \\" in text[".tex"]
    number = '<td class="number" style="text-align:right">'
    assert f"<td>a|b_c &amp; &lt;d&gt;</td>{number}<b>0.1 ± 0.2</b></td>" in text[".html"]
    assert "<caption>T &amp; &lt;t&gt;</caption>" in text[".html"]


def test_what_cannot_be_a_table_or_a_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TensorTrainError, match="a row has 1 cells, and the table 4 columns"):
        Table(COLUMNS, [("a",)])
    with pytest.raises(TensorTrainError, match=r"ends in '.pdf'; a table can be .csv, .md, .tex, .html"):
        Table(COLUMNS, []).save(tmp_path / "table.pdf")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("columns", ["60", "80"])
def test_the_command_cuts_nothing_in_a_terminal_or_a_pipe(columns: str, tmp_path: Path) -> None:
    """`decompose`, as a user runs it, with a long name and many ranks."""
    if columns == "80":
        leave_to_deep_tests("a terminal of 60 columns is tried; one of 80")
    name = "backbone.stage_three.block_seven.conv_two"
    save_file({f"{name}.weight": torch.randn(16, 8, 3, 3)}, tmp_path / "net.safetensors")
    program = "import sys; from tensortrain.cli import main; main(sys.argv[1:])"
    line = [
        "decompose",
        "net.safetensors",
        "--kernel-sizes",
        "1x1,3x1,1x3,1x1",
        "--ranks",
        "4",
        "-o",
        "small.safetensors",
    ]
    environment = {**os.environ, "COLUMNS": columns, "TERM": "xterm"}
    command = [sys.executable, "-c", program]
    piped = subprocess.run([*command, *line], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    (tmp_path / "small.safetensors").unlink()

    reader, writer = pty.openpty()
    with subprocess.Popen([*command, *line], cwd=tmp_path, env=environment, stdout=writer, stderr=subprocess.DEVNULL):
        os.close(writer)
        seen = b""
        try:
            while part := os.read(reader, 4096):
                seen += part
        except OSError:  # the end, on Linux
            pass
    os.close(reader)
    shown = re.sub("\x1b\\[[0-9;]*m", "", seen.decode()).replace("\r", "")
    for text in (piped.stdout, shown):
        assert max(map(len, text.splitlines())) <= int(columns)
        for part in (name, "1×1 | 3×1 | 1×3 | 1×1", "16,4,4,4,8", "16×8×3×3", "lower", "0 says nothing"):
            assert part in " ".join(text.split()), (part, text)
