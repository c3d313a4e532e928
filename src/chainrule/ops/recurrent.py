"""Recurrent cells: one step in time of an Elman network, an LSTM and a GRU.

Each is two linear layers into one activation per gate. So each derivation has the same two steps: from the gradient of
the new state to that of the gates' arguments, entry by entry, and from there through the linear layers.
"""

from __future__ import annotations

import numpy as np

from chainrule.engine import kink, op, sample
from chainrule.ops.activations import sigmoid
from chainrule.ops.matrix import linear


def _check_gates(name, count, h, weight_hh):
    expected = (count * h.shape[1], h.shape[1])
    if weight_hh.shape != expected:
        raise ValueError(
            f"{name}: weight_hh has shape {weight_hh.shape}, expected {expected}: {count} gates of {h.shape[1]} units, "
            f"as many as h of shape {h.shape} has"
        )


def _gates(a, count):
    """The columns of ``a`` in equal parts, one for each gate."""
    d = a.shape[1] // count
    return [a[:, k * d : (k + 1) * d] for k in range(count)]


def _joined(x, h, weight_ih, weight_hh):
    """Both products as one: that of the joined inputs [x, h] with the joined weights. For the textbooks."""
    return np.concatenate([x, h], axis=1) @ np.concatenate([weight_ih, weight_hh], axis=1).T


# --------------------------------------------------------------------------------------------------------------- Elman


def _rnn_composed(x, h, weight_ih, weight_hh, bias_ih=0.0, bias_hh=0.0, *, nonlinearity="tanh"):
    a = _joined(x, h, weight_ih, weight_hh) + bias_ih + bias_hh
    return np.tanh(a) if nonlinearity == "tanh" else np.where(a > 0, a, 0)


