"""Tasks on convolution kernels and on layers, for `libraries.py`."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

import tensortrain as tt
from tests.benchmarks.conv_layers import FORMATS, backward, random_chain, tensorly_torch
from tests.benchmarks.peers import Task, peer
from tests.support.oracles import smooth

TENSORLY, TLTORCH, TORCHTT = peer("tensorly.decomposition"), peer("tltorch"), peer("torchtt")
BUDGET = 0.25
SHAPE = ((4, 8, 8, 4), (4, 8, 8, 4))  # of the rows and columns of a linear layer 1024 → 1024
TABLE = ((50, 50, 40), (4, 8, 8))  # of the rows and columns of an embedding 100,000 × 256
RANK = 16


def kernel_tasks() -> Iterator[Task]:
    """A smooth kernel in a quarter of its parameters: the error, and the share of the parameters that was kept."""
    weight = smooth(32, 5, 0).float()
    conv = nn.Conv2d(32, 32, 5, padding=2)
    with torch.no_grad():
        conv.weight.copy_(weight)

    def result(outcome: tuple[Tensor, int]) -> str:
        dense, kept = outcome
        return f"{float((dense - weight).norm() / weight.norm()):.4f}, {kept / weight.numel():.0%} kept"

    for name, theirs in (("tucker2", "tucker"), ("cp", "cp")):
        runs: dict[str, Callable[[], Any]] = {"ours": partial(_ours, weight, name)}
        if TENSORLY:
            runs["tensorly"] = partial({"tucker2": _tucker, "cp": _parafac}[name], weight)
        if TLTORCH:
            runs["tltorch"] = partial(_tltorch, conv, theirs)
        yield Task("decompose a kernel", f"32→32 5×5, {name}", runs, result)


def _ours(weight: Tensor, name: str) -> tuple[Tensor, int]:
    chain = tt.ConvTensorTrain.decompose(weight, name, budget=BUDGET, progress=False)
    return chain.reconstruct(), chain.n_parameters


def _tucker(weight: Tensor) -> tuple[Tensor, int]:
    """Tucker-2 by TensorLy, with the largest equal ranks within the budget."""
    out, into, *taps = weight.shape
    n_taps = torch.Size(taps).numel()
    rank = max(r for r in range(1, out + 1) if r * (out + into) + r * r * n_taps <= BUDGET * weight.numel())
    (core, factors), _ = TENSORLY.partial_tucker(weight, [rank, rank], modes=[0, 1])
    return torch.einsum("oa,ib,abxy->oixy", *factors, core), core.numel() + sum(f.numel() for f in factors)


def _parafac(weight: Tensor) -> tuple[Tensor, int]:
    """CP by TensorLy, of the largest rank within the budget."""
    rank = int(BUDGET * weight.numel()) // sum(weight.shape)
    cp = TENSORLY.parafac(weight, rank, init="random", random_state=0, n_iter_max=100)
    return cp.to_tensor(), rank * sum(weight.shape)


def _tltorch(conv: nn.Conv2d, factorization: str) -> tuple[Tensor, int]:
    layer = TLTORCH.FactorizedConv.from_conv(conv, rank=BUDGET, decompose_weights=True, factorization=factorization)
    return layer.weight.to_tensor().detach(), sum(p.numel() for p in layer.weight.parameters())


def layer_tasks() -> Iterator[Task]:
    """A training step of layers with as many parameters; the result is the output beside that of their dense weight."""
    conv = nn.Conv2d(64, 64, 3, padding=1)
    x = torch.randn(8, 64, 28, 28, generator=torch.Generator().manual_seed(1))
    for name, (make, theirs) in FORMATS.items():
        if theirs is None:
            continue
        chain = random_chain(make((3, 3)), 64, 64)
        layer = tt.nn.ConvTT2d.like(conv, chain)
        layers = {"ours": layer, **tensorly_torch(theirs, conv, chain.n_parameters)}
        yield _layer_task("convolution layer", f"64→64 3×3, {name}, 8 × 28²", layers, x, conv)
    rows, columns = SHAPE
    x = torch.randn(64, 1024, generator=torch.Generator().manual_seed(1))
    layers = {"ours": tt.nn.TTLinear(tt.TensorTrainMatrix.random(rows, columns, RANK), torch.zeros(1024))}
    if TLTORCH:
        layers["tltorch"] = TLTORCH.FactorizedLinear(columns, rows, factorization="blocktt", rank=RANK)
    if TORCHTT:
        linear = TORCHTT.nn.LinearLayerTT(list(columns), list(rows), [1, RANK, RANK, RANK, 1])
        layers["torchTT"] = nn.Sequential(nn.Unflatten(1, columns), linear, nn.Flatten())
    yield _layer_task("linear layer", f"1024→1024, rank {RANK}, 64 rows", layers, x, nn.Linear(1024, 1024))


def _layer_task(task: str, case: str, layers: dict[str, nn.Module], x: Tensor, dense: nn.Module) -> Task:
    """A step forward and backward of each layer, and how far its output is from that of its dense weight."""

    def step(layer: nn.Module) -> nn.Module:
        backward(layer, x)()
        return layer

    @torch.no_grad()
    def result(layer: nn.Module) -> str:
        expected = torch.func.functional_call(dense, {"weight": _weight(layer, dense), "bias": _bias(layer)}, (x,))
        return f"{float((layer(x) - expected).norm() / expected.norm()):.0e}"

    return Task(task, case, {name: partial(step, layer) for name, layer in layers.items()}, result)


def _weight(layer: nn.Module, dense: nn.Module) -> Tensor:
    """The dense weight of any library's layer."""
    if isinstance(layer, nn.Sequential):
        return tt.TensorTrainMatrix(list(layer[1].cores)).reconstruct()
    if isinstance(layer, tt.nn.TTLinear | tt.nn.ConvTT2d):
        return layer.merge().weight
    weight = layer.weight.to_tensor() if hasattr(layer.weight, "to_tensor") else layer.weight
    if weight.shape == dense.weight.shape:
        return weight
    if weight.ndim == 4:  # tensorly-torch keeps the output channels of its trains last
        return weight.movedim(-1, 0)
    return weight.reshape(dense.weight.shape)


