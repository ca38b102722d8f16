"""Inputs that a network is compressed on: read once, cut to a number of samples, and fed to the network.

A batch may be a tensor, a tuple or list of positional arguments, or a dict of keyword arguments. Labels that a data
loader yields beside the inputs are left out: of a tuple only as many entries are used as `forward` requires.
"""

import contextlib
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from tensortrain import checks
from tensortrain.compression.analysis.selection import Selector, select
from tensortrain.errors import TensorTrainError

TRIAL = 8  # samples of the first, small batch
AGREEMENT = 1e-2  # of the largest output, by which outputs of other batches may differ: half precision
CHUNK = 256  # samples that a network computes at a time where nothing demands all at once


@dataclass(frozen=True)
class Batch:
    """Arguments of one call of the network; tensors as long as `size` on their first axis hold one sample in each row.

    >>> Batch((torch.zeros(4, 3),), {}, 4).rows(1, 3).size
    2
    """

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    size: int

    def rows(self, start: int, stop: int) -> "Batch":
        """The samples from `start` to before `stop`."""
        args, kwargs = pytree.tree_map(lambda x: x[start:stop] if self._is_samples(x) else x, (self.args, self.kwargs))
        return Batch(args, kwargs, min(stop, self.size) - start)

    def reversed(self) -> "Batch":
        """The same samples, the last one first."""
        args, kwargs = pytree.tree_map(lambda x: x.flip(0) if self._is_samples(x) else x, (self.args, self.kwargs))
        return Batch(args, kwargs, self.size)

    def tensors(self) -> list[Tensor]:
        """All tensors among the arguments."""
        return [x for x in pytree.tree_leaves((self.args, self.kwargs)) if isinstance(x, Tensor)]

    @property
    def bytes(self) -> int:
        """Memory that the tensors take."""
        return sum(x.numel() * x.element_size() for x in self.tensors())

    def _is_samples(self, x: object) -> bool:
        return isinstance(x, Tensor) and x.dim() > 0 and len(x) == self.size


@dataclass(frozen=True)
class Calibration:
    """The inputs in memory.

    Attributes:
        batches: one, if all could be joined, else as they were read.
        size: number of samples, which are the rows of the tensors.
        seed: seed of the random numbers that the network may draw.
        refitted: number of leading batches that layers are refitted on.
        independent: whether rows of the batches are samples that the network computes one by one.
        first: the first batch as it was read.
    """

    batches: list[Batch]
    size: int
    seed: int
    refitted: int
    independent: bool
    first: Batch

    @classmethod
    def read(
        cls,
        inputs: Any,
        model: nn.Module,
        *,
        samples: int = 1024,
        seed: int = 0,
        tick: Callable[[str, str], None] = lambda stage, what: None,
    ) -> "Calibration":
        """Read batches with at least `samples` samples from an iterable, or one tensor of samples.

        Args:
            inputs: see `compress`.
            model: the model that will run on them.
            samples: number of samples to keep in memory.
            seed: seed of the random numbers that the network may draw.
            tick: told how much memory they will take once the first batch has shown it.

        Raises:
            TensorTrainError: nothing to read, a batch without tensors, or NaN or infinite inputs.

        >>> data = [(torch.zeros(5, 3), torch.zeros(5))] * 3   # inputs and labels
        >>> model = nn.Linear(3, 2)
        >>> calibration = Calibration.read(data, model, samples=12).prepared(model, 12, None)
        >>> calibration.size, [tuple(x.shape) for x in calibration.batches[0].tensors()]
        (12, [(12, 3)])
        """
        samples = checks.integer("samples", samples)
        device = next((p.device for p in model.parameters()), None)
        batches: list[Batch] = []
        for item in _iterate(inputs):
            batches.append(_to_device(_as_batch(item, model, len(batches)), device))
            if len(batches) == 1:
                most = batches[0].bytes / batches[0].size * max(samples, batches[0].size)
                tick("inputs", f"up to {samples:,} samples, {most / 1e6:,.1f} MB in memory")
            if sum(batch.size for batch in batches) >= samples:
                break
        if not batches:
            raise TensorTrainError("inputs are empty: nothing could be read; a generator can be read only once")
        return cls(batches, sum(batch.size for batch in batches), seed, len(batches), False, batches[0])

    def prepared(self, model: nn.Module, samples: int, selector: Selector) -> "Calibration":
        """The inputs joined to one batch of `samples` samples, where the network treats each row on its own.

        It does if fewer rows, and rows in another order, give the same outputs, in that order. If rows are steps in
        time, say, the batches stay as they are.
        """
        if not self._are_independent(model, selector):
            return self
        excess = self.size - samples
        last = self.batches[-1]
        batches = [*self.batches[:-1], last.rows(0, last.size - excess)] if excess > 0 else self.batches
        joined = _joined(batches)
        return Calibration(joined, sum(b.size for b in batches), self.seed, len(joined), True, self.first)

    def _are_independent(self, model: nn.Module, selector: Selector) -> bool:
        batch = self.batches[0].rows(0, TRIAL)
        outputs = select(self.run(model, batch), selector)
        if len(outputs) != batch.size:
            return False
        half = batch.size // 2 or 1
        fewer = select(self.run(model, batch.rows(0, half)), selector)
        turned = select(self.run(model, batch.reversed()), selector)
        scale = float(outputs.double().abs().max())

        def same(a: Tensor, b: Tensor) -> bool:
            return a.shape == b.shape and float((a.double() - b.double()).abs().max()) <= AGREEMENT * scale

        return same(fewer, outputs[:half]) and same(turned, outputs.flip(0))

    def small_batch(self) -> Batch:
        """A few samples, or the first batch if its rows are none."""
        return self.batches[0].rows(0, TRIAL) if self.independent else self.batches[0]

    def portioned(self, most: int) -> "Calibration":
        """The same inputs, a batch of all samples cut into batches of at most `most`.

        Layers are then refitted on the first one, since all inputs of a layer have to be in memory for that.
        """
        if not self.independent or len(self.batches) > 1 or self.size <= most:
            return self
        return Calibration(list(self.chunks(most)), self.size, self.seed, 1, True, self.first)

    def chunks(self, most: int = CHUNK) -> Iterator[Batch]:
        """The same samples in batches of at most `most`, if their rows are independent."""
        if not self.independent:
            yield from self.batches
            return
        for batch in self.batches:
            for start in range(0, batch.size, most):
                yield batch.rows(start, start + most)

    def run(self, model: nn.Module, batch: Batch) -> Any:
        """What the network computes from one batch, without gradients and without a trace in torch's random state.

        Raises:
            TensorTrainError: the network fails on the batch.
        """
        generators = [torch.cuda.default_generators[x.device.index] for x in batch.tensors() if x.is_cuda]
        with torch.no_grad(), torch.random.fork_rng([g.device for g in generators]), _named_errors(batch):
            for generator in (torch.default_generator, *generators):
                generator.manual_seed(self.seed)
            return model(*batch.args, **batch.kwargs)


