from planted import Mistake, Rule

RULE = Rule("conv_im2col", target="Convolution(2, 4, size=3, stride=2, pad=1)", shapes="n 2 h w")

COL2IM = "return col2im(dcol, self.x_shape, FH, FW, self.stride, self.pad)"

MISTAKES = [
    Mistake("overwrite", "x", "x:x_max:stride] += col[", "x:x_max:stride] = col["),
    Mistake(("permuted", "transposed"), "W", "dW.transpose(1, 0).reshape(FN, C, FH, FW)", "dW.reshape(FN, C, FH, FW)"),
    Mistake("permuted", "W", "dout = dout.transpose(0, 2, 3, 1).reshape(-1, FN)", "dout = dout.reshape(-1, FN)"),
    Mistake(
        "permuted",
        "x",
        "C, filter_h, filter_w).transpose(0, 3, 4, 5, 1, 2)",
        "C, filter_h, filter_w).transpose(0, 3, 5, 4, 1, 2)",
    ),
    Mistake("permuted", "x", "+= col[:, :, y, x, :, :]", "+= col[:, :, filter_h - 1 - y, filter_w - 1 - x, :, :]"),
    Mistake(
        ("permuted", "transposed"),
        "W",
        "reshape(FN, C, FH, FW)\n        dcol",
        "reshape(FN, C, FH, FW).swapaxes(2, 3)\n        dcol",
    ),
    Mistake("shifted", "x", "img[:, :, pad : H + pad, pad : W + pad]", "img[:, :, :H, :W]"),
    Mistake(
        "shifted", "x", "img[:, :, pad : H + pad, pad : W + pad]", "img[:, :, pad : H + pad, pad - 1 : W + pad - 1]"
    ),
    Mistake("shifted", "x", "y:y_max:stride, x:x_max:stride] +=", "y : y + out_h, x : x + out_w] +="),
    Mistake("shifted", "x", "img[:, :, y:y_max:stride, x:x_max", "img[:, :, y + 1 : y_max + 1 : stride, x:x_max"),
    Mistake(
        ("shifted", "path-dropped"),
        "x",
        "        for x in range(filter_w):\n            x_max",
        "        for x in range(filter_w - 1):\n            x_max",
    ),
    Mistake("wrong-saved", "x", "dcol = np.dot(dout, self.col_W.T)", "dcol = np.dot(dout, dW.T)"),
    Mistake(
        "stale",
        "W",
        "        self.col = im2col(x, FH, FW, self.stride, self.pad)\n",
        "        col = im2col(x, FH, FW, self.stride, self.pad)\n"
        "        if getattr(self, 'col', col[:0]).shape != col.shape:\n            self.col = col\n",
    ),
    Mistake("missing-sum", "b", 'self.grads["b"] = np.sum(dout, axis=0)', 'self.grads["b"] = dout'),
    Mistake("missing-sum", "b", 'self.grads["b"] = np.sum(dout, axis=0)', 'self.grads["b"] = np.sum(dout, axis=1)'),
    Mistake("mean-for-sum", "b", "np.sum(dout, axis=0)", "np.mean(dout, axis=0)"),
    Mistake(
        ("batch-mean-twice", "mean-for-sum"),
        "W",
        "dW = np.dot(self.col.T, dout)",
        "dW = np.dot(self.col.T, dout) / self.x_shape[0]",
        "uva-2018, batches",
    ),
    Mistake(
        ("mean-for-sum", "factor"), "W", "dW = np.dot(self.col.T, dout)", "dW = np.dot(self.col.T, dout) / len(dout)"
    ),
    Mistake("upstream-ignored", "W", "dW = np.dot(self.col.T, dout)", "dW = np.dot(self.col.T, np.ones_like(dout))"),
    Mistake("upstream-twice", "W", "dW = np.dot(self.col.T, dout)", "dW = np.dot(self.col.T, dout * dout)"),
    Mistake("sign", "x", "dcol = np.dot(dout, self.col_W.T)", "dcol = -np.dot(dout, self.col_W.T)"),
    Mistake("factor", "b", "np.sum(dout, axis=0)", "2 * np.sum(dout, axis=0)"),
    Mistake("missing", "b", '        self.grads["b"] = np.sum(dout, axis=0)\n', ""),
    Mistake("missing", "x", COL2IM, f"{COL2IM[len('return ') :]}"),
    Mistake(
        "dtype",
        "x",
        "img = np.zeros((N, C, H + 2 * pad + stride - 1, W + 2 * pad + stride - 1))",
        "img = np.zeros((N, C, H + 2 * pad + stride - 1, W + 2 * pad + stride - 1), dtype=np.float16)",
    ),
]
