"""`zoo benchmark`: measure how fast the models run, compared with what the machine can do.

`setup` prepares one model for one job, `variants` are the ways to run it, `measurement` compares them, `loading` times
the data, `cases` goes through all models, presets and jobs, and `report` writes tables, values and a picture. The tools
that count, time and trace a computation are in `tensortrain.profiling`.
"""

from tensortrain.profiling.clock import Clock
from tensortrain.profiling.machine import describe_machine, using_threads
from zoo.benchmark.cases import measured_device, run_cases
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
    "find_variants",
    "make_trial",
    "measure",
    "measured_device",
    "register",
    "run_cases",
    "using_threads",
]
