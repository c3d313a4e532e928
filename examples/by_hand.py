"""Backprop by hand, without the engine: every rule gives a value and the way back, and we walk it ourselves.

The network is 2-3-2 with a sigmoid, a softmax and the negative log-likelihood of class 0:

    k = x W + b,  h = sigmoid(k),  o = h V + c,  y = softmax(o),  loss = -ln y_0

Run it with `python examples/by_hand.py`.
"""

import numpy as np

from chainrule import ops

x = np.array([[1.0, -1.0]])
W = np.array([[1.0, 1.0, 1.0], [-1.0, -1.0, -1.0]])
b = np.zeros(3)
V = np.array([[1.0, 1.0], [-1.0, -1.0], [-1.0, -1.0]])
c = np.zeros(2)


def main():
    # Forward: each line is one rule. It returns the value and, for each input, the pullback.
    xW, (_, xW_to_W) = ops.matmul.rule(x, W)
    k, (k_to_xW, k_to_b) = ops.add.rule(xW, b)
    h, (h_to_k,) = ops.sigmoid.rule(k)
    hV, (hV_to_h, hV_to_V) = ops.matmul.rule(h, V)
    o, (o_to_hV, o_to_c) = ops.add.rule(hV, c)
    y, (y_to_o,) = ops.softmax.rule(o)
    ln_y, (ln_y_to_y,) = ops.log.rule(y)
    loss = -ln_y[0, 0]

    # Backward: the same lines from the last to the first. g is the gradient of the loss with respect to what was made.
    g_ln_y = np.array([[-1.0, 0.0]])
    g_o = y_to_o(ln_y_to_y(g_ln_y))  # softmax and -ln together: y - t
    dc = o_to_c(g_o)
    g_hV = o_to_hV(g_o)
    dV = hV_to_V(g_hV)
    g_k = h_to_k(hV_to_h(g_hV))  # after the sigmoid's derivative: this, not the gradient of h, is what b needs
    db = k_to_b(g_k)
    dW = xW_to_W(k_to_xW(g_k))

    print(f"loss = {loss}")
    for name, gradient in {"dW": dW, "db": db, "dV": dV, "dc": dc}.items():
        print(f"{name} =\n{np.array2string(gradient + 0.0, precision=8)}")
    return loss, dW, db, dV, dc


if __name__ == "__main__":
    main()
