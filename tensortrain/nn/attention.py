"""Attention modules that call their projections as layers and compute the same as those of torch and torchvision.

`nn.MultiheadAttention` and torchvision's `ShiftedWindowAttention` pass the weights of their projections to functions. A
layer that replaces a projection would therefore never be called. The modules here compute the same result but call
`q_proj`, `k_proj`, `v_proj` and `out_proj`, or `qkv` and `proj`, so that each of these can be any layer.
"""

import copy
import math
from collections.abc import Callable, Sequence
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tensortrain import checks
from tensortrain.errors import TensorTrainError
from tensortrain.nn.low_rank import plain_linear

_PARTS = (
    *("in_proj_weight", "in_proj_bias", "q_proj_weight", "k_proj_weight", "v_proj_weight", "bias_k", "bias_v"),
    "out_proj",
)  # what `nn.MultiheadAttention` holds


def _refuse_hooks(attention: nn.Module) -> None:
    """Refuse a module with hooks, because the one that takes its place has none."""
    if isinstance(attention, nn.Module) and checks.has_hooks(attention):
        raise TensorTrainError("attention has hooks that the module would lose; remove them first")


class MultiheadAttention(nn.Module):
    """`nn.MultiheadAttention` with a layer for each projection: `q_proj`, `k_proj`, `v_proj` and `out_proj`.

    Args:
        attention: the module to imitate; its parameters are copied.

    >>> plain = nn.MultiheadAttention(8, 2, batch_first=True).eval()
    >>> x = torch.randn(3, 5, 8)
    >>> torch.allclose(MultiheadAttention.like(plain)(x, x, x)[0], plain(x, x, x)[0], atol=1e-6)
    True
    """

    _qkv_same_embed_dim = False  # these three attributes make `nn.TransformerEncoder` call the module
    in_proj_weight: None = None
    in_proj_bias: None = None

    embed_dim: int
    num_heads: int
    head_dim: int
    dropout: float
    batch_first: bool
    add_zero_attn: bool
    bias_k: Tensor | None
    bias_v: Tensor | None

    def __init__(self, attention: nn.MultiheadAttention) -> None:
        super().__init__()
        for name in ("embed_dim", "num_heads", "dropout", "batch_first", "add_zero_attn", "head_dim"):
            setattr(self, name, getattr(attention, name))
        if attention.in_proj_weight is None:
            weights: Sequence[Any] = (attention.q_proj_weight, attention.k_proj_weight, attention.v_proj_weight)
        else:
            weights = attention.in_proj_weight.chunk(3)
        biases = [None] * 3 if attention.in_proj_bias is None else attention.in_proj_bias.chunk(3)
        self.q_proj, self.k_proj, self.v_proj = map(plain_linear, weights, biases)
        self.out_proj = plain_linear(attention.out_proj.weight, attention.out_proj.bias)
        for name in ("bias_k", "bias_v"):
            value = getattr(attention, name)
            setattr(self, name, None if value is None else nn.Parameter(value.detach().clone(), value.requires_grad))
        joint = attention.in_proj_weight  # under no_grad its chunks never require gradients
        for layer, weight in zip((self.q_proj, self.k_proj, self.v_proj), weights, strict=True):
            layer.weight.requires_grad_((weight if joint is None else joint).requires_grad)
            if layer.bias is not None:
                layer.bias.requires_grad_(attention.in_proj_bias.requires_grad)
        for parameter, source in zip(self.out_proj.parameters(), attention.out_proj.parameters(), strict=True):
            parameter.requires_grad_(source.requires_grad)

    @classmethod
    def recognises(cls, module: nn.Module) -> bool:
        """Return whether a module computes as `nn.MultiheadAttention` does and holds nothing more."""
        return (
            isinstance(module, nn.MultiheadAttention)
            and not checks.has_own_forward(module, nn.MultiheadAttention)
            and not checks.additions(module, _PARTS)
            and not checks.additions(module.out_proj)
        )

    @classmethod
    def like(cls, attention: nn.MultiheadAttention) -> Self:
        """Return a module that computes the same as `attention`, in the same mode.

        Raises:
            TensorTrainError: the module has another type, its own `forward`, or hooks or tensors that would be lost.
        """
        _refuse_hooks(attention)
        if not cls.recognises(attention):
            raise TensorTrainError(
                f"attention is a {type(attention).__name__}; a plain nn.MultiheadAttention is needed, without its own"
                " forward and without further tensors"
            )
        return cls(attention).train(attention.training)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Return the attended values, and the attention weights if they are needed, as `nn.MultiheadAttention` does.

        Args:
            query: `(B, L, embed_dim)` if `batch_first`, `(L, B, embed_dim)` otherwise, or `(L, embed_dim)` without a
                batch.
            key: the keys, with the same layout and S positions.
            value: the values, with the same layout and S positions.
            key_padding_mask: `(B, S)`; true, or −∞, for keys that are ignored.
            need_weights: whether the attention weights are returned.
            attn_mask: `(L, S)` or `(B · num_heads, L, S)`; true, or −∞, for pairs that are ignored.
            average_attn_weights: whether the attention weights are averaged over the heads.
            is_causal: a hint that `attn_mask` hides all later positions; the mask must be given as well. As in torch,
                the hint replaces the mask if there is no `key_padding_mask` and no weights are needed. It then also
                hides the entries that `add_bias_kv` and `add_zero_attn` append to the keys, which the mask does not.

        Returns:
            The attended values, in the layout of `query`, and the attention weights: `(B, L, S)`, or
            `(B, num_heads, L, S)` if they are not averaged, or None. Without a batch they have no axis B. Each of
            `add_bias_kv` and `add_zero_attn` makes the axis S longer by one.

        Raises:
            TensorTrainError: the shapes of query, key, value and masks do not fit each other, a mask is neither boolean
                nor floating, or `is_causal` is given without `attn_mask`.
        """
        if is_causal and attn_mask is None:
            raise TensorTrainError(
                "is_causal = True is only a hint about attn_mask, which is None; give the mask as well:"
                " nn.Transformer.generate_square_subsequent_mask(length)"
            )
        batched = _are_batched(query, key, value)
        if not batched:
            query, key, value = query[None], key[None], value[None]
        elif not self.batch_first:
            query, key, value = (x.transpose(0, 1) for x in (query, key, value))
        _check_lengths(query, key, value)
        batch, queries, keys = len(query), query.shape[1], key.shape[1]
        _check_mask("key_padding_mask", key_padding_mask, [(batch, keys) if batched else (keys,)])
        _check_mask("attn_mask", attn_mask, [(queries, keys), (batch * self.num_heads, queries, keys)])
        if key_padding_mask is not None:
            key_padding_mask = key_padding_mask.reshape(batch, keys)
        q, k, v = self.q_proj(query), self.k_proj(key), self.v_proj(value)  # (B, length, embed_dim)
        if self.bias_k is not None and self.bias_v is not None:
            k = torch.cat([k, self.bias_k.expand(len(k), -1, -1)], 1)
            v = torch.cat([v, self.bias_v.expand(len(v), -1, -1)], 1)
        q, k, v = (x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for x in (q, k, v))
        if self.add_zero_attn:
            k, v = F.pad(k, (0, 0, 0, 1)), F.pad(v, (0, 0, 0, 1))
        hinted = is_causal and key_padding_mask is None and not need_weights
        mask = None if hinted else self._mask(q, k, key_padding_mask, attn_mask)
        output, weights = self._attend(q, k, v, mask, need_weights, hinted)
        output = self.out_proj(output.transpose(1, 2).flatten(2))
        if weights is not None and average_attn_weights:
            weights = weights.mean(1)
        if not batched:
            return output[0], None if weights is None else weights[0]
        return output if self.batch_first else output.transpose(0, 1), weights

    def _mask(self, q: Tensor, k: Tensor, padding: Tensor | None, attention: Tensor | None) -> Tensor | None:
        """Return both masks as one mask that is added to the scores, `(B or 1, heads or 1, queries or 1, keys)`."""
        masks = []
        if padding is not None:  # (B, keys)
            masks.append(_additive(padding, q.dtype)[:, None, None])
        if attention is not None:  # (queries, keys) or (B·heads, queries, keys)
            mask = _additive(attention, q.dtype)
            masks.append(mask[None, None] if mask.dim() == 2 else mask.reshape(-1, self.num_heads, *mask.shape[1:]))
        # entries that were appended to the keys are not masked
        masks = [F.pad(mask, (0, k.shape[2] - mask.shape[-1])) for mask in masks]
        return sum(masks[1:], masks[0]) if masks else None

    def _attend(
        self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, need_weights: bool, causal: bool
    ) -> tuple[Tensor, Tensor | None]:
        """Return the attended values, and the attention weights or None; `causal` takes the place of a mask."""
        dropout = self.dropout if self.training else 0.0
        if not need_weights:
            return F.scaled_dot_product_attention(q, k, v, mask, dropout, is_causal=causal), None
        scores = (q * q.shape[-1] ** -0.5) @ k.mT
        weights = F.dropout((scores if mask is None else scores + mask).softmax(-1), dropout)
        return weights @ v, weights


class WindowAttention(nn.Module):
    """torchvision's `ShiftedWindowAttention` for both versions of Swin Transformers, which calls `qkv` and `proj`.

    Args:
        attention: the module to imitate. It is recognised by its attributes, because torchvision may not be installed.
            All its parameters, buffers, submodules and settings are copied under their names.
    """

    window_size: list[int]
    shift_size: list[int]
    num_heads: int
    attention_dropout: float
    dropout: float
    qkv: nn.Module
    proj: nn.Module

    def __init__(self, attention: nn.Module) -> None:
        super().__init__()
        self.__dict__.update(copy.deepcopy(attention).__dict__)
        self._position_bias: Callable[[nn.Module], Tensor] = type(attention).get_relative_position_bias  # type: ignore[attr-defined]
        bias = getattr(attention.qkv, "bias", None)
        if getattr(self, "logit_scale", None) is not None and bias is not None:
            with torch.no_grad():  # the second version ignores the bias of the keys
                self.qkv.bias.chunk(3)[1].zero_()  # type: ignore[operator]

    @classmethod
    def recognises(cls, module: nn.Module) -> bool:
        """Return whether a module has all attributes that the class needs and reads its weights itself."""
        named = type(module).__name__ in ("ShiftedWindowAttention", "ShiftedWindowAttentionV2")
        plain = named and not checks.has_own_forward(module, type(module))  # a forward set on the module itself
        return plain and all(hasattr(module, name) for name in (*cls.__annotations__, "get_relative_position_bias"))

    @classmethod
    def like(cls, attention: nn.Module) -> Self:
        """Return a module that computes the same as `attention`, in the same mode.

        Raises:
            TensorTrainError: the module has another type, or hooks that would be lost.
        """
        _refuse_hooks(attention)
        if not cls.recognises(attention):
            raise TensorTrainError(f"attention is a {type(attention).__name__}; a ShiftedWindowAttention is needed")
        return cls(attention)

    def forward(self, x: Tensor) -> Tensor:
        """Apply windowed attention to `(B, H, W, C)`; the result has the same shape."""
        height, width = x.shape[1:3]
        rows, columns = self.window_size
        x = F.pad(x, (0, 0, 0, -width % columns, 0, -height % rows))
        size = x.shape[1:3]
        # a map no larger than the window is not shifted
        shift = [0 if w >= n else s for s, w, n in zip(self.shift_size, self.window_size, size, strict=True)]
        x = x.roll([-s for s in shift], (1, 2))
        windows = _windows(x, rows, columns).flatten(2, 3)  # (B, windows, pixels, C)
        heads = self.qkv(windows).unflatten(-1, (3, self.num_heads, -1)).movedim(-3, 0).transpose(-3, -2)
        scores = self._scores(heads[0], heads[1]) + self._position_bias(self)
        if any(shift):
            scores = scores + self._mask(size, shift, scores)[:, None]
        weights = F.dropout(scores.softmax(-1), self.attention_dropout, self.training)
        output = self.proj((weights @ heads[2]).transpose(-3, -2).flatten(-2))
        output = F.dropout(output, self.dropout, self.training)
        output = output.reshape(len(x), size[0] // rows, size[1] // columns, rows, columns, -1).transpose(2, 3)
        return output.reshape(len(x), *size, -1).roll(shift, (1, 2))[:, :height, :width].contiguous()

    def _scores(self, q: Tensor, k: Tensor) -> Tensor:
        """Return the attention scores without position bias: scaled products, or cosines in the second version."""
        scale: Tensor | None = getattr(self, "logit_scale", None)
        if scale is None:
            return torch.matmul(q * q.shape[-1] ** -0.5, k.mT)
        return torch.matmul(F.normalize(q, dim=-1), F.normalize(k, dim=-1).mT) * scale.clamp(max=math.log(100.0)).exp()

    def _mask(self, size: Sequence[int], shift: Sequence[int], like: Tensor) -> Tensor:
        """Return `(windows, pixels, pixels)`: −100 for pixels that only the shift has moved into the same window."""
        regions = like.new_zeros(1, *size, 1)
        for axis, (w, s) in enumerate(zip(self.window_size, shift, strict=True), start=1):
            places = torch.arange(size[axis - 1], device=like.device)
            part = (places >= size[axis - 1] - w).int() + (places >= size[axis - 1] - s).int() * (s > 0)
            regions = 3 * regions + part.reshape([-1 if a == axis else 1 for a in range(4)])
        of_pixel = _windows(regions, *self.window_size).flatten(2)[0]
        apart = of_pixel[:, None] != of_pixel[:, :, None]
        return like.new_zeros(apart.shape).masked_fill_(apart, -100.0)


def _windows(x: Tensor, rows: int, columns: int) -> Tensor:
    """Split `(B, H, W, C)` into windows, `(B, windows, rows, columns, C)`."""
    batch, height, width = x.shape[:3]
    grid = x.reshape(batch, height // rows, rows, width // columns, columns, -1)
    return grid.transpose(2, 3).reshape(batch, -1, rows, columns, grid.shape[-1])


def _are_batched(query: Tensor, key: Tensor, value: Tensor) -> bool:
    """Return whether query, key and value have a batch axis; refuse other numbers of axes."""
    dims = query.dim(), key.dim(), value.dim()
    if dims not in ((2, 2, 2), (3, 3, 3)):
        raise TensorTrainError(
            f"query, key and value have {dims[0]}, {dims[1]} and {dims[2]} axes; all three need 3 axes, or 2 without a"
            " batch"
        )
    return dims[0] == 3


def _check_lengths(query: Tensor, key: Tensor, value: Tensor) -> None:
    """Refuse batches `(B, length, width)` that differ in B, which torch would broadcast, or keys without values."""
    if not len(query) == len(key) == len(value):
        raise TensorTrainError(
            f"query, key and value have the batch sizes {len(query)}, {len(key)} and {len(value)}; they must be equal"
        )
    if key.shape[1] != value.shape[1]:
        raise TensorTrainError(f"key has {key.shape[1]} positions and value {value.shape[1]}; each key needs one value")


def _check_mask(name: str, mask: Tensor | None, legal: Sequence[tuple[int, ...]]) -> None:
    """Refuse a mask of another shape, which torch might broadcast, or of integers, whose meaning is not clear."""
    if mask is None:
        return
    if mask.dtype != torch.bool and not mask.is_floating_point():
        raise TensorTrainError(
            f"{name} has dtype {mask.dtype}; it must be boolean, true for what is ignored, or floating; convert it with"
            " .bool()"
        )
    if tuple(mask.shape) not in legal:
        raise TensorTrainError(f"{name} has shape {tuple(mask.shape)}; legal: {' or '.join(map(str, legal))}")


def _additive(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """Return a mask that is added to scores, with −∞ where a boolean mask is true."""
    if mask.dtype != torch.bool:
        return mask
    return torch.zeros_like(mask, dtype=dtype).masked_fill_(mask, -math.inf)
