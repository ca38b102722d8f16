"""The inputs that a network is compressed on: read them once, keep a number of samples, and run the network on them.

A batch may be a tensor, a tuple or list of positional arguments, or a dict of keyword arguments. Of a tuple or list,
only as many entries are used as `forward` requires, so that labels from a data loader are ignored; `forward(*xs)` gets
all of them. A packed sequence is one argument.
"""

import contextlib
import inspect
import itertools
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence
from torch.utils import _pytree as pytree

from tensortrain import checks
from tensortrain.compression.analysis.selection import Selector, difference, select
from tensortrain.compression.analysis.state import KeptState
from tensortrain.errors import TensorTrainError

TRIAL = 8  # number of samples in the first, small batch
AGREEMENT = 1e-2  # largest difference of equal outputs, relative to the largest output; half precision needs this much
CHUNK = 256  # number of samples in a forward pass, unless all are needed at once


@dataclass(frozen=True)
class Batch:
    """Arguments of one call of the network.

    A tensor whose first axis has length `size` holds one sample in each row.

    Attributes:
        args: positional arguments.
        kwargs: keyword arguments.
        size: number of samples.

    >>> Batch((torch.zeros(4, 3),), {}, 4).rows(1, 3).size
    2
    """

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    size: int

    def rows(self, start: int, stop: int) -> "Batch":
        """Return the samples from `start` up to, but not including, `stop`."""
        args, kwargs = pytree.tree_map(lambda x: x[start:stop] if self._is_samples(x) else x, (self.args, self.kwargs))
        return Batch(args, kwargs, min(stop, self.size) - start)

    def reversed(self) -> "Batch":
        """Return the same samples in reverse order."""
        args, kwargs = pytree.tree_map(lambda x: x.flip(0) if self._is_samples(x) else x, (self.args, self.kwargs))
        return Batch(args, kwargs, self.size)

    def copied(self) -> "Batch":
        """Return a copy in other memory, for a network that changes its inputs in place."""
        args, kwargs = pytree.tree_map(lambda x: x.clone() if isinstance(x, Tensor) else x, (self.args, self.kwargs))
        return Batch(args, kwargs, self.size)

    def tensors(self) -> list[Tensor]:
        """Return all tensors among the arguments."""
        return [x for x in pytree.tree_leaves((self.args, self.kwargs)) if isinstance(x, Tensor)]

    @property
    def bytes(self) -> int:
        """Memory of the tensors in bytes."""
        return sum(x.numel() * x.element_size() for x in self.tensors())

    @property
    def is_packed(self) -> bool:
        """Whether a packed sequence is among the arguments, whose rows belong to several samples."""
        leaves = pytree.tree_leaves((self.args, self.kwargs), is_leaf=_is_packed)
        return any(map(_is_packed, leaves))

    def _is_samples(self, x: object) -> bool:
        return isinstance(x, Tensor) and x.dim() > 0 and len(x) == self.size


