from planted import Mistake, Rule

RULE = Rule(
    "conv_transpose", target="conv_transpose, conv_transpose_backward", shapes="x: n c h w, weight: c m 3 2, bias: m"
)

GX = 'gx += np.einsum("nmhw,cm->nchw", seen, weight[:, :, k, l])'
GWEIGHT = 'np.einsum("nchw,nmhw->cm", x, seen)'
RETURNED = "return gx, gweight, gbias"

MISTAKES = [
    Mistake(("overwrite", "path-dropped"), "x", GX, GX.replace("+=", "=")),
    Mistake("permuted", "x", GX, GX.replace("[:, :, k, l]", "[:, :, ::-1, ::-1][:, :, k, l]")),
    Mistake("permuted", "weight", RETURNED, "return gx, gweight[:, :, ::-1], gbias"),
    Mistake("shifted", "x", "seen = gy[:, :, down, across]", "seen = gy[:, :, k : k + x.shape[2], l : l + x.shape[3]]"),
    Mistake("missing-sum", "bias", "gy.sum(axis=(0, 2, 3))", "gy.sum(axis=(2, 3))"),
    Mistake("missing-sum", "bias", "gy.sum(axis=(0, 2, 3))", "gy.sum(axis=0)"),
    Mistake("mean-for-sum", "bias", "gy.sum(axis=(0, 2, 3))", "gy.mean(axis=(0, 2, 3))"),
    Mistake(("batch-mean-twice", "mean-for-sum"), "weight", GWEIGHT, f"{GWEIGHT} / len(x)"),
    Mistake("sign", "x", GX, GX.replace("+=", "-=")),
    Mistake("factor", "weight", GWEIGHT, f"{GWEIGHT} / 2"),
    Mistake("upstream-ignored", "weight", "x, seen)", "x, np.ones_like(seen))"),
    Mistake("upstream-twice", "bias", "gy.sum(axis=(0, 2, 3))", "(gy * gy).sum(axis=(0, 2, 3))"),
    Mistake("order-swapped", "weight", RETURNED, "return gx, gbias, gweight"),
    Mistake("missing", "bias", RETURNED, "return gx, gweight, None"),
    Mistake("dtype", "weight", "np.zeros(weight.shape)", "np.zeros(weight.shape, dtype=np.float16)"),
]
