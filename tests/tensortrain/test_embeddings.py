"""TTEmbedding and TTEmbeddingBag: equal to the dense layers, padding and bags included, and what they refuse."""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import tensortrain as tt
from tests.support.bad_input import check, table
from tests.support.layers import integers, normal

F64 = torch.float64


def matrix(shape: list[tuple[int, int]], rank: int) -> tt.TensorTrainMatrix:
    ranks = [1, *[rank] * (len(shape) - 1), 1]
    return tt.TensorTrainMatrix([integers(l, ranks[l], n, d, ranks[l + 1]) for l, (n, d) in enumerate(shape)])


@given(
    st.lists(st.tuples(st.integers(1, 3), st.integers(1, 3)), min_size=1, max_size=4),
    st.integers(1, 3),
    st.sampled_from([(), (4,), (2, 3), (0,)]),
    st.booleans(),
    st.integers(0, 99),
)
def test_rows_are_those_of_the_dense_table(shape: Any, rank: int, batch: Any, has_padding: bool, seed: int) -> None:
    full = matrix(shape, rank)
    rows = max(full.shape[0] - 1, 1)
    padding = -1 if has_padding else None
    filler = integers(7, full.shape[1]) if has_padding else None
    layer = tt.nn.TTEmbedding(full, rows, padding, filler)
    dense = full.reconstruct()[:rows].clone()
    if has_padding:
        dense[-1] = filler
    ids = torch.randint(0, rows, batch, generator=torch.Generator().manual_seed(seed))
    assert torch.equal(layer(ids), F.embedding(ids, dense))
    assert torch.equal(layer(ids.int()), layer(ids))
    assert torch.equal(layer.weight, dense)
    assert torch.equal(layer.merge()(ids), layer(ids))


@pytest.mark.parametrize("mode", ["mean", "sum", "max"])
@pytest.mark.parametrize("padding", [None, 0, 5])
def test_bags_are_those_of_torch(mode: str, padding: int | None) -> None:
    plain = nn.EmbeddingBag(60, 12, mode=mode, padding_idx=padding, dtype=F64)
    layer = tt.nn.TTEmbeddingBag.from_embedding(plain, (6, 10), (3, 4), rtol=0.0)
    ids = torch.tensor([[0, 5, 7, 7], [5, 5, 5, 5], [59, 0, 1, 2]])
    flat, offsets = torch.tensor([5, 5, 1, 2, 0, 9]), torch.tensor([0, 2, 2, 4])
    torch.testing.assert_close(layer(ids), plain(ids))
    torch.testing.assert_close(layer(flat, offsets), plain(flat, offsets))
    torch.testing.assert_close(layer.merge()(ids), plain(ids))
    plain.include_last_offset = layer.include_last_offset = True
    offsets = torch.tensor([0, 2, 2, 6])
    torch.testing.assert_close(layer(flat, offsets), plain(flat, offsets))
    if mode == "sum":
        weights = normal(0, 6, dtype=F64)
        torch.testing.assert_close(layer(flat, offsets, weights), plain(flat, offsets, weights))
    else:
        check(lambda: layer(flat, offsets, normal(0, 6, dtype=F64)), "torch refuses these bags")


@pytest.mark.parametrize("settings", [{}, {"padding_idx": 3}, {"dtype": F64}], ids=str)
def test_from_embedding_keeps_every_attribute(settings: dict[str, Any]) -> None:
    plain = nn.Embedding(50, 12, **settings).eval()
    layer = tt.nn.TTEmbedding.from_embedding(plain, (7, 8), rtol=1e-6)
    ids = torch.arange(50)
    torch.testing.assert_close(layer(ids), plain(ids), rtol=1e-4, atol=1e-5)
    assert layer.error <= 1e-6
    assert not layer.training
    assert (layer.num_embeddings, layer.embedding_dim, layer.padding_idx) == (50, 12, settings.get("padding_idx"))
    assert layer.weight.dtype == plain.weight.dtype
    plain.weight.requires_grad_(False)
    assert not any(p.requires_grad for p in tt.nn.TTEmbedding.from_embedding(plain, ranks=2).parameters())
    half = tt.nn.TTEmbedding.from_embedding(plain.half(), ranks=2)
    assert half(ids).dtype == torch.float16


