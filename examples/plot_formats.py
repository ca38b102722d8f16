"""
Which format should I choose?
=============================

One kernel of a trained network is decomposed in several formats and with several budgets. The picture shows the error
against the number of parameters. The kernel is a 3×3 convolution of the ConvLSTM whose weights are in the package.
"""

# %%
# The kernel has 64 hidden channels; we take 24 of its inputs and outputs to keep this example short.
import matplotlib.pyplot as plt

import tensortrain as tt
import zoo

model = zoo.create_model("conv-lstm", pretrained="moving-mnist-small")
name, weight = max(model.named_parameters(), key=lambda item: item[1].numel())
kernel = weight.detach()[:24, -24:].double()
print(name, tuple(weight.shape), "of which", tuple(kernel.shape))

# %%
# `budget` is the largest share of the parameters that a chain may have.
budgets = (0.15, 0.3, 0.45, 0.6)
errors = {}
for form in ("tucker2", "separable", "tt4", "cp", "depthwise"):
    chains = [tt.ConvTensorTrain.decompose(kernel, form, budget=budget) for budget in budgets]
    errors[form] = [(chain.n_parameters / chain.dense_parameters, chain.error) for chain in chains]
    print(f"{form:10}", " ".join(f"{error:.3f}" for _, error in errors[form]))

# %%
# Formats with depthwise cores have the smallest errors at few parameters. They need not be the fastest.
plt.style.use("tensortrain.figures")
figure, axes = plt.subplots()
for form, points in errors.items():
    axes.plot(*zip(*points, strict=True), marker="o", label=form)
axes.set(xlabel="share of the parameters", ylabel="relative error", ylim=(0, 1), title=f"{name}, {tuple(kernel.shape)}")
axes.legend(ncols=2)
