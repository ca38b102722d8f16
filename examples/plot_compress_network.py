"""
How small can a network get?
============================

A small network for handwritten digits is trained in a few seconds. Then it is compressed to several budgets by what it
computes on unlabelled images. The statistics of the images are collected once for all budgets.
"""

# %%
# The 1,797 digits of scikit-learn, 8×8 pixels; the last 500 are for testing.
import matplotlib.pyplot as plt
import torch
from sklearn.datasets import load_digits
from torch import nn

import tensortrain as tt

torch.manual_seed(0)
digits = load_digits()
images = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16
labels = torch.tensor(digits.target)
train, test = slice(0, 1297), slice(1297, None)

network = nn.Sequential(
    nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
    nn.Conv2d(64, 64, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(1024, 64), nn.ReLU(), nn.Linear(64, 10),
)  # fmt: skip
optimizer = torch.optim.Adam(network.parameters(), 3e-3)
for _ in range(6):
    for batch in torch.randperm(1297).split(64):
        loss = nn.functional.cross_entropy(network(images[batch]), labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
network.eval()


def accuracy(model: nn.Module) -> float:
    """The share of test digits that are recognised."""
    with torch.inference_mode():
        return float((model(images[test]).argmax(1) == labels[test]).float().mean())


print(f"{accuracy(network):.1%}")

# %%
# Nothing is trained here. Labels are used only for the metric, which is reported.
fractions = [0.5, 0.3, 0.2, 0.1, 0.05]
curve = tt.compression_curve(network, images[train], fractions, metric=accuracy, progress=False)
print(curve)

# %%
plt.style.use("tensortrain.figures")
figure, axes = plt.subplots()
rows = curve.rows()
axes.plot([row["parameters"] for row in rows], [row["metric"] for row in rows], marker="o", label="compressed")
axes.axhline(accuracy(network), linestyle="--", color="0.5", label="as trained")
axes.set(xlabel="share of the parameters", ylabel="accuracy on test digits", title="Compressed without training")
axes.legend()