def test_a_table_of_low_rank_is_stored_in_a_fraction() -> None:
    full = tt.TensorTrainMatrix.random((10, 10, 10), (4, 4, 2), 3, dtype=F64)
    plain = nn.Embedding.from_pretrained(full.reconstruct(), freeze=False)
    layer = tt.nn.TTEmbedding.from_embedding(plain, (10, 10, 10), (4, 4, 2), rtol=1e-8)
    assert layer.ranks == (1, 3, 3, 1)
    assert sum(p.numel() for p in layer.parameters()) == full.n_parameters < 0.02 * plain.weight.numel()
    ids = torch.tensor([0, 999, 123])
    torch.testing.assert_close(layer(ids), plain(ids))


def test_gradients_are_those_of_the_table_and_padding_has_none() -> None:
    full = tt.TensorTrainMatrix.random((3, 4), (2, 3), 2, dtype=F64)
    layer = tt.nn.TTEmbedding(full, padding_idx=0)
    ids = torch.tensor([0, 0, 5, 11, 5])
    weights = normal(0, 5, 6, dtype=F64)
    (layer(ids) * weights).sum().backward()
    gradients = [core.weight.grad.clone() for core in layer.cores]
    layer.zero_grad()
    (F.embedding(ids, layer.weight) * weights).sum().backward()
    for core, gradient in zip(layer.cores, gradients, strict=True):
        torch.testing.assert_close(core.weight.grad, gradient)
    layer.zero_grad()
    layer(torch.zeros(3, dtype=torch.long)).sum().backward()
    assert all(float(core.weight.grad.abs().sum()) == 0 for core in layer.cores)


def test_training_fits_a_table() -> None:
    torch.manual_seed(0)
    target = tt.TensorTrainMatrix.random((4, 4), (3, 3), 2).reconstruct()
    layer = tt.nn.TTEmbedding(tt.TensorTrainMatrix.random((4, 4), (3, 3), 2, seed=1))
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.1)
    for _ in range(150):
        ids = torch.randint(0, 16, (32,))
        loss = F.mse_loss(layer(ids), target[ids])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < 1e-2


@pytest.mark.filterwarnings("ignore")
def test_tools_understand_the_layers(tmp_path: Any) -> None:
    layer = tt.nn.TTEmbedding(tt.TensorTrainMatrix.random((3, 4), (2, 3), 2), padding_idx=1)
    ids = torch.tensor([[0, 1, 11], [4, 4, 2]])
    torch._dynamo.reset()
    torch.testing.assert_close(torch.compile(layer, fullgraph=True, backend="aot_eager")(ids), layer(ids))
    shapes = ({0: torch.export.Dim("batch", max=99)},)
    exported = torch.export.export(layer, (ids,), dynamic_shapes=shapes).module()
    torch.testing.assert_close(exported(ids.repeat(3, 1)), layer(ids.repeat(3, 1)))
    torch.testing.assert_close(torch.vmap(layer)(ids), layer(ids))
    again = tt.nn.TTEmbedding(tt.TensorTrainMatrix.random((3, 4), (2, 3), 2, seed=9), padding_idx=1)
    again.load_state_dict(layer.state_dict())
    assert torch.equal(again(ids), layer(ids))
    with torch.autocast("cpu", torch.bfloat16):
        low = layer(ids)
    torch.testing.assert_close(low.float(), layer(ids), rtol=0.05, atol=0.05)


PLAIN = nn.Embedding(12, 6)
LAYER = tt.nn.TTEmbedding.from_embedding(PLAIN, ranks=2)
FROM = tt.nn.TTEmbedding.from_embedding
LIKE, BAG_LIKE = tt.nn.TTEmbedding.like, tt.nn.TTEmbeddingBag.like


