"""Attention with parameters: several heads at once."""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule import ops
from chainrule.engine import Parameter
from chainrule.nn import init
from chainrule.nn.layers import Linear
from chainrule.nn.module import Module


class MultiheadAttention(Module):
    r"""Several attentions side by side, each on a part of the projected features, and a linear layer over them.

    .. math:: \operatorname{concat}(Y_1, \dots, Y_{\text{heads}}) W_{\text{out}}^\top + b_{\text{out}}, \qquad
              Y_k = \operatorname{attention}(Q_k, K_k, V_k)

    where :math:`Q_k` has the features of head k of ``query`` times its part of ``in_proj_weight``, and so on
    (:func:`chainrule.ops.scaled_dot_product_attention`).

    Args:
        embed_dim: size of a row of query, key, value and output.
        num_heads: how many; ``embed_dim`` is divided among them.
        bias: add the biases?
        batch_first: are inputs and output ``(n, l, embed_dim)``?
        rng: draws the first values: ``in_proj_weight`` by Glorot's uniform, ``out_proj.weight`` as :class:`Linear`, the
            biases 0.
        dtype: of the parameters.

    Attributes:
        in_proj_weight: ``(3 embed_dim, embed_dim)``: the rows for query, key and value.
        in_proj_bias: ``(3 embed_dim,)``, or None.
        out_proj: a :class:`Linear`.

    Raises:
        ValueError: ``num_heads`` does not divide ``embed_dim``.

    Source: Vaswani et al., *Attention is all you need* (2017), section 3.2.2.

    >>> MultiheadAttention(6, 2)(np.zeros((5, 3, 6), np.float32)).shape
    (5, 3, 6)
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        *,
        bias: bool = True,
        batch_first: bool = False,
        rng: np.random.Generator | None = None,
        dtype: Any = np.float32,
    ):
        if num_heads < 1 or embed_dim % num_heads:
            raise ValueError(f"MultiheadAttention: num_heads={num_heads}, expected a divisor of embed_dim={embed_dim}")
        rng = rng or np.random.default_rng()
        self.embed_dim, self.num_heads, self.batch_first = embed_dim, num_heads, batch_first
        self.in_proj_weight = init.xavier_uniform_(Parameter(np.empty((3 * embed_dim, embed_dim), dtype)), rng=rng)
        self.in_proj_bias = Parameter(np.zeros(3 * embed_dim, dtype)) if bias else None
        self.out_proj = Linear(embed_dim, embed_dim, bias, rng=rng, dtype=dtype)
        if self.out_proj.bias is not None:
            init.zeros_(self.out_proj.bias)

    def __call__(
        self, query: Any, key: Any = None, value: Any = None, *, attn_mask: Any = None, is_causal: bool = False
    ) -> Any:
        """One array of the shape of ``query``, without PyTorch's second result, the weights.

        Args:
            query: ``(l, n, embed_dim)``.
            key, value: ``(s, n, embed_dim)``. Without them ``query`` stands for all three, self-attention: ``forward``
                then returns, and ``backward`` follows, all that depends on its input.
            attn_mask: ``(l, s)``, or ``(n * num_heads, l, s)``: numbers that are added to the scores; or booleans,
                True where a query may **not** attend to a key: PyTorch's layer has it so, the opposite of the op.
            is_causal: may query i attend to the keys j <= i only? Then there is no ``attn_mask``.

        Raises:
            ValueError: inputs or mask do not fit, or only one of key and value is given.
        """
        if (key is None) != (value is None):
            raise ValueError(
                "MultiheadAttention: found one of key and value, expected both, or neither: self-attention"
            )
        given = (query, query, query) if key is None else (query, key, value)
        heads = [self._projected(x, part) for part, x in enumerate(given)]
        y = ops.scaled_dot_product_attention(*heads, self._per_head(attn_mask), is_causal=is_causal)
        n, _, length, _ = y.shape
        y = np.swapaxes(y, 1, 2).reshape(n, length, self.embed_dim)
        return self.out_proj(y if self.batch_first else np.swapaxes(y, 0, 1))

    def _projected(self, x: Any, part: int) -> Any:
        """The input through the rows of the projection for query (0), key (1) or value (2): ``(n, heads, l, ...)``."""
        if x.ndim != 3:
            axes = "(n, l, embed_dim)" if self.batch_first else "(l, n, embed_dim)"
            raise ValueError(f"MultiheadAttention: an input has shape {x.shape}, expected {axes}")
        rows = slice(part * self.embed_dim, (part + 1) * self.embed_dim)
        bias = None if self.in_proj_bias is None else self.in_proj_bias[rows]
        y = ops.linear(x if self.batch_first else np.swapaxes(x, 0, 1), self.in_proj_weight[rows], bias)
        return np.swapaxes(y.reshape(*y.shape[:2], self.num_heads, self.embed_dim // self.num_heads), 1, 2)

    def _per_head(self, mask: Any) -> Any:
        """The mask as the op wants it: True where a query may attend, and an axis for the heads."""
        if mask is None:
            return None
        allowed = np.logical_not(mask) if mask.dtype == bool else mask
        if mask.ndim == 2:
            return allowed
        if mask.ndim != 3 or mask.shape[0] % self.num_heads:
            expected = f"(l, s) or (n * {self.num_heads}, l, s)"
            raise ValueError(f"MultiheadAttention: attn_mask has shape {mask.shape}, expected {expected}")
        return allowed.reshape(-1, self.num_heads, *mask.shape[1:])