@dataclass(frozen=True)
class Calibration:
    """The inputs in memory.

    Attributes:
        batches: one batch, if all could be joined; otherwise the batches that were read.
        size: number of samples, which are the rows of the tensors.
        seed: seed of the random numbers that the network may draw.
        refitted: layers are refitted on this many batches, from the first on.
        independent: whether the network computes each row of a batch independently of the others.
        first: the first batch as it was read.
    """

    batches: list[Batch]
    size: int
    seed: int
    refitted: int
    independent: bool
    first: Batch
    _stateless: WeakSet[nn.Module] = field(default_factory=WeakSet, repr=False, compare=False)

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
        """Read batches from an iterable until there are at least `samples` samples, or read one tensor of samples.

        Args:
            inputs: see `compress`.
            model: the model that will run on them.
            samples: reading stops as soon as there are this many samples.
            seed: seed of the random numbers that the network may draw.
            tick: called after the first batch, with the name of the stage and the memory that all inputs will take.

        Raises:
            TensorTrainError: there is nothing to read, a batch holds no tensors, or inputs are NaN or infinite.

        >>> data = [(torch.zeros(5, 3), torch.zeros(5))] * 3   # inputs and labels
        >>> model = nn.Linear(3, 2)
        >>> calibration = Calibration.read(data, model, samples=12).prepared(model, 12, None)
        >>> calibration.size, [tuple(x.shape) for x in calibration.batches[0].tensors()]
        (12, [(12, 3)])
        """
        samples = checks.integer("samples", samples)
        device = next((p.device for p in model.parameters()), None)
        fleeting = not isinstance(inputs, Sequence | Tensor)  # a generator may write all batches to the same memory
        batches: list[Batch] = []
        for item in _named_items(inputs):
            batches.append(_to_device(_as_batch(item, model, len(batches)), device, copy=fleeting))
            if len(batches) == 1:
                most = batches[0].bytes / batches[0].size * max(samples, batches[0].size)
                tick("inputs", f"up to {samples:,} samples, {most / 1e6:,.1f} MB in memory")
            if sum(batch.size for batch in batches) >= samples:
                break
        if not batches:
            raise TensorTrainError("inputs are empty; pass at least one batch (a generator can be read only once)")
        return cls(batches, sum(batch.size for batch in batches), seed, len(batches), False, batches[0])

    def prepared(
        self, model: nn.Module, samples: int, selector: Selector, independent: bool | None = None
    ) -> "Calibration":
        """Join the inputs to one batch of `samples` samples, if the rows of a batch are independent of each other.

        To check this, the network runs on fewer rows, and on rows in another order: the outputs must be the same, in
        that order. Otherwise, for example if rows are steps in time or nodes of a graph, the batches stay as they are,
        and may have more samples in all. A batch of one row says nothing, so it is joined with the next one for this
        check: some networks, such as many detectors, read only the first row of a batch.

        Args:
            model: the network.
            samples: number of samples to keep.
            selector: selects the output to compare.
            independent: whether the rows are independent, if that is known.
        """
        if independent is None:
            try:
                independent = self._are_independent(model, selector)
            except TensorTrainError:  # the network may need whole batches, and the run on one reports all other errors
                independent = False
        if not independent:
            return self
        excess = self.size - samples
        last = self.batches[-1]
        batches = [*self.batches[:-1], last.rows(0, last.size - excess)] if excess > 0 else self.batches
        joined = _joined(batches)
        return Calibration(joined, sum(b.size for b in batches), self.seed, len(joined), True, self.first)

    def _are_independent(self, model: nn.Module, selector: Selector) -> bool:
        if any(batch.is_packed for batch in self.batches):
            return False
        batch = self._several_rows().rows(0, TRIAL)
        outputs = select(self.run(model, batch), selector)
        if len(outputs) != batch.size:
            return False
        half = batch.size // 2 or 1
        fewer = select(self.run(model, batch.rows(0, half)), selector)
        backwards = select(self.run(model, batch.reversed()), selector)
        scale = float(torch.where(outputs.isinf(), 0.0, outputs).double().abs().max())

        def same(a: Tensor, b: Tensor) -> bool:
            return a.shape == b.shape and float(difference(a.double(), b.double()).abs().max()) <= AGREEMENT * scale

        return same(fewer, outputs[:half]) and same(backwards, outputs.flip(0))

    def _several_rows(self) -> Batch:
        """Return a batch of several rows, if there is one or if the first two batches can be joined."""
        if self.batches[0].size == 1:
            joined = _joined(self.batches[:2])
            if len(joined) == 1:
                return joined[0]
        return next((batch for batch in self.batches if batch.size > 1), self.batches[0])

    def small_batch(self) -> Batch:
        """Return a few samples, or the first batch if its rows are not independent."""
        return self.batches[0].rows(0, TRIAL) if self.independent else self.batches[0]

    def portioned(self, most: int) -> "Calibration":
        """Divide a single batch of all samples into batches of at most `most` samples.

        Layers are then refitted on the first of these batches, since a refit needs all inputs of a layer in memory.
        """
        if not self.independent or len(self.batches) > 1 or self.size <= most:
            return self
        return Calibration(list(self.chunks(most)), self.size, self.seed, 1, True, self.first)

    def chunks(self, most: int = CHUNK) -> Iterator[Batch]:
        """Yield the samples in batches of nearly equal size, at most `most`.

        If rows are not independent, the batches stay as they are.
        """
        if not self.independent:
            yield from self.batches
            return
        for batch in self.batches:
            count = -(-batch.size // most)
            cuts = [batch.size * number // count for number in range(count + 1)]
            for start, stop in itertools.pairwise(cuts):
                yield batch.rows(start, stop)

    def run(self, model: nn.Module, batch: Batch, changing: Collection[nn.Module] = ()) -> Any:
        """Run the network on one batch, without gradients.

        Neither the batch nor the state of the network or of torch's random generators is changed: the network gets a
        copy of the batch, and works on a copy of its state, unless an earlier pass has left that as it was.

        Args:
            model: the network.
            batch: its arguments.
            changing: modules of the network whose buffers and attributes may change.

        Raises:
            TensorTrainError: the network fails on the batch.
        """
        generators = [torch.cuda.default_generators[x.device.index] for x in batch.tensors() if x.is_cuda]
        with torch.no_grad(), torch.random.fork_rng([g.device for g in generators]), _named_errors(batch):
            for generator in (torch.default_generator, *generators):
                generator.manual_seed(self.seed)
            passed = batch.copied()
            if model in self._stateless:
                return model(*passed.args, **passed.kwargs)
            with KeptState(model, changing) as state:
                output = model(*passed.args, **passed.kwargs)
        if not state.changed and not changing:
            self._stateless.add(model)
        return output


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


def _is_packed(value: object) -> bool:
    return isinstance(value, PackedSequence)


def _named_items(inputs: Any) -> Iterator[Any]:
    """Yield the batches, and name the batch that the user's code fails to yield."""
    index = 0
    try:
        for item in _iterate(inputs):
            yield item
            index += 1
    except TensorTrainError:
        raise
    except Exception as error:  # whatever the user's code raises
        raise TensorTrainError(f"batch {index} of inputs raised {type(error).__name__}: {error}") from error


def _iterate(inputs: Any) -> Iterable[Any]:
    if isinstance(inputs, PackedSequence):
        return [inputs]
    if isinstance(inputs, Tensor):
        return [inputs] if inputs.dim() and len(inputs) else []
    if isinstance(inputs, str | bytes | Mapping | nn.Module) or not isinstance(inputs, Iterable):
        raise TensorTrainError(
            f"inputs is a {type(inputs).__name__}; a tensor (samples, …) or an iterable of batches is needed"
        )
    return inputs


def _as_batch(item: Any, model: nn.Module, index: int) -> Batch:
    """Convert one item of the iterable to arguments of the model."""
    positional, keywords = _signature(model)
    if isinstance(item, Mapping):
        kwargs = {name: value for name, value in item.items() if keywords is None or name in keywords}
        batch = Batch((), kwargs, 0)
    elif isinstance(item, Sequence) and not isinstance(item, str | bytes | PackedSequence):
        batch = Batch(tuple(item if positional is None else item[: max(1, positional)]), {}, 0)
    else:
        batch = Batch((item,), {}, 0)
    for x in batch.tensors():
        _check_ordinary(x, index)
    tensors = [x for x in batch.tensors() if x.dim()]
    if not tensors:
        raise TensorTrainError(
            f"batch {index} of inputs is a {type(item).__name__} without a tensor for the model; yield tensors,"
            " tuples of positional arguments or dicts of keyword arguments"
        )
    if not len(tensors[0]):
        raise TensorTrainError(f"batch {index} of inputs is empty: shape {tuple(tensors[0].shape)}; leave it out")
    for x in tensors:
        if (x.is_floating_point() or x.is_complex()) and not bool(torch.isfinite(x).all()):
            raise TensorTrainError(f"batch {index} of inputs holds NaN or infinite values; all must be finite")
    return Batch(batch.args, batch.kwargs, len(tensors[0]))


def _check_ordinary(x: Tensor, index: int) -> None:
    """Check that a tensor of batch `index` can be cut into rows and compared."""
    checks.ordinary(f"a tensor in batch {index} of inputs", x)
    if x.is_meta:
        raise TensorTrainError(f"a tensor in batch {index} of inputs is on the meta device and has no values")


def _signature(model: nn.Module) -> tuple[int | None, set[str] | None]:
    """Return the number of positional arguments that `forward` requires, and its keywords; None if it accepts any."""
    parameters = list(inspect.signature(model.forward).parameters.values())
    named = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    any_number = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    required = None if any_number else sum(p.default is p.empty for p in named)
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return required, None
    return required, {p.name for p in parameters}


def _to_device(batch: Batch, device: torch.device | None, *, copy: bool) -> Batch:
    """Return the batch on a device, without gradients.

    Args:
        batch: the batch.
        device: where to; None to leave it where it is.
        copy: whether its tensors must be in other memory than before.
    """

    if device is None:
        return batch

    def moved(x: Any) -> Any:
        if _is_packed(x):  # as a whole, since its lengths stay on the CPU
            return x.to(device, copy=copy)
        return x.detach().to(device, copy=copy) if isinstance(x, Tensor) else x

    args, kwargs = pytree.tree_map(moved, (batch.args, batch.kwargs), is_leaf=_is_packed)
    return Batch(args, kwargs, batch.size)


def _joined(batches: list[Batch]) -> list[Batch]:
    """Join batches to one batch of all samples, if they differ in nothing but their samples."""
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
