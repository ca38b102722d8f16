"""
Where do a chain of padded layers and one padded convolution differ?
====================================================================

With padding `"same"`, a chain gives exactly the result of one zero-padded convolution with the whole kernel. With
`"same_per_step"`, each core pads its own input with zeros, as a stack of layers does, and the result differs near the
border.
"""

# %%
# A chain of three 3×3 cores is a 7×7 kernel.
import matplotlib.pyplot as plt
import torch

import tensortrain as tt

torch.manual_seed(0)
chain = tt.ConvTensorTrain([torch.randn(1, 4, 3, 3), torch.randn(4, 4, 3, 3), torch.randn(4, 1, 3, 3)])
image = torch.randn(1, 1, 24, 24)
exact = chain.evaluate(image, padding="same")
stacked = chain.evaluate(image, padding="same_per_step")
whole = torch.nn.functional.conv2d(image, chain.reconstruct(), padding="same")
print("same against one convolution:", float((exact - whole).abs().max()))
print("border:", chain.border())

# %%
# The differences are inside the border that `chain.border()` gives: two pixels on each side.
plt.style.use("tensortrain.figures")
figure, panels = plt.subplots(1, 2, figsize=(8, 4))
limit = float((stacked - whole).abs().max())
for axes, result, name in zip(panels, (exact, stacked), ("same", "same_per_step"), strict=True):
    shown = axes.imshow((result - whole)[0, 0].abs(), vmin=0, vmax=limit)
    axes.set(title=f"padding {name!r}", xticks=[], yticks=[])
figure.colorbar(shown, ax=panels, shrink=0.8, label="difference from one convolution")