@op(
    "n e, n d, d e, d d, d, d -> n d",
    samples=[
        "3 4, 3 5, 5 4, 5 5, 5, 5",
        sample("3 4, 3 5, 5 4, 5 5, 5, 5", nonlinearity="relu"),
        "2 1, 2 3, 3 1, 3 3",
        "0 2, 0 3, 3 2, 3 3, 3, 3",
    ],
    kinks=[kink(([[0.0]], [[0.0]], [[1.0]], [[1.0]]), ([[0.0]], [[0.0]], [[0.0]], [[0.0]]), nonlinearity="relu")],
    textbook=_rnn_composed,
)
def rnn_cell(x, h, weight_ih, weight_hh, bias_ih=None, bias_hh=None, *, nonlinearity="tanh"):
    r"""One step of an Elman network: the new hidden state from the input and the last hidden state.

    Args:
        x: ``(n, e)``, the inputs at this time, one example a row.
        h: ``(n, d)``, the hidden state so far.
        weight_ih: ``(d, e)``, from input to hidden.
        weight_hh: ``(d, d)``, from hidden to hidden.
        bias_ih, bias_hh: ``(d,)``, or None. Two, as in PyTorch; only their sum matters.
        nonlinearity: ``"tanh"`` or ``"relu"``.

    Returns:
        ``(n, d)``, the new hidden state.

    Raises:
        ValueError: shapes do not fit, or ``nonlinearity`` is neither.

    Forward:
        .. math:: H' = \phi(A), \qquad A = X W_{ih}^\top + b_{ih} + H W_{hh}^\top + b_{hh}
    Backward:
        With :math:`\bar A = \bar H' \odot \phi'(A)`, where :math:`\phi'(A) = 1 - H'^2` for tanh and
        :math:`[A > 0]` for relu,
        .. math:: \bar X = \bar A W_{ih}, \qquad \bar H = \bar A W_{hh}, \qquad \bar W_{ih} = \bar A^\top X, \qquad
                  \bar W_{hh} = \bar A^\top H, \qquad \bar b_{ih} = \bar b_{hh} = \sum_n \bar A_n
    Derivation:
        Every unit has its own activation, so the first step is entry by entry:
        .. math:: \bar a_{nj} = \sum_k \bar h'_{nk} \frac{\partial \phi(a_{nk})}{\partial a_{nj}}
                  = \sum_k \bar h'_{nk} \, \delta_{kj} \, \phi'(a_{nj}) = \bar h'_{nj} \, \phi'(a_{nj})
        with :math:`\tanh'(a) = 1 - \tanh^2(a) = 1 - h'^2`. The second goes through
        :math:`a_{nk} = \sum_m w^{ih}_{km} x_{nm} + b^{ih}_k + \sum_m w^{hh}_{km} h_{nm} + b^{hh}_k`:
        .. math::
            \bar h_{pj} &= \sum_{nk} \bar a_{nk} \sum_m w^{hh}_{km} \, \delta_{np} \delta_{mj}
                         = \sum_k \bar a_{pk} w^{hh}_{kj} = (\bar A W_{hh})_{pj} \\
            \bar w^{hh}_{ij} &= \sum_{nk} \bar a_{nk} \sum_m \delta_{ki} \delta_{mj} h_{nm}
                         = \sum_n \bar a_{ni} h_{nj} = (\bar A^\top H)_{ij} \\
            \bar b^{hh}_j &= \sum_{nk} \bar a_{nk} \, \delta_{kj} = \sum_n \bar a_{nj}
        and the same with x in place of h. Over several steps in time, the gradients of the weights add up, and
        :math:`\bar H` of one step is part of :math:`\bar H'` of the step before.
    Source: Elman, *Finding structure in time* (1990); Rumelhart, Hinton, Williams, *Learning internal representations
    by error propagation* (1986), for backpropagation through time.

    >>> rnn_cell(np.array([[1.0]]), np.array([[0.5]]), np.array([[2.0]]), np.array([[-4.0]]))
    array([[0.]])
    """
    a = linear(x, weight_ih, bias_ih) + linear(h, weight_hh, bias_hh)
    if nonlinearity == "tanh":
        y = np.tanh(a)
        slope = 1 - y * y
    elif nonlinearity == "relu":
        y = np.maximum(a, 0)
        slope = a > 0
    else:
        raise ValueError(f"rnn_cell: nonlinearity={nonlinearity!r}, expected 'tanh' or 'relu'")

    def gx(gy):
        return (gy * slope) @ weight_ih

    def gh(gy):
        return (gy * slope) @ weight_hh

    def gweight_ih(gy):
        return (gy * slope).T @ x

    def gweight_hh(gy):
        return (gy * slope).T @ h

    def gbias_ih(gy):
        return (gy * slope).sum(0)

    def gbias_hh(gy):
        return (gy * slope).sum(0)

    return y, (gx, gh, gweight_ih, gweight_hh, gbias_ih, gbias_hh)


# ---------------------------------------------------------------------------------------------------------------- LSTM


def _lstm_composed(x, h, c, weight_ih, weight_hh, bias_ih=0.0, bias_hh=0.0):
    a = (_joined(x, h, weight_ih, weight_hh) + bias_ih + bias_hh).reshape(len(h), 4, h.shape[1])
    i, f, o = (1 / (1 + np.exp(-a[:, k])) for k in (0, 1, 3))
    new_c = f * c + i * np.tanh(a[:, 2])
    return np.stack([o * np.tanh(new_c), new_c])


