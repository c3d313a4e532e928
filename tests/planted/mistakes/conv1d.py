from planted import Mistake, Rule

RULE = Rule("conv1d", target="causal_conv, causal_conv_backward", shapes="x: b c t, kernel: f c 3, bias: f -> b f t")

GX = '+= np.einsum("bft,fc->bct", gy, kernel[:, :, k])'

MISTAKES = [
    Mistake("shifted", "x", "gx = gpadded[:, :, before:]", "gx = gpadded[:, :, :steps]"),
    Mistake("shifted", "x", "gx = gpadded[:, :, before:]", "gx = gpadded[:, :, before - 1 : -1]"),
    Mistake("shifted", "kernel", "window = slice(k * DILATION, k * DILATION + steps)", "window = slice(k, k + steps)"),
    Mistake(
        "shifted",
        "kernel",
        "padded = np.concatenate([np.zeros((*x.shape[:2], before)), x], axis=2)",
        "padded = np.concatenate([x, np.zeros((*x.shape[:2], before))], axis=2)",
    ),
    Mistake("shifted", "x", "gy, kernel[:, :, k])", "gy, kernel[:, :, k - 1])"),
    Mistake("permuted", "x", "gy, kernel[:, :, k])", "gy, kernel[:, :, taps - 1 - k])"),
    Mistake("permuted", "kernel", "return gx, gkernel, gbias", "return gx, gkernel[:, :, ::-1], gbias"),
    Mistake(
        ("permuted", "transposed"),
        "kernel",
        "return gx, gkernel, gbias",
        "return gx, gkernel.transpose(1, 0, 2), gbias",
    ),
    Mistake("overwrite", "x", GX, GX.removeprefix("+")),
    Mistake("missing-sum", "bias", "gbias = gy.sum(axis=(0, 2))", "gbias = gy.sum(axis=2)"),
    Mistake("missing-sum", "bias", "gbias = gy.sum(axis=(0, 2))", "gbias = gy.sum(axis=0)"),
    Mistake("mean-for-sum", "bias", "gbias = gy.sum(axis=(0, 2))", "gbias = gy.sum(axis=0).mean(axis=-1)"),
    Mistake(
        ("batch-mean-twice", "mean-for-sum"),
        "bias",
        "gy.sum(axis=(0, 2))",
        "gy.mean(axis=0).sum(axis=-1)",
        "uva-2018, batches",
    ),
    Mistake(
        ("batch-mean-twice", "mean-for-sum"),
        "kernel",
        "return gx, gkernel, gbias",
        "return gx, gkernel / len(gy), gbias",
    ),
    Mistake(("mean-for-sum", "factor"), "kernel", "return gx, gkernel, gbias", "return gx, gkernel / steps, gbias"),
    Mistake("sign", "bias", "gbias = gy.sum", "gbias = -gy.sum"),
    Mistake("upstream-ignored", "kernel", '"bft,bct->fc", gy,', '"bft,bct->fc", np.ones_like(gy),'),
    Mistake("upstream-twice", "bias", "gbias = gy.sum", "gbias = (gy * gy).sum"),
    Mistake("wrong-saved", "kernel", "gy, padded[:, :, window])", "gy, gpadded[:, :, window])"),
    Mistake("order-swapped", "kernel", "return gx, gkernel, gbias", "return gx, gbias, gkernel"),
    Mistake("order-swapped", "x", "return gx, gkernel, gbias", "return gkernel, gx, gbias"),
    Mistake("missing", "bias", "return gx, gkernel, gbias", "return gx, gkernel, np.zeros_like(bias)"),
    Mistake(
        "dtype", "kernel", "gkernel = np.empty(kernel.shape)", "gkernel = np.empty(kernel.shape, dtype=np.float16)"
    ),
    Mistake("nondeterministic", "x", GX, f"{GX} * (np.random.rand(steps) < 0.5)"),
]
