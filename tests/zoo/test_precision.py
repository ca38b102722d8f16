"""A training in bf16 warns on a processor that only imitates bf16, and on no other."""

import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch

from tests.support.runs import with_training
from zoo.training import fit
from zoo.training.devices import warn_of_slow_precision


@pytest.mark.parametrize(
    ("precision", "imitated", "count"), [("bf16-mixed", True, 1), ("bf16-mixed", False, 0), ("32-true", True, 0)]
)
def test_a_training_warns_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str, imitated: bool, count: int
) -> None:
    monkeypatch.setattr("zoo.training.devices._imitates_bf16", lambda: imitated)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit(with_training(steps=2, precision=precision), tmp_path, progress=False)
        fit(with_training(steps=2, precision=precision), tmp_path, progress=False)  # a finished run trains no more
    texts = [str(one.message) for one in caught if "bf16" in str(one.message)]
    assert len(texts) == count
    assert all("choose training.precision 32-true" in text for text in texts)


def test_a_gpu_has_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zoo.training.devices._imitates_bf16", lambda: True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_slow_precision(with_training(precision="bf16-mixed").training, torch.device("cuda"))


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="PyTorch is built without oneDNN")
def test_the_answer_agrees_with_a_measurement() -> None:
    """Convolutions in bf16 take much longer than in float32 where the warning says so, and nowhere else."""
    code = """
import time, torch
from zoo.training.devices import _imitates_bf16
layer, frames = torch.nn.Conv2d(64, 128, 3, padding=1), torch.rand(8, 64, 16, 16)
seconds = {}
for dtype in [torch.float32, torch.bfloat16] * 3:
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32), torch.no_grad():
        layer(frames)
        start = time.process_time()
        layer(frames)
        seconds[dtype] = min(seconds.get(dtype, 9.0), time.process_time() - start)
print(int(_imitates_bf16()), seconds[torch.bfloat16] / seconds[torch.float32])
"""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    answer = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    imitates, ratio = answer.stdout.split()
    assert float(ratio) > 3.0 if imitates == "1" else float(ratio) < 6.0, answer.stdout
