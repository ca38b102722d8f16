"""
How fast do predictions get worse?
==================================

The picture shows the squared error of each predicted frame, for two networks with pretrained weights and two baselines:
the last observed frame repeated, and blank frames.
"""

# %%
# Ten frames are observed and twenty are predicted; in training it was ten. A few clips are enough to see the shape of
# the curves.
import matplotlib.pyplot as plt

import zoo

clips = zoo.MovingMNIST("test", source="embedded", length=30)
scores = {}
for name in ("conv-lstm", "conv-tt-lstm-sw"):
    model = zoo.create_model(name, pretrained="moving-mnist-small")
    scores[name] = zoo.evaluate(model, clips, count=8, horizon=20, metrics=["mse"])
    print(name, float(scores[name].per_frame["mse"].mean()))

# %%
plt.style.use("tensortrain.figures")
figure, axes = plt.subplots()
frames = range(11, 31)
for name, score in scores.items():
    axes.plot(frames, 64 * 64 * score.per_frame["mse"], marker="o", label=name)
for name, values in score.baselines.items():
    axes.plot(frames, 64 * 64 * values["mse"], "--", color="0.5" if "copy" in name else "0.75", label=name)
axes.axvline(20.5, color="0.8", linewidth=1)
axes.text(20.6, axes.get_ylim()[1] * 0.97, "longer than in training", fontsize=9, va="top")
axes.set(xlabel="frame", ylabel="squared error per frame", title="Error of each predicted frame")
axes.legend()
