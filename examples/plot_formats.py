"""
Which format should I choose?
=============================

One kernel of a trained network is decomposed in several formats and with several budgets. The picture shows the error
and the time against the number of parameters. The kernel is a 3×3 convolution of the ConvLSTM whose weights are in the
package.
"""

# %%
# The kernel has 64 hidden channels; we take 24 of its inputs and outputs to keep this example short.
import statistics
import time

import matplotlib.pyplot as plt
import torch

import tensortrain as tt
import zoo

model = zoo.create_model("conv-lstm", pretrained="moving-mnist-small")
name, weight = max(model.named_parameters(), key=lambda item: item[1].numel())
kernel = weight.detach()[:24, -24:].double()
print(name, tuple(weight.shape), "of which", tuple(kernel.shape))

# %%
# `budget` is the largest share of the parameters that a chain may have.
budgets = (0.15, 0.3, 0.45, 0.6)
chains = {}
for form in ("tucker2", "separable", "tt4", "cp", "depthwise"):
    chains[form] = [tt.ConvTensorTrain.decompose(kernel, form, budget=budget) for budget in budgets]
    print(f"{form:10}", " ".join(f"{chain.error:.3f}" for chain in chains[form]))

# %%
# The time of each chain is compared with that of the whole kernel, in alternation on this machine.
x, weight = torch.rand(8, 24, 32, 32), kernel.float()


def seconds(function):
    """The time of one call."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def share_of_time(chain):
    """The median of the time of the chain, divided by that of the kernel."""
    kernels = (lambda: chain.evaluate(x), lambda: torch.nn.functional.conv2d(x, weight, padding="same"))
    ratios = [seconds(kernels[0]) / seconds(kernels[1]) for _ in range(25)]
    return statistics.median(ratios)


# %%
# Formats with depthwise cores have the smallest errors at few parameters. They need not be the fastest: above the grey
# line, a chain takes longer than the kernel that it replaces.
plt.style.use("tensortrain.figures")
figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.6))
for form, those in chains.items():
    shares = [chain.n_parameters / chain.dense_parameters for chain in those]
    left.plot(shares, [chain.error for chain in those], marker="o", label=form)
    right.plot(shares, [share_of_time(chain.to(torch.float32)) for chain in those], marker="o")
right.axhline(1, color="#777777")
left.set(xlabel="share of the parameters", ylabel="relative error", ylim=(0, 1))
right.set(xlabel="share of the parameters", ylabel="time / time of the kernel", ylim=(0, None))
figure.legend(loc="outside upper center", ncols=5)
