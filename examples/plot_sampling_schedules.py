"""
How does a model learn to read its own predictions?
===================================================

In training, a model may read true frames beyond the observed ones. Scheduled sampling lowers the share of true frames
step by step. These are the schedules that the zoo knows.
"""

# %%
# A schedule is part of a run's settings, and a small object that is asked for the ratio at each step.
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
