"""How fast the models run, and how near to what the machine can do: `zoo benchmark`.

`trial` sets up one model for one job, `variants` are the ways to run it, `count` counts what it asks of the machine,
`floor` times its convolutions in isolation, `watch` sees memory and launches, `measure` puts variants against each
other, `loading` asks whether the data keep up, `contest` goes through all cases, `report` writes.
"""

from tensortrain.profiling.clock import Clock
from zoo.benchmark.cases import contest, describe_machine, find_device, using_threads
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
    "contest",
    "describe_machine",
    "find_device",
    "find_variants",
    "make_trial",
    "measure",
    "register",
    "using_threads",
]
