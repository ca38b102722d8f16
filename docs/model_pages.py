"""A Sphinx extension that writes a page for each registered model: what the registry knows, and the weights' cards."""

import inspect
from pathlib import Path
from typing import Any

from zoo.papers import Paper
from zoo.registry import Entry, find_model, model_names

WEIGHTS = Path(__file__).parents[1] / "zoo" / "weights"


def page(entry: Entry) -> str:
    """The page of one model in Markdown."""
    lines = [f"# {entry.name}", "", entry.summary, "", *_description(entry)]
    if isinstance(entry.paper, Paper):
        lines += [f"**Paper.** {entry.paper.citation}", ""]
    else:
        lines += [f"**Paper.** {entry.paper}", ""]
    lines += [f"**Reads** {entry.reads}.", ""]
    if entry.parameters is not None:
        lines += [f"**Parameters** with the default options: {entry.parameters:,}", ""]
    lines += ["```python", "import zoo", "", f'model = zoo.create_model("{entry.name}")', "```", ""]
    lines += ["## Options", "", "| option | default |", "|---|---|"]
    for option, default in entry.options.items():
        lines.append(f"| `{option}` | {'none' if default is inspect.Parameter.empty else f'`{default!r}`'} |")
    lines.append("")
    for card in sorted(WEIGHTS.glob(f"{entry.name}.*.md")):
        title, _, body = card.read_text().partition("\n")
        lines += [f"## Weights: {title.removeprefix('# ').split('`')[1]}", body, ""]
    return "\n".join(lines)


def _description(entry: Entry) -> list[str]:
    """What the docstring of the function that makes a model says of it, between its first line and its arguments."""
    text = (inspect.getdoc(entry.make) or "").partition("\nArgs:")[0].partition("\n")[2].strip()
    return [text, ""] if text else []


def write_pages(app: Any) -> None:
    """Write `models/index.md` and the pages it lists."""
    folder = Path(app.srcdir) / "models"
    folder.mkdir(exist_ok=True)
    names = model_names()
    for name in names:
        _write(folder / f"{name}.md", page(find_model(name)))
    rows = [f"| [{name}]({name}.md) | {find_model(name).summary} |" for name in names]
    index = [
        "# Models",
        "",
        "| name | what it is |",
        "|---|---|",
        *rows,
        "",
        "```{toctree}",
        ":hidden:",
        "",
        *names,
        "```",
    ]
    _write(folder / "index.md", "\n".join(index))


def _write(path: Path, text: str) -> None:
    """Write a page if it has changed, so that an unchanged one is not built again."""
    text = text.rstrip() + "\n"
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


def setup(app: Any) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("builder-inited", write_pages)
    return {"parallel_read_safe": True}
