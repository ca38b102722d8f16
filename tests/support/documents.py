"""Reading the project's Markdown pages: their snippets, their links, their commands."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
BUILT = (  # by `make docs`
    "docs/_build",
    "docs/gallery",
    "docs/models",
    "docs/reference/api",
    "docs/reference/commands",
    "docs/reference/settings",
)
FENCE = re.compile(r"^```(\S*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")


class Snippet(NamedTuple):
    """A block of Python, and the text that the page says it prints; None if no block ```text follows it."""

    code: str
    printed: str | None


def pages() -> list[Path]:
    """The Markdown files that people read, those of shipped weights included."""
    places = [*ROOT.glob("*.md"), *(ROOT / "proofs").glob("*.md"), *(ROOT / "zoo" / "weights").glob("*.md")]
    built = tuple(str(ROOT / folder) for folder in BUILT)
    return sorted(places + [path for path in (ROOT / "docs").rglob("*.md") if not str(path).startswith(built)])


def snippets(text: str) -> list[Snippet]:
    """The blocks of Python in a page, in order."""
    blocks = FENCE.findall(text)
    following = [*blocks, ("", "")][1:]
    return [
        Snippet(body, after if next_kind == "text" else None)
        for (kind, body), (next_kind, after) in zip(blocks, following, strict=False)
        if kind == "python"
    ]


def commands(text: str) -> list[str]:
    """The lines of unnamed blocks that begin with one of the project's commands, without comments."""
    lines = [line for kind, body in FENCE.findall(text) if not kind for line in body.splitlines()]
    words = [line.removeprefix("$ ").partition("  #")[0].strip() for line in lines]
    return [line for line in words if line.startswith(("zoo ", "tensortrain "))]


def broken_links(path: Path) -> Iterator[str]:
    """Relative links of a page that lead to no file, or to no heading of that file."""
    for target in LINK.findall(FENCE.sub("", path.read_text())):
        if target.startswith(("http://", "https://", "mailto:")):
            continue
        name, _, anchor = target.partition("#")
        file = path.parent / name if name else path
        if not file.exists() or (anchor and anchor not in anchors(file.read_text())):
            yield target


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings, as GitHub and MyST form them."""
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}