@op(
    "n e, n d, n d, g e, g d, g, g -> _",
    samples=["3 4, 3 2, 3 2, 8 4, 8 2, 8, 8", "2 1, 2 3, 2 3, 12 1, 12 3", "0 2, 0 1, 0 1, 4 2, 4 1, 4, 4"],
    textbook=_lstm_composed,
)
def lstm_cell(x, h, c, weight_ih, weight_hh, bias_ih=None, bias_hh=None):
    r"""One step of a long short-term memory: gates decide what its cells forget, take in and show.

    Args:
        x: ``(n, e)``, the inputs at this time, one example a row.
        h: ``(n, d)``, the hidden state so far.
        c: ``(n, d)``, the cell state so far.
        weight_ih: ``(4 d, e)``, from input to gates: input i, forget f, candidate g, output o, as in PyTorch.
        weight_hh: ``(4 d, d)``, from hidden to gates, in the same order.
        bias_ih, bias_hh: ``(4 d,)``, or None. Two, as in PyTorch; only their sum matters.

    Returns:
        ``(2, n, d)``, both new states in one array, since an op has one result: ``h, c = lstm_cell(...)`` takes them
        apart.

    Raises:
        ValueError: shapes do not fit.

    Forward:
        .. math::
            A &= X W_{ih}^\top + b_{ih} + H W_{hh}^\top + b_{hh} = [A^i, A^f, A^g, A^o] \\
            I &= \sigma(A^i), \qquad F = \sigma(A^f), \qquad G = \tanh(A^g), \qquad O = \sigma(A^o) \\
            C' &= F \odot C + I \odot G, \qquad H' = O \odot \tanh(C')
    Backward:
        Two gradients come in, :math:`\bar H'` and :math:`\bar C'`. With
        :math:`\bar S = \bar C' + \bar H' \odot O \odot (1 - \tanh^2 C')`,
        .. math::
            \bar A^i &= \bar S \odot G \odot I \odot (1 - I), \qquad
            \bar A^f = \bar S \odot C \odot F \odot (1 - F) \\
            \bar A^g &= \bar S \odot I \odot (1 - G^2), \qquad
            \bar A^o = \bar H' \odot \tanh(C') \odot O \odot (1 - O)
        and, with the four side by side, :math:`\bar A = [\bar A^i, \bar A^f, \bar A^g, \bar A^o]`,
        .. math::
            \bar C &= \bar S \odot F, \qquad \bar X = \bar A W_{ih}, \qquad \bar H = \bar A W_{hh} \\
            \bar W_{ih} &= \bar A^\top X, \qquad \bar W_{hh} = \bar A^\top H, \qquad
            \bar b_{ih} = \bar b_{hh} = \sum_n \bar A_n
    Derivation:
        Gates and states meet entry by entry; one entry :math:`(n, j)` is meant throughout. The new cell state reaches
        the loss twice, by itself and through :math:`h' = o \tanh c'`:
        .. math:: \bar s = \bar c' + \bar h' \frac{\partial h'}{\partial c'} = \bar c' + \bar h' \, o (1 - \tanh^2 c')
        From it the parts of :math:`c' = f c + i g` have theirs, and the output gate has its own from h':
        .. math:: \bar c = \bar s f, \qquad \bar f = \bar s c, \qquad \bar i = \bar s g, \qquad \bar g = \bar s i,
                  \qquad \bar o = \bar h' \tanh c'
        No weight stands in :math:`\bar c = \bar s f`: where the forget gate is open, a gradient lasts through many
        steps. Each gate's activation, with :math:`\sigma' = \sigma (1 - \sigma)` and :math:`\tanh' = 1 - \tanh^2`:
        .. math:: \bar a^i = \bar i \, i (1 - i), \qquad \bar a^f = \bar f f (1 - f), \qquad
                  \bar a^g = \bar g (1 - g^2), \qquad \bar a^o = \bar o \, o (1 - o)
        The gates' arguments are columns of one matrix A, column k of which is
        :math:`a_{nk} = \sum_m w^{ih}_{km} x_{nm} + b^{ih}_k + \sum_m w^{hh}_{km} h_{nm} + b^{hh}_k`. The sum over k is
        over all gates: x and h reach each of them.
        .. math::
            \bar h_{pj} &= \sum_{nk} \bar a_{nk} \sum_m w^{hh}_{km} \, \delta_{np} \delta_{mj}
                         = \sum_k \bar a_{pk} w^{hh}_{kj} = (\bar A W_{hh})_{pj} \\
            \bar w^{hh}_{kj} &= \sum_{nl} \bar a_{nl} \sum_m \delta_{lk} \delta_{mj} h_{nm}
                         = \sum_n \bar a_{nk} h_{nj} = (\bar A^\top H)_{kj} \\
            \bar b^{hh}_k &= \sum_{nl} \bar a_{nl} \, \delta_{lk} = \sum_n \bar a_{nk}
        and the same with x in place of h.
    Source: Hochreiter, Schmidhuber, *Long short-term memory* (1997); the forget gate: Gers, Schmidhuber, Cummins,
    *Learning to forget* (2000). The order of the gates is PyTorch's.

    >>> closed, open = -100.0, 100.0  # an open forget gate and a closed input gate: the cell keeps what it has
    >>> x, c, weight, gates = np.ones((1, 1)), np.full((1, 1), 0.5), np.zeros((4, 1)), np.array([closed, open, 0, open])
    >>> h, c = lstm_cell(x, c, c, weight, weight, gates)
    >>> h.round(4), c
    (array([[0.4621]]), array([[0.5]]))
    """
    _check_gates("lstm_cell", 4, h, weight_hh)
    i, f, g, o = _gates(linear(x, weight_ih, bias_ih) + linear(h, weight_hh, bias_hh), 4)
    i, f, g, o = sigmoid(i), sigmoid(f), np.tanh(g), sigmoid(o)
    new_c = f * c + i * g
    t = np.tanh(new_c)

    def gcell(gy):
        return gy[1] + gy[0] * o * (1 - t * t)

    def ga(gy):
        s = gcell(gy)
        return np.concatenate(
            [s * g * i * (1 - i), s * c * f * (1 - f), s * i * (1 - g * g), gy[0] * t * o * (1 - o)], axis=1
        )

    def gx(gy):
        return ga(gy) @ weight_ih

    def gh(gy):
        return ga(gy) @ weight_hh

    def gc(gy):
        return gcell(gy) * f

    def gweight_ih(gy):
        return ga(gy).T @ x

    def gweight_hh(gy):
        return ga(gy).T @ h

    def gbias_ih(gy):
        return ga(gy).sum(0)

    def gbias_hh(gy):
        return ga(gy).sum(0)

    return np.stack([o * t, new_c]), (gx, gh, gc, gweight_ih, gweight_hh, gbias_ih, gbias_hh)