def _bias(layer: nn.Module) -> Tensor:
    if isinstance(layer, tt.nn.TTLinear | tt.nn.ConvTT2d):
        return layer.merge().bias
    bias = layer[1].bias if isinstance(layer, nn.Sequential) else layer.bias
    return bias.flatten()


def embedding_tasks() -> Iterator[Task]:
    """Rows of a large table; the result is what they are beside those of the dense table."""
    rows, columns = TABLE
    ids = torch.randint(100_000, (4096,), generator=torch.Generator().manual_seed(0))
    layers: dict[str, nn.Module] = {"ours": tt.nn.TTEmbedding(tt.TensorTrainMatrix.random(rows, columns, RANK))}
    if TLTORCH:
        layers["tltorch"] = TLTORCH.FactorizedEmbedding(
            100_000, 256, auto_tensorize=False, tensorized_num_embeddings=rows, tensorized_embedding_dim=columns,
            factorization="blocktt", rank=RANK,
        )  # fmt: skip

    @torch.no_grad()
    def result(layer: nn.Module) -> str:
        ours = isinstance(layer, tt.nn.TTEmbedding)
        table = layer.merge().weight if ours else layer.weight.to_matrix()
        return f"{float((layer(ids) - table[ids]).norm() / table[ids].norm()):.0e}"

    def look_up(layer: nn.Module) -> nn.Module:
        with torch.no_grad():
            layer(ids)
        return layer

    runs = {name: partial(look_up, layer) for name, layer in layers.items()}
    yield Task("embedding", f"4,096 rows of 100,000 × 256, rank {RANK}", runs, result)
