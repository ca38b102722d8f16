"""
What does a network predict for three digits if it was trained on two?
======================================================================

The authors of PredRNN++ test their networks on clips with three moving digits, although all training clips have two.
Here two networks with pretrained weights are tested in the same way.
"""

# %%
# Clips can have any number of digits. The digits are those that come with scikit-learn.
import matplotlib.pyplot as plt
import torch

import zoo

names = {"ConvLSTM": "conv-lstm", "Conv-TT-LSTM": "conv-tt-lstm-sw"}
models = {name: zoo.create_model(model, pretrained="moving-mnist-small") for name, model in names.items()}
data = {digits: zoo.MovingMNIST("test", source="embedded", digits=digits) for digits in (2, 3)}
scores = {
    (name, digits): zoo.evaluate(model, clips, count=12, metrics=["mse"], name=name)
    for name, model in models.items()
    for digits, clips in data.items()
}
for (name, digits), score in scores.items():
    print(f"{name}, {digits} digits: {4096 * score.average['mse']:.0f} per frame")

# %%
# The bands are 95 % confidence intervals over the clips. Dashed lines are the clips with three digits.
plt.style.use("tensortrain.figures")
figure, axes = plt.subplots(figsize=(7, 3.5))
for at, name in enumerate(models):
    for digits, style in ((2, "-"), (3, "--")):
        score = scores[name, digits]
        error, half = (4096 * values[name]["mse"] for values in (score.rows, score.half_intervals))
        axes.plot(range(11, 21), error, style, color=f"C{at}", label=f"{name}, {digits} digits")
        axes.fill_between(range(11, 21), error - half, error + half, color=f"C{at}", alpha=0.15, linewidth=0)
axes.set(xlabel="frame", ylabel="squared error per frame")
axes.set_xticks(range(11, 21))
axes.legend(fontsize=9)

# %%
# One clip with three digits. Below each prediction is its difference from the truth; darker means larger. Both
# networks follow the digit that is alone, and blur the two that overlap.
clip = data[3].clips([1])
shown = range(0, 10, 2)
rows = {"observed": clip[0, :10][shown], "truth": clip[0, 10:20][shown]}
with torch.inference_mode():
    for name, model in models.items():
        rows[name] = model(clip[:, :10], horizon=10)[0, -10:][shown].clamp(0, 1)
        rows[f"{name}:\ndifference"] = 1 - (rows[name] - rows["truth"]).abs()

figure, axes = plt.subplots(len(rows), len(shown), figsize=(6.5, 8), layout="none")
for (name, frames), line in zip(rows.items(), axes, strict=True):
    first = 1 if name == "observed" else 11
    for t, frame, axis in zip(shown, frames[:, 0], line, strict=True):
        axis.imshow(frame, cmap="gray", vmin=0, vmax=1)
        axis.set_xticks([])
        axis.set_yticks([])
        if name in ("observed", "truth"):
            axis.set_title(f"frame {t + first}", fontsize=9, weight="normal")
    line[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9)
figure.subplots_adjust(left=0.2, right=0.99, top=0.96, bottom=0.01, hspace=0.25, wspace=0.05)