# ----------------------------------------------------------------------------------------------------------------- GRU


def _gru_composed(x, h, weight_ih, weight_hh, bias_ih=0.0, bias_hh=0.0):
    from_x = (x @ weight_ih.T + bias_ih).reshape(len(h), 3, h.shape[1])
    from_h = (h @ weight_hh.T + bias_hh).reshape(len(h), 3, h.shape[1])
    r, z = (1 / (1 + np.exp(-from_x[:, k] - from_h[:, k])) for k in (0, 1))
    return (1 - z) * np.tanh(from_x[:, 2] + r * from_h[:, 2]) + z * h


@op(
    "n e, n d, g e, g d, g, g -> n d",
    samples=["3 4, 3 2, 6 4, 6 2, 6, 6", "2 1, 2 3, 9 1, 9 3", "0 2, 0 1, 3 2, 3 1, 3, 3"],
    textbook=_gru_composed,
)
def gru_cell(x, h, weight_ih, weight_hh, bias_ih=None, bias_hh=None):
    r"""One step of a gated recurrent unit: a mixture of the last hidden state and a candidate for the new one.

    Args:
        x: ``(n, e)``, the inputs at this time, one example a row.
        h: ``(n, d)``, the hidden state so far.
        weight_ih: ``(3 d, e)``, from input to gates: reset r, update z, candidate n, as in PyTorch.
        weight_hh: ``(3 d, d)``, from hidden to gates, in the same order.
        bias_ih, bias_hh: ``(3 d,)``, or None. They are not interchangeable: the reset gate multiplies one of them.

    Returns:
        ``(n, d)``, the new hidden state.

    Raises:
        ValueError: shapes do not fit.

    Forward:
        .. math::
            A &= X W_{ih}^\top + b_{ih} = [A^r, A^z, A^n], \qquad
            B = H W_{hh}^\top + b_{hh} = [B^r, B^z, B^n] \\
            R &= \sigma(A^r + B^r), \qquad Z = \sigma(A^z + B^z), \qquad N = \tanh(A^n + R \odot B^n) \\
            H' &= (1 - Z) \odot N + Z \odot H
    Backward:
        .. math::
            \bar A^n &= \bar H' \odot (1 - Z) \odot (1 - N^2), \qquad \bar B^n = \bar A^n \odot R \\
            \bar A^z &= \bar B^z = \bar H' \odot (H - N) \odot Z \odot (1 - Z) \\
            \bar A^r &= \bar B^r = \bar A^n \odot B^n \odot R \odot (1 - R)
        and, with the three side by side in :math:`\bar A` and :math:`\bar B`,
        .. math::
            \bar X &= \bar A W_{ih}, \qquad \bar W_{ih} = \bar A^\top X, \qquad \bar b_{ih} = \sum_n \bar A_n \\
            \bar H &= \bar B W_{hh} + \bar H' \odot Z, \qquad \bar W_{hh} = \bar B^\top H, \qquad
            \bar b_{hh} = \sum_n \bar B_n
    Derivation:
        Gates and states meet entry by entry; one entry :math:`(i, j)` is meant. From :math:`h' = (1 - z) n + z h`,
        .. math:: \bar n = \bar h' (1 - z), \qquad \bar z = \bar h' (h - n), \qquad
                  \bar h_{\text{direct}} = \bar h' z
        and through the activations, with :math:`\tanh' = 1 - \tanh^2` and :math:`\sigma' = \sigma (1 - \sigma)`,
        .. math:: \bar a^n = \bar n (1 - n^2), \qquad \bar a^z = \bar z \, z (1 - z)
        The candidate's argument is :math:`a^n + r b^n`: its gradient, :math:`\bar a^n`, is also that of the product,
        so that
        .. math:: \bar b^n = \bar a^n r, \qquad \bar r = \bar a^n b^n, \qquad \bar a^r = \bar r \, r (1 - r)
        The other two arguments are sums, and :math:`\bar b^r = \bar a^r`, :math:`\bar b^z = \bar a^z`. Last, the linear
        layers :math:`a_{ik} = \sum_m w^{ih}_{km} x_{im} + b^{ih}_k` and
        :math:`b_{ik} = \sum_m w^{hh}_{km} h_{im} + b^{hh}_k`, where k counts the columns of all gates:
        .. math::
            \bar h_{pj} &= \bar h'_{pj} z_{pj} + \sum_{ik} \bar b_{ik} \sum_m w^{hh}_{km} \, \delta_{ip} \delta_{mj}
                         = \bar h'_{pj} z_{pj} + (\bar B W_{hh})_{pj} \\
            \bar w^{hh}_{kj} &= \sum_{il} \bar b_{il} \sum_m \delta_{lk} \delta_{mj} h_{im}
                         = \sum_i \bar b_{ik} h_{ij} = (\bar B^\top H)_{kj}
        and the same with A and x, without the direct way.
    Source: Cho et al., *Learning phrase representations using RNN encoder-decoder* (2014); there the reset gate
    multiplies the hidden state before the product with its weights, here the result of that product, as in PyTorch.

    >>> gates = np.array([0.0, 100.0, 0.0])  # an open update gate: the state stays
    >>> gru_cell(np.ones((1, 1)), np.full((1, 1), 0.5), np.ones((3, 1)), np.ones((3, 1)), gates)
    array([[0.5]])
    """
    _check_gates("gru_cell", 3, h, weight_hh)
    r, z, n = _gates(linear(x, weight_ih, bias_ih), 3)
    hidden_r, hidden_z, hidden_n = _gates(linear(h, weight_hh, bias_hh), 3)
    r, z = sigmoid(r + hidden_r), sigmoid(z + hidden_z)
    n = np.tanh(n + r * hidden_n)

    def parts(gy):
        gn = gy * (1 - z) * (1 - n * n)
        return gn * hidden_n * r * (1 - r), gy * (h - n) * z * (1 - z), gn

    def ga(gy):
        return np.concatenate(parts(gy), axis=1)

    def gb(gy):
        gr, gz, gn = parts(gy)
        return np.concatenate([gr, gz, gn * r], axis=1)

    def gx(gy):
        return ga(gy) @ weight_ih

    def gh(gy):
        return gb(gy) @ weight_hh + gy * z

    def gweight_ih(gy):
        return ga(gy).T @ x

    def gweight_hh(gy):
        return gb(gy).T @ h

    def gbias_ih(gy):
        return ga(gy).sum(0)

    def gbias_hh(gy):
        return gb(gy).sum(0)

    return (1 - z) * n + z * h, (gx, gh, gweight_ih, gweight_hh, gbias_ih, gbias_hh)
