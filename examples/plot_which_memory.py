"""
How far back does a prediction look?
====================================

The gradient of the last frame's error with respect to each observed frame shows how far back in time the memory of a
model reaches. Two networks of the PredRNN++ paper are compared with ConvLSTM; all were trained briefly on equal clips.
"""

# %%
# The norms of the gradients for a few clips. The weights are in the package.
import matplotlib.pyplot as plt
import torch

import zoo

names = ["conv-lstm", "predrnn", "predrnn-pp"]
clips = zoo.MovingMNIST("test", source="embedded").clips(range(4))
norms = {}
for name in names:
    model = zoo.create_model(name, pretrained="moving-mnist-brief")
    observed = clips[:, :10].clone().requires_grad_()
    predictions = model(observed, horizon=10)
    error = (predictions[:, -1] - clips[:, -1]).square().sum()
    (gradient,) = torch.autograd.grad(error, observed)
    norms[name] = gradient.flatten(2).norm(dim=2).mean(0)
    print(f"{name:12}", " ".join(f"{value:.2f}" for value in norms[name]))

# %%
# A flat line means that early frames still matter.
plt.style.use("tensortrain.figures")
figure, axes = plt.subplots()
for name, values in norms.items():
    axes.plot(range(1, 11), values / values.sum(), marker="o", label=name)
axes.set(xlabel="observed frame", ylabel="share of the gradient", ylim=(0, None))
axes.set_title("Which observed frames the tenth prediction depends on")
axes.legend()
