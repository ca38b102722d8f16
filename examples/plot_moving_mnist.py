"""
What is in a Moving-MNIST clip?
===============================

Digits move through a square and bounce off its walls. No clip is stored. Clip i of a split depends on the seed, the
split and i only, so every process and every machine generates the same clips.
"""

# %%
# The digits are those that come with scikit-learn; `source="mnist"` reads MNIST from the data root.
import matplotlib.pyplot as plt

import zoo

clips = zoo.MovingMNIST("test", source="embedded", digits=2)
print(clips.describe())
shown = clips.clips(range(3))  # (clips, frames, channels, height, width)
print(tuple(shown.shape), float(shown.min()), float(shown.max()))

# %%
# The same index gives the same clip, in any order.
assert (clips.clips([2])[0] == shown[2]).all()

# %%
# Three clips, every second frame; the last column is the mean over time, in which the paths can be seen.
plt.style.use("tensortrain.figures")
figure, panels = plt.subplots(3, 11, figsize=(10, 3))
for line, clip in zip(panels, shown, strict=True):
    for axes, image, title in zip(line, [*clip[::2, 0], clip[:, 0].mean(0)], [*range(1, 21, 2), "mean"], strict=True):
        axes.imshow(image, cmap="gray")
        axes.set(xticks=[], yticks=[])
        if line is panels[0]:
            axes.set_title(str(title), fontsize=9)
