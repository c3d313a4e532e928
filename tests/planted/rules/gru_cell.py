"""GRU cell. Each gate has its own matrices; the gradients are returned by name."""

import numpy as np


def _sig(u):
    return 0.5 * (1 + np.tanh(0.5 * u))


def gru_forward(x, h, Wz, Uz, Wr, Ur, Wn, Un):
    z = _sig(x @ Wz + h @ Uz)
    r = _sig(x @ Wr + h @ Ur)
    rh = r * h
    n = np.tanh(x @ Wn + rh @ Un)
    h_new = (1 - z) * n + z * h
    saved = {"x": x, "h": h, "z": z, "r": r, "rh": rh, "n": n}
    saved.update({"Wz": Wz, "Uz": Uz, "Wr": Wr, "Ur": Ur, "Wn": Wn, "Un": Un})
    return h_new, saved


def gru_backward(grad_h_new, saved):
    x, h, z, r, rh, n = (saved[k] for k in ("x", "h", "z", "r", "rh", "n"))
    grad_n = grad_h_new * (1 - z)
    grad_z = grad_h_new * (h - n)

    # candidate
    grad_an = grad_n * (1 - n**2)
    grad_rh = grad_an @ saved["Un"].T
    grad_r = grad_rh * h

    # gates
    grad_az = grad_z * z * (1 - z)
    grad_ar = grad_r * r * (1 - r)

    grad_x = grad_an @ saved["Wn"].T + grad_az @ saved["Wz"].T + grad_ar @ saved["Wr"].T
    grad_h = grad_h_new * z + grad_rh * r
    grad_h = grad_h + grad_az @ saved["Uz"].T
    grad_h = grad_h + grad_ar @ saved["Ur"].T
    return {
        "x": grad_x,
        "h": grad_h,
        "Wz": x.T @ grad_az,
        "Uz": h.T @ grad_az,
        "Wr": x.T @ grad_ar,
        "Ur": h.T @ grad_ar,
        "Wn": x.T @ grad_an,
        "Un": rh.T @ grad_an,
    }
