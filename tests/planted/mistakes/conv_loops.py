from planted import Mistake, Rule

RULE = Rule("conv_loops", target="conv_forward_naive, conv_backward_naive", shapes="n c h w, f c 3 3, f")

DX_LINE = "dx_pad[n, :, top : top + HH, left : left + WW] += w[f] * g"
CROP = "dx_pad[:, :, PAD : PAD + H, PAD : PAD + W]"

MISTAKES = [
    Mistake("overwrite", "x", DX_LINE, DX_LINE.replace("+=", "=")),
    Mistake("overwrite", "w", "dw[f] += x_pad", "dw[f] = x_pad"),
    Mistake("overwrite", "b", "db[f] += g", "db[f] = g"),
    Mistake("shifted", "x", CROP, "dx_pad[:, :, :H, :W]"),
    Mistake("shifted", "x", CROP, "dx_pad[:, :, -H:, -W:]"),
    Mistake("shifted", "x", "dx = dx_pad[:, :, PAD : PAD + H", "dx = dx_pad[:, :, PAD + 1 : PAD + H + 1"),
    Mistake("shifted", "x", CROP, "dx_pad"),
    Mistake("shifted", "w", "top, left = i * STRIDE, j * STRIDE", "top, left = i, j"),
    Mistake("shifted", "w", "top, left = i * STRIDE, j * STRIDE", "top, left = i * STRIDE, j * (STRIDE - 1)"),
    Mistake("shifted", "x", DX_LINE, "dx_pad[n, :, top : top + HH, left : left + WW - 1] += w[f, :, :, 1:] * g"),
    Mistake(
        "shifted",
        "w",
        "dw = np.zeros(w.shape)",
        "dw = np.zeros(w.shape)\n    x_pad = np.pad(x, ((0, 0), (0, 0), (0, 2 * PAD), (0, 2 * PAD)))",
    ),
    Mistake("permuted", "x", "+= w[f] * g", "+= w[f, :, ::-1, ::-1] * g"),
    Mistake(("permuted", "transposed"), "x", "+= w[f] * g", "+= w[f].swapaxes(1, 2) * g"),
    Mistake("permuted", "w", "return dx, dw, db", "return dx, dw[:, :, ::-1, ::-1], db"),
    Mistake(("permuted", "transposed"), "w", "return dx, dw, db", "return dx, dw.swapaxes(2, 3), db"),
    Mistake("wrong-saved", "x", "+= w[f] * g", "+= x_pad[n, :, top : top + HH, left : left + WW] * g"),
    Mistake("shifted", "x", "+= w[f] * g", "+= w[f - 1] * g"),
    Mistake("upstream-ignored", "b", "db[f] += g", "db[f] += 1"),
    Mistake(
        "upstream-ignored",
        "w",
        "left : left + WW] * g\n                    dx_pad",
        "left : left + WW]\n                    dx_pad",
    ),
    Mistake("upstream-twice", "x", "+= w[f] * g", "+= w[f] * g * g"),
    Mistake("sign", "w", "dw[f] += x_pad", "dw[f] -= x_pad"),
    Mistake(("mean-for-sum", "factor"), "w", "return dx, dw, db", "return dx, dw / (H_out * W_out), db"),
    Mistake(("batch-mean-twice", "mean-for-sum"), "b", "db[f] += g", "db[f] += g / N", "uva-2018, batches"),
    Mistake(
        ("batch-mean-twice", "mean-for-sum"), "w", "return dx, dw, db", "return dx, dw / N, db", "uva-2018, batches"
    ),
    Mistake("missing", "b", "                    db[f] += g\n", ""),
    Mistake("missing", "x", "return dx, dw, db", "return None, dw, db"),
    Mistake("order-swapped", "w", "return dx, dw, db", "return dx, db, dw"),
    Mistake("dtype", "x", "dx_pad = np.zeros(x_pad.shape)", "dx_pad = np.zeros(x_pad.shape, dtype=np.float16)"),
    Mistake("dtype", "w", "dw = np.zeros(w.shape)", "dw = np.zeros(w.shape, dtype=np.float32)"),
    Mistake("missing-sum", "b", "return dx, dw, db", "return dx, dw, dout.sum(axis=(0, 2))"),
]
