"""
Can a long audio filter be a chain of short ones?
=================================================

A bank of gammatone filters with 64 taps is a model of the ear. As a chain of 1-D cores it has a fraction of the
parameters.
"""

# %%
# Sixty-four filters between 200 Hz and 3 kHz at a sampling rate of 8 kHz.
import math

import matplotlib.pyplot as plt
import torch

import tensortrain as tt

torch.manual_seed(0)
rate, taps = 8000, 64
time = torch.arange(taps, dtype=torch.float64) / rate
frequencies = torch.logspace(math.log10(200), math.log10(3000), 64, dtype=torch.float64)
bandwidths = 24.7 + frequencies / 9.265
envelopes = time**3 * torch.exp(-2 * math.pi * bandwidths[:, None] * time)
kernel = envelopes * torch.cos(2 * math.pi * frequencies[:, None] * time)
kernel = (kernel / kernel.norm(dim=1, keepdim=True))[:, None]  # (64 outputs, 1 input, 64 taps)

# %%
# The core next to the input has 60 taps and is shared by all filters; the core next to the output has 5 taps. Together
# they make 64 taps. The rank is the number of shared long filters.
chains = {rank: tt.ConvTensorTrain.decompose(kernel, (5, 60), ranks=rank) for rank in (2, 4, 6)}
for rank, chain in chains.items():
    print(f"rank {rank}: {chain.n_parameters} of {chain.dense_parameters} parameters, error {chain.error:.3f}")

# %%
plt.style.use("tensortrain.figures")
figure, panels = plt.subplots(4, 1, figsize=(8, 6), sharex=True)
for axes, which in zip(panels, (0, 20, 40, 63), strict=True):
    axes.plot(1e3 * time, kernel[which, 0], label="filter")
    axes.plot(1e3 * time, chains[6].reconstruct()[which, 0], "--", label="chain of rank 6")
    axes.set_title(f"{float(frequencies[which]):.0f} Hz")
panels[-1].set_xlabel("milliseconds")
panels[0].legend()
