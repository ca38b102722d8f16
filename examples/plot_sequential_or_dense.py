"""
When is evaluation core by core faster?
=======================================

A chain of small rank needs fewer multiplications than its kernel. But several small convolutions take longer than one
large convolution with the same number of multiplications. `plan` measures both on your machine.
"""

# %%
# A 5×5 kernel of 48 → 48 channels as two 3×3 cores, with growing rank.
import matplotlib.pyplot as plt
import torch

import tensortrain as tt

torch.manual_seed(0)
ranks = [4, 8, 16, 32, 48, 64, 96]
plans = []
for rank in ranks:
    chain = tt.ConvTensorTrain([torch.randn(48, rank, 3, 3), torch.randn(rank, 48, 3, 3)])
    plans.append(chain.plan(32))
    print(f"rank {rank:2}: {plans[-1].choice}")

# %%
# Left: the number of multiplications. If all of them took the same time, the lines on the right would cross there too.
plt.style.use("tensortrain.figures")
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4))
left.plot(ranks, [plan.sequential_macs / 1e6 for plan in plans], marker="o", label="core by core")
left.plot(ranks, [plan.dense_macs / 1e6 for plan in plans], "--", label="rebuilt kernel")
left.set(xlabel="rank", ylabel="million multiplications", ylim=(0, None), title="Counted")
right.plot(ranks, [1e3 * plan.sequential_seconds for plan in plans], marker="o", label="core by core")
right.plot(ranks, [1e3 * plan.dense_seconds for plan in plans], "--", label="rebuilt kernel")
right.set(xlabel="rank", ylabel="milliseconds", ylim=(0, None), title="Measured here")
left.legend()
