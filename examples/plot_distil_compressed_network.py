"""
Does training repair what compression costs?
============================================

A network for handwritten digits is compressed to a twentieth of its parameters: once directly, and once in two stages.
After each stage it is trained to give the outputs of the original network, on images without labels.
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
for _ in range(4):
    for batch in torch.randperm(1297).split(64):
        loss = nn.functional.cross_entropy(network(images[batch]), labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
network.eval()


# %%
# A compressed network is an ordinary module and is trained like any other. Here it is trained by distillation, which
# needs no labels, only the class probabilities of the original network.
def distil(small: nn.Module, epochs: int = 3) -> nn.Module:
    """Train a compressed network to give the outputs of the original one."""
    optimizer = torch.optim.Adam(small.parameters(), 1e-3)
    for _ in range(epochs):
        for batch in torch.randperm(1297).split(64):
            with torch.no_grad():
                wanted = network(images[batch]).log_softmax(-1)
            output = small(images[batch]).log_softmax(-1)
            loss = nn.functional.kl_div(output, wanted, log_target=True, reduction="batchmean")
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(small.parameters(), 1.0)
            optimizer.step()
    return small


def accuracy(model: nn.Module) -> float:
    """The share of test digits that are recognised."""
    with torch.inference_mode():
        return float((model(images[test]).argmax(1) == labels[test]).float().mean())


# %%
# First directly, then by way of a network with a fifth of the parameters: `compress` accepts a network that is already
# compressed. An integer budget is a number of parameters.
count = sum(p.numel() for p in network.parameters())
shares: dict[str, float] = {"original": accuracy(network)}

small = tt.compress(network, images[train], parameters=count // 20, progress=False).model
shares["at once"] = accuracy(small)
shares["at once,\ntrained"] = accuracy(distil(small))

half_way = distil(tt.compress(network, images[train], parameters=count // 5, progress=False).model)
small = tt.compress(half_way, images[train], parameters=count // 20, progress=False).model
shares["in two stages"] = accuracy(small)
shares["in two stages,\ntrained"] = accuracy(distil(small))
for name, share in shares.items():
    print(f"{' '.join(name.split())}: {share:.1%}")

# %%
plt.style.use("tensortrain.figures")
figure, axes = plt.subplots()
bars = axes.bar(list(shares), [100 * share for share in shares.values()])
axes.bar_label(bars, fmt="%.1f")
axes.set(ylabel="test digits recognised, %", title="A twentieth of the parameters")
