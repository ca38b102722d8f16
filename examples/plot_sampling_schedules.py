"""
How does a model learn to read its own predictions?
===================================================

During training, a model may read true frames after the observed ones. Scheduled sampling lowers the share of true
frames step by step. The zoo has five schedules, of which this page shows three.
"""

# %%
# A schedule is a part of the settings of a run. A small object computes the ratio at each step.
import matplotlib.pyplot as plt

from zoo import settings
from zoo.training.scheduled_sampling import make_sampling

steps = range(0, 1000, 10)
schedules = {
    "linear, down to 0 at half of the steps": settings.LinearSampling(start=0, stop=500),
    "sigmoid with k = 100": settings.SigmoidSampling(k=100.0),
    "none: true frames always": settings.NoSampling(),
}
print([type(schedule).__name__ for schedule in schedules.values()])

# %%
plt.style.use("tensortrain.figures")
figure, axes = plt.subplots()
for name, schedule in schedules.items():
    sampling = make_sampling(schedule, 100)
    axes.plot(steps, [sampling.ratio(step) for step in steps], label=name)
axes.set(xlabel="step", ylabel="fraction of true frames", ylim=(-0.05, 1.05), title="Scheduled sampling")
axes.legend()
