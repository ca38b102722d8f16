"""
What does the sum of many trains cost?
======================================

The ranks of a sum are the sums of the ranks, and the cost of rounding grows with the cube of the rank. `round_sum`
rounds by random projections while it forms the sum, and its cost grows linearly with the number of summands.
"""

# %%
# Trains of rank 10 whose singular values halve from one to the next, each smaller than the one before.
import time

import matplotlib.pyplot as plt
import torch

import tensortrain as tt


def summand(n: int) -> tt.TensorTrain:
    """The n-th train."""
    train = tt.TensorTrain.random((20,) * 6, 10, seed=n, dtype=torch.float64).orthogonalize(0)
    falling = 0.5 ** torch.arange(10, dtype=torch.float64)
    cores = [core * falling[: core.shape[2]] for core in train.cores]
    return tt.TensorTrain(cores) * 0.7**n


# %%
# The same sums, rounded to rank 12: after adding, and during the addition.
counts = [2, 4, 8, 16, 32]
afterwards, on_the_way, errors = [], [], []
for count in counts:
    summands = [summand(n) for n in range(count)]
    start = time.perf_counter()
    total = sum(summands[1:], summands[0])
    rounded = total.round(ranks=12)
    afterwards.append(time.perf_counter() - start)
    start = time.perf_counter()
    sketched = tt.round_sum(summands, ranks=12)
    on_the_way.append(time.perf_counter() - start)
    distance = float((sketched - total).norm() / total.norm())
    errors.append((rounded.error, distance, sketched.error))
    print(f"{count} summands: error {rounded.error:.4f} afterwards, {distance:.4f} on the way")

# %%
# Left: the time of both. Right: their errors, and the error that `round_sum` estimates without knowing the exact sum.
plt.style.use("tensortrain.figures")
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4))
left.loglog(counts, afterwards, "o-", label="add, then round")
left.loglog(counts, on_the_way, "o-", label="round_sum")
left.set_xscale("log", base=2)
left.set_xlabel("summands of rank 10")
left.set_ylabel("seconds")
left.legend()
for errors_of_one, name, style in zip(
    zip(*errors, strict=True), ("add, then round", "round_sum", "its estimate"), ("o-", "s--", "x:"), strict=True
):
    right.plot(counts, errors_of_one, style, label=name)
right.set_xlabel("summands of rank 10")
right.set_ylabel("relative error at rank 12")
right.set_ylim(bottom=0)
right.legend()
