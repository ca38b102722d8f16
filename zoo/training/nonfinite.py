"""After a loss that was not finite: which operation, on which weights, gave the first value that is not."""

from typing import Any

import lightning.pytorch as pl
from torch import Tensor, distributed, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from zoo.training.module import VideoTraining


def find_cause(trainer: pl.Trainer, module: VideoTraining, bad: int) -> str:
    """Train again up to step `bad` and name what gave its first value that is not finite.

    Args:
        trainer: of the run.
        module: started from a checkpoint before that step.
        bad: the step.
    """
    optimizer, precision = trainer.optimizers[0], trainer.precision_plugin
    found = ""
    for batch in module.loader(module.step, trainer.global_rank, trainer.world_size):
        batch = trainer.strategy.batch_to_device(batch)
        optimizer.zero_grad()
        module.on_train_batch_start(batch, 0)
        if module.step == bad:
            with FirstNonFinite(module.model) as watch:
                with precision.train_step_context():
                    loss = module.training_step(batch, 0)
                watch.passing = "backward"
                loss.backward()
            found = watch.found
            break
        with precision.train_step_context():
            loss = module.training_step(batch, 0)
        loss.backward()
        for p in module.model.parameters():
            if p.grad is not None:
                p.grad = trainer.strategy.reduce(p.grad, reduce_op="mean")
        module.configure_gradient_clipping(optimizer)
        optimizer.step()
        module.step += 1
    told = [found]
    if trainer.world_size > 1:
        told = [""] * trainer.world_size
        distributed.all_gather_object(told, found)
    return next(filter(None, told), "where it cannot be told: all was finite when the step was run again")


class FirstNonFinite(TorchDispatchMode):
    """Watches every operation until one gives a value that is not finite.

    `found` then names the pass, the operation and the parameter used in it or last before it; else it is empty. Set
    `passing` when the backward pass begins.

    Args:
        model: whose parameters are known by name.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.found, self.passing = "", "forward"
        self._names = {p.untyped_storage().data_ptr(): name for name, p in model.named_parameters()}
        self._kept: list[Tensor] = []  # so that no address is used twice
        self._last = "the input"

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if self.found:
            return result
        given = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        made = [x for x in tree_leaves(result) if isinstance(x, Tensor)]
        names = [self._names.get(x.untyped_storage().data_ptr()) for x in given]
        known = [name for name in names if name]
        if known:
            self._last = known[0]
            if len(known) == len(names):  # a weight in another form: cast, reshaped or joined with others
                self._kept += made
                self._names.update((x.untyped_storage().data_ptr(), known[0]) for x in made)
        if any(x.is_floating_point() and not bool(x.isfinite().all()) for x in made):
            use = "with" if known else "after"
            self.found = f"{func.overloadpacket.__name__} {use} {self._last} in the {self.passing} pass"
        return result
