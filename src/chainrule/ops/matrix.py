"""Products of matrices."""

from __future__ import annotations

from chainrule.engine import op, sample


@op(
    "... d, m d, m -> ... m",
    samples=[
        sample("3 4, 5 4, 5"),
        sample("3 4, 5 4"),
        sample("4, 5 4, 5"),
        sample("2 3 4, 5 4, 5"),
        sample("0 4, 5 4, 5"),
    ],
    textbook=lambda x, weight, bias=0.0: x @ weight.T + bias,
)
def linear(x, weight, bias=None):
    r"""A linear layer: every row of ``x`` times the transposed weight, plus the bias.

    Args:
        x: ``(..., d)``, one example a row.
        weight: ``(m, d)``, one output unit a row, as in PyTorch.
        bias: ``(m,)``, or None.

    Forward:
        .. math:: Y = X W^\top + b, \qquad y_{nm} = \sum_d x_{nd} w_{md} + b_m
    Backward:
        .. math:: \bar X = \bar Y W, \qquad \bar W = \bar Y^\top X, \qquad \bar b = \sum_n \bar Y_n
    Derivation:
        .. math::
            \bar x_{ij} &= \sum_{nm} \bar y_{nm} \frac{\partial y_{nm}}{\partial x_{ij}}
                         = \sum_{nm} \bar y_{nm} \sum_d \delta_{ni} \delta_{dj} w_{md}
                         = \sum_m \bar y_{im} w_{mj} = (\bar Y W)_{ij} \\
            \bar w_{ij} &= \sum_{nm} \bar y_{nm} \sum_d x_{nd} \, \delta_{mi} \delta_{dj}
                         = \sum_n \bar y_{ni} x_{nj} = (\bar Y^\top X)_{ij} \\
            \bar b_j &= \sum_{nm} \bar y_{nm} \, \delta_{mj} = \sum_n \bar y_{nj}
        The batch index is summed: a mean over the batch belongs to the loss, once.
    Source: Goodfellow, Bengio, Courville, *Deep Learning* (2016), section 6.5.6.

    >>> linear(np.array([[1.0, 2.0]]), np.array([[3.0, 4.0], [5.0, 6.0], [7.0, 8.0]]), np.array([0.0, 0.0, 1.0]))
    array([[11., 17., 24.]])
    """
    y = x @ weight.T if bias is None else x @ weight.T + bias

    def gx(gy):
        return gy @ weight

    def gweight(gy):
        return gy.reshape(-1, weight.shape[0]).T @ x.reshape(-1, weight.shape[1])

    def gbias(gy):
        return gy.reshape(-1, weight.shape[0]).sum(0)

    return y, (gx, gweight, gbias)
