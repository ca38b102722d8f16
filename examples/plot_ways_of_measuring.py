"""
How much does the way of measuring change a score?
==================================================

Papers compute the same metric in different ways: over other windows, for other ranges of values, for a pixel or for a
frame. Here the *same* predictions of the same clips are measured in each of these ways.
"""

# %%
# A convention is a way of measuring with a name. The predictions are computed only once.
import matplotlib.pyplot as plt
import torch

import zoo
from zoo.evaluation import CONVENTIONS

clips = zoo.MovingMNIST("test", source="embedded").clips(range(8))
truth = clips[:, 10:20]
predictions = {"last frame repeated": clips[:, 9:10].expand_as(truth)}
with torch.inference_mode():
    for name, model in (("ConvLSTM", "conv-lstm"), ("Conv-TT-LSTM", "conv-tt-lstm-sw")):
        predictions[name] = zoo.create_model(model, pretrained="moving-mnist-small")(clips[:, :10], 10)[:, -10:]

# %%
# In a table, numbers from different conventions look like results of different models.
measured = {}
for convention in ("standard", "conv-tt-lstm", "predrnn-pp", "openstl"):
    for key in ("mse", "ssim"):
        measure = CONVENTIONS[convention][key]
        for name, frames in predictions.items():
            measured[convention, key, name] = measure.scale * float(measure.between(frames, truth).mean())
    print(f"{convention:13}", CONVENTIONS[convention]["ssim"].text())

# %%
# The squared error is a mean over pixels (times 1000) in two conventions, and a sum over a frame in the other two. For
# SSIM, the windows and the assumed range of values differ. So compare scores of one convention only. `zoo compare` does
# so, and marks published numbers that were measured in another way.
plt.style.use("tensortrain.figures")
figure, panels = plt.subplots(1, 2, figsize=(9, 3.4))
for axes, key, label in zip(panels, ("mse", "ssim"), ("squared error", "SSIM"), strict=True):
    for at, name in enumerate(predictions):
        values = {convention: value for (convention, k, n), value in measured.items() if (k, n) == (key, name)}
        places = [number + 0.25 * (at - 1) for number in range(len(values))]
        axes.bar(places, list(values.values()), 0.22, label=name)
    axes.set_xticks(range(len(values)), list(values), fontsize=9)
    axes.set(ylabel=f"{label} in the convention's unit", xlabel="convention")
panels[0].legend(fontsize=9)
