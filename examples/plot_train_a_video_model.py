"""
What does training look like?
=============================

A very small Conv-TT-LSTM is trained for forty steps on one moving digit. This is too short for good predictions, but
long enough to see the files and the curves of a run.
"""

# %%
# A recipe contains all settings. `demo` is the smallest preset, and you can change every setting.
import csv
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt

import zoo

recipe = zoo.recipe(
    "conv-tt-lstm-sw",
    "demo",
    {"hidden": [16, 16]},
    data={"source": "embedded"},
    sampling={"stop": 20},
    training={"steps": 40, "batch_size": 4, "validate_every": 5, "validation_clips": 8},
)
folder = Path(tempfile.mkdtemp()) / "run"
run = zoo.fit(recipe, folder)  # the same call resumes it
print(sorted(path.name for path in folder.iterdir()))

# %%
# `metrics.csv` has a row for each validation.
with (folder / "metrics.csv").open() as file:
    rows = list(csv.DictReader(file))
steps = [int(row["step"]) for row in rows]

plt.style.use("tensortrain.figures")
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6))
left.plot(steps, [float(row["loss"]) for row in rows], marker="o", label="training")
left.plot(steps, [float(row["validation_loss"]) for row in rows], marker="o", label="validation")
left.set(xlabel="step", ylabel="loss", title="Loss")
left.legend()
right.plot(steps, [float(row["sampling_ratio"]) for row in rows], marker="o", label="fraction of true frames")
rates = [float(row["learning_rate"]) / recipe.learning_rate.base for row in rows]
right.plot(steps, rates, label="learning rate / base")
right.set(xlabel="step", ylim=(0, None), title="Schedules")
right.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2))