@contextlib.contextmanager
def _named_errors(batch: Batch) -> Iterator[None]:
    try:
        yield
    except TensorTrainError:
        raise
    except Exception as error:
        shapes = ", ".join(str(tuple(x.shape)) for x in batch.tensors())
        reason = " ".join(str(error).split())[:300]
        raise TensorTrainError(
            f"the model cannot run on the calibration inputs (tensors of shape {shapes}):"
            f" {type(error).__name__}: {reason}"
        ) from error


def _iterate(inputs: Any) -> Iterable[Any]:
    if isinstance(inputs, Tensor):
        return [inputs] if inputs.dim() and len(inputs) else []
    if isinstance(inputs, str | bytes | Mapping | nn.Module) or not isinstance(inputs, Iterable):
        raise TensorTrainError(
            f"inputs is a {type(inputs).__name__}; a tensor (samples, …) or an iterable of batches is needed"
        )
    return inputs


def _as_batch(item: Any, model: nn.Module, index: int) -> Batch:
    """One item of the iterable as arguments of the model."""
    positional, keywords = _signature(model)
    if isinstance(item, Mapping):
        kwargs = {name: value for name, value in item.items() if keywords is None or name in keywords}
        batch = Batch((), kwargs, 0)
    elif isinstance(item, Sequence) and not isinstance(item, str | bytes):
        batch = Batch(tuple(item[: max(1, positional)]), {}, 0)
    else:
        batch = Batch((item,), {}, 0)
    tensors = [x for x in batch.tensors() if x.dim()]
    if not tensors:
        raise TensorTrainError(
            f"batch {index} of inputs is a {type(item).__name__} without a tensor for the model; yield tensors,"
            " tuples of positional arguments or dicts of keyword arguments"
        )
    for x in tensors:
        if x.is_floating_point() and not bool(torch.isfinite(x).all()):
            raise TensorTrainError(f"batch {index} of inputs holds NaN or infinite values; all must be finite")
    return Batch(batch.args, batch.kwargs, len(tensors[0]))


def _signature(model: nn.Module) -> tuple[int, set[str] | None]:
    """How many positional arguments `forward` requires, and the keywords that it knows, None for any."""
    parameters = list(inspect.signature(model.forward).parameters.values())
    named = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    required = sum(p.default is p.empty for p in named)
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return required, None
    return required, {p.name for p in parameters}


def _to_device(batch: Batch, device: torch.device | None) -> Batch:
    if device is None or device.type == "meta":
        return batch
    args, kwargs = pytree.tree_map(
        lambda x: x.detach().to(device) if isinstance(x, Tensor) else x, (batch.args, batch.kwargs)
    )
    return Batch(args, kwargs, batch.size)


def _joined(batches: list[Batch]) -> list[Batch]:
    """One batch of all samples, if the batches differ in nothing but their samples."""
    if len(batches) < 2:
        return batches
    leaves, specs = zip(*(pytree.tree_flatten((b.args, b.kwargs)) for b in batches), strict=True)
    if any(spec != specs[0] for spec in specs):
        return batches
    joined = []
    for values in zip(*leaves, strict=True):
        samples = [
            isinstance(x, Tensor) and x.dim() > 0 and len(x) == b.size for x, b in zip(values, batches, strict=True)
        ]
        if all(samples) and len({(x.shape[1:], x.dtype) for x in values}) == 1:
            joined.append(torch.cat(values))
        elif not any(isinstance(x, Tensor) for x in values) and all(x == values[0] for x in values):
            joined.append(values[0])
        else:
            return batches
    args, kwargs = pytree.tree_unflatten(joined, specs[0])
    return [Batch(args, kwargs, sum(b.size for b in batches))]
