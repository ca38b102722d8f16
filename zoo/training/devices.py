"""The device and precision of training: Lightning Fabric, set up from the settings."""

import contextlib
import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from lightning.fabric import Fabric
from lightning.fabric.loggers.logger import Logger
from lightning.fabric.plugins import DoublePrecision, HalfPrecision, MixedPrecision, Precision
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.fabric.utilities.exceptions import MisconfigurationException
from torch import nn

from zoo.errors import ZooError
from zoo.settings import Training


def make_fabric(training: Training, loggers: Sequence[Logger] = ()) -> Fabric:
    """Make the Fabric for the devices, processes and precision of the settings, with loggers.

    If `torchrun` or Slurm has started the processes, these are used. Otherwise Fabric starts them.

    Raises:
        ZooError: if this machine lacks the accelerator or devices, there are far more processes than cores, a launcher
            has another number of processes, or the device does not support the precision.
    """
    _check_processes(training)
    launchers = [kind() for kind in (TorchElasticEnvironment, SLURMEnvironment) if kind.detect()]
    try:
        for launcher in launchers:
            launcher.validate_settings(training.devices, training.nodes)
        fabric = Fabric(
            accelerator=training.accelerator,
            devices=training.devices,
            num_nodes=training.nodes,
            plugins=[make_precision(training)],
            loggers=[*loggers],
        )
    except (MisconfigurationException, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ZooError(
            f"training.accelerator = {training.accelerator!r}, devices = {training.devices}, nodes = {training.nodes}, "
            f"precision = {training.precision!r} do not work here: {reason}"
        ) from error
    if training.precision == "16-mixed" and fabric.device.type == "cpu":
        raise ZooError("training.precision = '16-mixed' needs a GPU; on a CPU choose bf16-mixed or 32-true")
    return fabric


def _check_processes(training: Training) -> None:
    """Raise a ZooError if starting so many processes could bring the machine down."""
    cores = os.cpu_count() or 1
    most = 4 * cores + 16
    for name, count in (("devices", training.devices), ("num_workers", training.num_workers)):
        if count > most:
            raise ZooError(f"training.{name} = {count} is too many for {cores} cores; at most {most} are legal")


class _Mixed(MixedPrecision):
    """Autocast that leaves the frames in 32 bits, as the loss needs them, and keeps no 16-bit copies of the weights.

    Each weight is used once for each frame. With one shared copy, the gradients of all frames would be summed in 16
    bits.
    """

    def convert_input(self, data: Any) -> Any:
        """Return the data unchanged."""
        return data

    def forward_context(self) -> torch.autocast:
        """Autocast without its cache of weights."""
        return torch.autocast(self.device, dtype=self._desired_input_dtype, cache_enabled=False)


class _Half(HalfPrecision):
    """bfloat16 for weights and frames, but not for the loss, which Fabric would round with several processes."""

    def convert_output(self, data: Any) -> Any:
        """Return the data unchanged."""
        return data


class _Double(DoublePrecision):
    """64 bits for the predictions too. Fabric would round them to 32 bits."""

    def convert_output(self, data: Any) -> Any:
        """Return the data unchanged."""
        return data


def make_precision(training: Training) -> Precision:
    """The plugin of Fabric for `training.precision`."""
    if training.precision in ("16-mixed", "bf16-mixed"):
        accelerator = None
        if training.accelerator != "cpu":
            accelerator = torch.accelerator.current_accelerator(check_available=True)
        return _Mixed(training.precision, accelerator.type if accelerator else "cpu")  # type: ignore[arg-type]
    if training.precision == "bf16-true":
        return _Half("bf16-true")
    return _Double() if training.precision == "64-true" else Precision()


def weights_dtype(precision: str, own: torch.dtype) -> torch.dtype:
    """The dtype in which Fabric keeps a weight or buffer that has the dtype `own` in the model.

    >>> weights_dtype("64-true", torch.float32), weights_dtype("bf16-mixed", torch.float32)
    (torch.float64, torch.float32)
    """
    changed = {"bf16-true": torch.bfloat16, "64-true": torch.float64}
    return changed.get(precision, own) if own.is_floating_point else own


def warn_of_slow_precision(training: Training, device: torch.device) -> None:
    """Warn of training in bf16 on a processor that only imitates it, which takes many times as long as float32."""
    if device.type == "cpu" and training.precision.startswith("bf16") and _imitates_bf16():
        warnings.warn(
            f"this processor has no instructions for bf16, so with training.precision = {training.precision!r} a "
            'convolution takes many times as long as with "32-true"; choose training.precision 32-true',
            stacklevel=3,
        )


def _imitates_bf16() -> bool:
    """Return whether PyTorch's library for convolutions on CPUs lacks instructions for bf16 here."""
    return torch.backends.mkldnn.is_available() and not torch.ops.mkldnn._is_mkldnn_bf16_supported()


@contextlib.contextmanager
def quiet_lightning() -> Iterator[None]:
    """Silence tips and warnings of Lightning and DDP, which are for programmers and not for users of `zoo train`."""
    # after `import lightning`, even Fabric logs under the name lightning.pytorch
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="lightning")
        # it is about 1×1 kernels, whose strides have two equal descriptions, so nothing is slower
        warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


def keep_channels_last(model: nn.Module) -> None:
    """Convert the weights of a model's 2-d convolutions to the channels-last layout that they compute with, in place.

    Otherwise a recurrent model would convert each of them for every frame.

    >>> conv = nn.Conv2d(2, 4, kernel_size=3)
    >>> keep_channels_last(conv)
    >>> conv.weight.is_contiguous(memory_format=torch.channels_last)
    True
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            module.weight.data = module.weight.data.contiguous(memory_format=torch.channels_last)


@contextlib.contextmanager
def convolution_algorithms(deterministic: bool) -> Iterator[None]:
    """Context manager: how cuDNN chooses the algorithms of convolutions. It has no effect on a CPU.

    Args:
        deterministic: True allows only algorithms that give the same bits every time, so that a resumed run equals an
            uninterrupted one. False times all algorithms for each shape and uses the fastest.
    """
    cudnn = torch.backends.cudnn
    before = cudnn.deterministic, cudnn.benchmark
    cudnn.deterministic, cudnn.benchmark = deterministic, not deterministic
    try:
        yield
    finally:
        cudnn.deterministic, cudnn.benchmark = before
