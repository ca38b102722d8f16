"""How fast the models run, and how near to what the machine can do: `zoo benchmark`.

`setup` sets up one model for one job, `variants` are the ways to run it, `measurement` compares them with one another,
`loading` times the data, `cases` goes through all models, presets and jobs, and `report` writes tables, values and a
picture. What counts, times and traces a computation is in `tensortrain.profiling`.
"""

from tensortrain.profiling.clock import Clock
from tensortrain.profiling.machine import describe_machine, using_threads
from zoo.benchmark.cases import find_device, run_cases
from zoo.benchmark.measurement import Case, Row, measure
from zoo.benchmark.setup import JOBS, Trial, benchmark_recipe, make_trial
from zoo.benchmark.variants import PLAIN, VARIANTS, Variant, find_variants, register

__all__ = [
    "JOBS",
    "PLAIN",
    "VARIANTS",
    "Case",
    "Clock",
    "Row",
    "Trial",
    "Variant",
    "benchmark_recipe",
    "describe_machine",
    "find_device",
    "find_variants",
    "make_trial",
    "measure",
    "register",
    "run_cases",
    "using_threads",
]