@table(
    (lambda: FROM(nn.Linear(3, 4), ranks=2), ("embedding is a Linear", "nn.Embedding is needed")),
    (lambda: FROM(nn.EmbeddingBag(12, 6), ranks=2), ("embedding is a EmbeddingBag",)),
    (lambda: tt.nn.TTEmbeddingBag.from_embedding(PLAIN, ranks=2), ("nn.EmbeddingBag is needed",)),
    (lambda: FROM(nn.Embedding(12, 6, max_norm=1.0), ranks=2), ("max_norm = 1.0",)),
    (lambda: FROM(nn.Embedding(12, 6, sparse=True), ranks=2), ("sparse = True",)),
    (lambda: FROM(nn.Embedding(12, 6, scale_grad_by_freq=True), ranks=2), ("scale_grad_by_freq",)),
    (lambda: FROM(nn.utils.parametrizations.weight_norm(nn.Embedding(12, 6)), ranks=2), ("parametrizations",)),
    (lambda: FROM(PLAIN), ("give ranks",)),
    (lambda: FROM(PLAIN, (2, 5), ranks=2), ("shape = (2, 5) gives 10 rows", "has 12")),
    (lambda: FROM(PLAIN, (3, 4), (2, 2), ranks=2), ("need (12, 4)",)),
    (lambda: FROM(PLAIN, (12,), (2, 3), ranks=2), ("same length",)),
    (lambda: FROM(PLAIN, 12, ranks=2), ("shape = 12 is not a sequence",)),
    (lambda: FROM(nn.Embedding.from_pretrained(torch.ones(4, 4) * math.nan), ranks=1), ("NaN",)),
    (lambda: tt.nn.TTEmbedding(3), ("table is a int",)),
    (lambda: tt.nn.TTEmbedding(matrix([(2, 2)], 1).to(torch.complex64)), ("dtype torch.complex64",)),
    (lambda: tt.nn.TTEmbedding(matrix([(2, 2)], 1), 3), ("num_embeddings = 3 exceeds the 2 rows",)),
    (lambda: tt.nn.TTEmbedding(matrix([(2, 2)], 1), padding_idx=2), ("padding_idx = 2",)),
    (lambda: tt.nn.TTEmbedding(matrix([(2, 2)], 1), None, 0, torch.ones(3)), ("shape (3,); (2,)",)),
    (lambda: tt.nn.TTEmbeddingBag(matrix([(2, 2)], 1), mode="median"), ("mode = 'median'", "'mean', 'sum', 'max'")),
    (lambda: LIKE(PLAIN, tt.TensorTrainMatrix.random((3, 4), (2, 2), 2)), ("table is (12, 4)", "exactly 6 columns")),
    (lambda: LIKE(PLAIN, tt.TensorTrainMatrix.random((3, 3), (2, 3), 2)), ("table is (9, 6)", "at least 12 rows")),
    (lambda: LIKE(PLAIN, PLAIN.weight), ("table is a Parameter",)),
    (lambda: BAG_LIKE(nn.EmbeddingBag(12, 6), matrix([(12, 4)], 1)), ("table is (12, 4)", "exactly 6 columns")),
    (lambda: LAYER(torch.tensor([12])), ("input holds 12; the rows are 0 … 11",)),
    (lambda: LAYER(torch.tensor([-1])), ("input holds -1",)),
    (lambda: LAYER(torch.tensor([0.0])), ("dtype torch.float32",)),
    (lambda: LAYER([0]), ("input is a list",)),
)
def test_refused(call: Any, fragments: Any) -> None:
    check(call, *fragments)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_like_converts_the_table_to_the_dtype_of_the_embedding(dtype: torch.dtype) -> None:
    table, ids = tt.TensorTrainMatrix.random((3, 4), (2, 3), 2), torch.tensor([[0, 1], [10, 4]])
    layer = LIKE(nn.Embedding(11, 6, padding_idx=1, dtype=dtype), table)
    torch.testing.assert_close(layer(ids), F.embedding(ids, layer.weight))
    torch.testing.assert_close(layer(ids)[1], table.to(dtype).reconstruct()[ids[1]])
    bag = BAG_LIKE(nn.EmbeddingBag(11, 6, dtype=dtype), table)
    torch.testing.assert_close(bag(ids), F.embedding_bag(ids, bag.weight))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("index", [11, 12, 1_000, -1, -12, -13])
@pytest.mark.parametrize("padding", [None, 1])
@pytest.mark.parametrize("how", ["compile", "export", "trace"])
def test_layers_that_cannot_read_their_indices_still_refuse_them(how: str, padding: int | None, index: int) -> None:
    """The table has one row more than the layer, so that 11 is a row of the table."""
    layer = tt.nn.TTEmbedding(tt.TensorTrainMatrix.random((3, 4), (2, 3), 2), 11, padding)
    bag = tt.nn.TTEmbeddingBag(layer.table, 11, padding)
    legal, illegal = torch.tensor([[0, 1], [10, 4]]), torch.tensor([[0, 1], [10, index]])
    for module in (layer, bag):
        prepared = without_checks(how, module, legal)
        torch.testing.assert_close(prepared(legal), module(legal))
        with pytest.raises((IndexError, RuntimeError), match="index out of range"):
            prepared(illegal)


def without_checks(how: str, module: nn.Module, ids: torch.Tensor) -> Any:
    """A form of the module in which Python code no longer sees the indices."""
    torch._dynamo.reset()
    if how == "compile":
        return torch.compile(module, backend="eager", fullgraph=True)
    return torch.export.export(module, (ids,)).module() if how == "export" else torch.jit.trace(module, ids)
