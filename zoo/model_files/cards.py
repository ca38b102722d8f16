"""The card of a model: what it is and how well it predicts, as text for people and as `model-index` for programs."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import yaml

from zoo.registry import find_model
from zoo.settings import Recipe, Video

if TYPE_CHECKING:
    from zoo.evaluation.scores import Scores

TAGS = ("tensortrain", "zoo", "model_hub_mixin")


def model_card(recipe: Recipe, parameters: int, scores: "Sequence[Scores]" = ()) -> str:
    """The model card in Markdown, with metadata that `huggingface_hub.ModelCard.load` reads.

    Args:
        recipe: the settings that the model was trained by.
        parameters: the model's number of parameters.
        scores: the results of `zoo.evaluate`. Each value becomes an entry of the card's `data.eval_results`. There is
            one entry for the average over the predicted steps (`metric_config` is "average") and one for each step
            ("step 1", "step 2", …). The values are not scaled as in tables: a squared error is 0.025 and not 25.
    """
    metadata: dict[str, Any] = {"library_name": "tensortrain", "tags": [*TAGS, recipe.model]}
    if scores:
        metadata["model-index"] = [{"name": recipe.model, "results": [_result(one) for one in scores]}]
    entry, data = find_model(recipe.model), recipe.data
    clips = f"{data.name}, {data.observed} of {data.length} steps observed"
    if isinstance(data, Video):
        clips += f", {data.channels} channel{'s' if data.channels > 1 else ''}"
    base = {"video": "VideoModel", "series": "SeriesModel"}[entry.reads]
    lines = [
        f"# {recipe.model}",
        "",
        entry.summary,
        "",
        f"{parameters:,} parameters. Published in: {entry.citation}. Trained for clips of {clips}.",
        "",
        "```python",
        "import zoo",
        "",
        f'model = zoo.{base}.from_pretrained("NAME")  # the name of this repository, or the path of this folder',
        "```",
        "",
        "`config.json` holds all settings of the model and its training.",
    ]
    if not entry.feeds_back(recipe.options):
        lines[-1] += " The model reads no frames after the observed ones, so it was trained without scheduled sampling."
    for one in scores:
        lines += ["", f"## {one.observed} → {one.horizon} steps", "", *_table(one), "", one.footnotes()]
    text = yaml.safe_dump(metadata, sort_keys=False, allow_unicode=True)
    return f"---\n{text}---\n" + "\n".join(lines) + "\n"


def _result(scores: "Scores") -> dict[str, Any]:
    metrics = []
    for key, values in scores.per_frame.items():
        named = {"average": scores.average[key]} | {f"step {at}": value for at, value in enumerate(values.tolist(), 1)}
        for config, value in named.items():
            metrics.append({"type": key, "value": value, "name": key.upper(), "config": config})
    return {
        "task": {"type": f"{scores.content}-prediction", "name": f"{scores.observed} → {scores.horizon} steps"},
        "dataset": {
            "type": scores.comparable_with,
            "name": scores.measured_on(),
            "config": f"{scores.data}, {scores.observed} → {scores.horizon}, {scores.clips} clips, "
            f"{scores.convention.name}",
            "split": "test",
        },
        "metrics": metrics,
    }


def _table(scores: "Scores") -> list[str]:
    measures = [measure for measure in scores.convention.measures if measure.key in scores.per_frame]
    headings = [" ".join(measure.heading.split()) for measure in measures]
    lines = [f"| | {' | '.join(headings)} |", "|---" * (len(measures) + 1) + "|"]
    for name, per_frame in scores.rows.items():
        cells = [measure.shown(float(per_frame[measure.key].mean())) for measure in measures]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines
