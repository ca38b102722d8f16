"""A Sphinx extension that writes a page for each model: a drawing, what the registry knows, and the weights' cards."""

import inspect
from pathlib import Path
from typing import Any

import model_drawings
import torch
from result_files import RESULTS, read_table
from torch.utils.flop_counter import FlopCounterMode

import zoo
from zoo.papers import Paper
from zoo.registry import Entry, find_model

WEIGHTS = Path(__file__).parents[1] / "zoo" / "weights"


def page(entry: Entry) -> str:
    """The page of one model in Markdown."""
    lines = [f"# {entry.name}", "", entry.summary, "", *_description(entry)]
    lines += [f"![What {entry.name} computes for one {_unit(entry)}]({entry.name}.svg)", ""]
    if isinstance(entry.paper, Paper):
        lines += [f"**Paper.** {entry.paper.citation}: [{entry.paper.title}]({entry.paper.url})", ""]
    else:
        lines += [f"**Paper.** {entry.paper}", ""]
    clips = "videos, `(B, T, C, H, W)`" if entry.reads == "video" else "time series, `(B, T, d)`"
    lines += [f"**Input.** Clips of {clips}.", ""]
    if entry.parameters is not None:
        lines += [f"**Parameters** with the default options: {entry.parameters:,}", ""]
    if entry.reads == "video":
        clip = f"a clip, 10 frames of 64×64 pixels observed and 10 predicted: {cost(entry):.1f} GMAC"
    else:
        clip = f"a series, 10 steps of 3 values observed and 10 predicted: {1e6 * cost(entry):.0f} kMAC"
    lines += [f"**Cost** of {clip}", "", *measured(entry.name)]
    lines += ["```python", "import zoo", "", f'model = zoo.create_model("{entry.name}")', "```", ""]
    lines += ["## Options", "", "Pass options to `create_model`, or to a command as `--options.NAME VALUE`.", ""]
    lines += ["| option | default |", "|---|---|"]
    for option, default in entry.options.items():
        lines.append(f"| `{option}` | {'none' if default is inspect.Parameter.empty else f'`{default!r}`'} |")
    lines.append("")
    for card in sorted(WEIGHTS.glob(f"{entry.name}.*.md")):
        title, _, body = card.read_text().split("---\n", 2)[2].partition("\n")  # after the metadata
        lines += [f"## Weights: {title.removeprefix('# ').split('`')[1]}", body, ""]
        weights = card.name.split(".")[1]
        lines += [f"![What these weights predict, beside others](../../assets/{weights}.png)", ""]
    return "\n".join(lines)


def _unit(entry: Entry) -> str:
    return "frame" if entry.reads == "video" else "step of a series"


def cost(entry: Entry) -> float:
    """10⁹ multiply-accumulates of the model's convolutions, products of matrices and attention, forward."""
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        steps = torch.rand(1, 10, 1, 64, 64) if entry.reads == "video" else torch.rand(1, 10, 3)
        entry.build().eval().requires_grad_(False)(steps, 10)
    return float(counter.get_total_flops()) / 2e9


def measured(name: str) -> list[str]:
    """The row of a model in the table of the preset brief, of a series model that of Lorenz, or how to measure it."""
    video = find_model(name).reads == "video"
    header, *rows = read_table(RESULTS / ("moving-mnist-brief.csv" if video else "lorenz-demo.csv")).rows
    of_model = [row for row in rows if row[0] == name]
    if not of_model:
        command = f"zoo train {name} moving-mnist --preset brief"
        return [f"**Measured.** Nothing is in a table yet; train it with `{command}`.", ""]
    numbers = ", ".join(f"{column} {value}" for column, value in zip(header[1:], of_model[0][1:], strict=True) if value)
    how = "preset brief (MSE ×10⁻³, see [the table](../results/video.md))"
    if not video:
        how = "preset demo on Lorenz series (root of the mean squared error, see [the table](../results/series.md))"
    return [f"**Measured** with the {how}: {numbers}", ""]


def _description(entry: Entry) -> list[str]:
    """What the docstring of the function that makes a model says of it, between its first line and its arguments."""
    text = (inspect.getdoc(entry.make) or "").partition("\nArgs:")[0].partition("\n")[2].strip()
    return [text, ""] if text else []


def write_pages(app: Any) -> None:
    """Write `models/index.md` and the pages it lists."""
    folder = Path(app.srcdir) / "models"
    folder.mkdir(exist_ok=True)
    names = zoo.list_models()
    for name in names:
        _write(folder / f"{name}.md", page(find_model(name)))
        model_drawings.write(name, folder / f"{name}.svg")
    rows = [f"| [{name}]({name}.md) | {find_model(name).summary} |" for name in names]
    index = [
        "# Models",
        "",
        "`zoo train NAME moving-mnist --preset demo` trains a model; models of series need `lorenz` in place of",
        "`moving-mnist`. Each page has a drawing, the paper, the options and the pretrained weights.",
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
