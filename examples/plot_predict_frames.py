"""
What do the pretrained models predict?
======================================

Two models with pretrained weights read ten frames of a Moving-MNIST clip and predict the next ten. The digits are those
that come with scikit-learn, so nothing is downloaded.
"""

# %%
# `create_model` with `pretrained` loads the weights; the model is in evaluation mode.
import matplotlib.pyplot as plt
import torch

import zoo

names = ["conv-lstm", "conv-tt-lstm-sw"]
models = {name: zoo.create_model(name, pretrained="moving-mnist-small") for name in names}
clips = zoo.MovingMNIST("test", source="embedded").clips([3])
print(clips.shape)

# %%
# The model predicts every frame after the first one. The last ten predictions are for frames that it has not observed.
rows = {"truth": clips[0, 10:]}
with torch.inference_mode():
    for name, model in models.items():
        rows[name] = model(clips[:, :10], horizon=10)[0, -10:]
        error = (rows[name] - rows["truth"]).square().sum((1, 2, 3)).mean()
        print(f"{name}: squared error {error:.1f} a frame")

# %%
# Time runs from left to right: one to ten frames into the future.
figure, axes = plt.subplots(len(rows), 10, figsize=(9, 3))
for (name, frames), line in zip(rows.items(), axes, strict=True):
    for frame, axis in zip(frames[:, 0].clamp(0, 1), line, strict=True):
        axis.imshow(frame, cmap="gray", vmin=0, vmax=1)
        axis.set_xticks([])
        axis.set_yticks([])
    line[0].set_ylabel(name, rotation=0, ha="right", va="center")
figure.subplots_adjust(left=0.16, right=0.99, top=0.99, bottom=0.01, hspace=0.05, wspace=0.05)
