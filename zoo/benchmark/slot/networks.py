"""Rows about whole networks: training steps, the rate of their convolutions, and the time of their kernels."""

import csv
import re
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from tensortrain.profiling.isolated import isolated
from tensortrain.profiling.macs import Recorder
from tensortrain.profiling.memory import peak_bytes
from zoo.benchmark.measurement import difference, failure
from zoo.benchmark.slot.bench import TIMES, Bench, Values
from zoo.benchmark.variants import PLAIN, bf16, find_variants
from zoo.errors import ZooError

# patterns of kernel names on a GPU and operator names on a CPU; the first that matches counts
KINDS = {
    "convolution": r"conv(?!ert)|gemm|xmma|cutlass|implicit|fprop|dgrad|wgrad|nchwToNhwc|nhwcToNchw|cudnn|mm$",
    "reduction": r"reduce|norm|softmax|sum|triton_(red|per)",
    "pointwise": r"elementwise|vectorized|unrolled|multi_tensor|triton_poi|aten::",
    "copy": r"[Mm]emcpy|[Mm]emset|copy|Cat",
}


def training_step(model: str, preset: str, batch: int, variant: str) -> Callable[[Bench], Values]:
    """A row for one variant of a training step."""

    def run(bench: Bench) -> Values:
        case, way = bench.case(model, preset, batch), find_variants([variant])[-1]
        if bench.device.type not in way.devices:
            raise ZooError(f"this variant is not for a {bench.device.type} device")
        if "compiled" in variant:
            torch.compiler.reset()
        trial = case.trial([*way.changes, *way.execution])
        gmac = 0.0
        if way is PLAIN:
            with Recorder() as recorder:
                trial.run()
            gmac = recorder.count.macs / 1e9
        trial.run()  # compiles, warms up
        trial.run()  # records a graph
        results: list[torch.Tensor] = []
        peak = peak_bytes(lambda: results.extend(trial.run()), bench.device)
        seconds = bench.median(trial.run)
        values: Values = {"model": model, "preset": preset, "variant": variant, "seconds": seconds}
        values |= {"clips_per_second": batch / seconds, "peak_mb": peak / 1e6}
        key = (model, preset, batch)
        if way is PLAIN:
            bench.plain[key] = seconds, gmac, [gradient.clone() for gradient in results]
        if key in bench.plain:
            plain, gmac, gradients = bench.plain[key]
            values |= {"times_plain": plain / seconds, "gmac_per_second": gmac / seconds}
            values["difference"] = difference(results, gradients)
        if way is not PLAIN:
            try:
                name = f"kernels-{model}-{preset}-{variant}.csv"
                values["pointwise_share"] = write_kernels(trial.run, bench.folder / name, bench.device)
            except Exception as error:  # the times are more important than the profile
                values["note"] = f"no profile: {failure(error)}"
        return values

    return run


def write_kernels(run: Callable[[], Any], path: Path, device: torch.device) -> float | None:
    """Write the time of each kernel of a run. Returns the fraction of pointwise kernels, or None without kernels."""
    on_gpu = device.type == "cuda"
    with profile(activities=[ProfilerActivity.CUDA if on_gpu else ProfilerActivity.CPU]) as profiler:
        run()
        if on_gpu:
            torch.cuda.synchronize()
    kernels = []
    for event in profiler.key_averages():
        seconds = (event.self_device_time_total if on_gpu else event.self_cpu_time_total) / 1e6
        if seconds:
            kernels.append({"kind": kind(event.key), "seconds": seconds, "calls": event.count, "kernel": event.key})
    total = sum(one["seconds"] for one in kernels)
    _write(sorted(kernels, key=lambda one: -one["seconds"]), path)
    return sum(one["seconds"] for one in kernels if one["kind"] == "pointwise") / total if total else None


def kind(kernel: str) -> str:
    """The kind of a kernel, by its name.

    >>> [kind(name) for name in ("sm90_xmma_fprop_implicit_gemm_bf16", "vectorized_elementwise_kernel", "x")]
    ['convolution', 'pointwise', 'other']
    """
    return next((name for name, pattern in KINDS.items() if re.search(pattern, kernel)), "other")


def _write(kernels: list[dict[str, Any]], path: Path) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["kind", "seconds", "calls", "kernel"], lineterminator="\n")
        writer.writeheader()
        writer.writerows(kernels)


def convolution_rate(model: str) -> Callable[[Bench], Values]:
    """A row for all convolutions of a network's step in bf16, each timed in isolation."""

    def run(bench: Bench) -> Values:
        trial = bench.case(model, "paper", bench.sizes.layers12).trial([bf16])
        with Recorder() as recorder:
            trial.run()
        count = recorder.count
        timed = isolated(count.calls, bench.device, bench.clock)
        seconds = sum(number * min(timed[call]() for _ in range(TIMES)) for call, number in count.calls.items())
        bench.floors[model] = seconds
        return {"seconds": seconds, "gmac_per_second": count.macs / 1e9 / seconds}

    return run


def product_rate(bench: Bench) -> Values:
    """A row for a large matrix product in bf16, which shows the highest rate of the machine."""
    side = bench.sizes.product
    generator = torch.Generator(bench.device).manual_seed(0)
    a, b = (torch.randn(side, side, device=bench.device, generator=generator).bfloat16() for _ in range(2))
    times = bench.clock.repeats(lambda: a @ b, 0.02)
    seconds = statistics.median(bench.clock.seconds(lambda: a @ b, times) for _ in range(TIMES))
    bench.product = side**3 / 1e9 / seconds
    return {"seconds": seconds, "gmac_per_second": bench.product}
