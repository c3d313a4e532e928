from planted import Mistake, Rule

RULE = Rule("pairwise_distance", target="pairwise_sq_dist", shapes="n d, m d")
GX = 'return 2 * np.einsum("nm,nmd->nd", gD, diff)'
GY = "return -2 * weighted.sum(axis=0)"
MISTAKES = [
    Mistake("sign", "Y", GY, "return 2 * weighted.sum(axis=0)"),
    Mistake("sign", "X", GX, 'return -2 * np.einsum("nm,nmd->nd", gD, diff)'),
    Mistake("factor", "X", GX, 'return np.einsum("nm,nmd->nd", gD, diff)'),
    Mistake("factor", "Y", GY, "return -weighted.sum(axis=0)"),
    Mistake("factor", "Y", GY, "return -4 * weighted.sum(axis=0)"),
    Mistake(("mean-for-sum", "batch-mean-twice"), "Y", GY, "return -2 * weighted.mean(axis=0)"),
    Mistake("missing-sum", "Y", GY, "return -2 * weighted"),
    Mistake("missing-sum", "Y", GY, "return -2 * weighted.sum(axis=1)"),
    Mistake("missing-sum", "X", GX, 'return 2 * np.einsum("nm,nmd->nmd", gD, diff)'),
    Mistake("path-dropped", "X", GX, "return 2 * gD.sum(axis=1, keepdims=True) * X"),
    Mistake("path-dropped", "Y", GY, "return 2 * gD.sum(axis=0)[:, None] * Y"),
    Mistake("wrong-saved", "X", GX, 'return 2 * np.einsum("nm,nmd->nd", gD, diff**2)'),
    Mistake(("wrong-saved", "upstream-ignored"), "X", GX, 'return 2 * np.einsum("nm,nmd->nd", D, diff)'),
    Mistake("upstream-ignored", "X", GX, "return 2 * diff.sum(axis=1)"),
    Mistake("upstream-ignored", "Y", "weighted = gD[:, :, None] * diff", "weighted = diff"),
    Mistake("upstream-twice", "Y", "weighted = gD[:, :, None] * diff", "weighted = gD[:, :, None] ** 2 * diff"),
    Mistake("order-swapped", "X", "(pullback_x, pullback_y)", "(pullback_y, pullback_x)"),
    Mistake(
        "in-place",
        "gy",
        "        weighted = gD[:, :, None] * diff\n",
        "        gD *= -2\n        weighted = -gD[:, :, None] * diff / 2\n",
    ),
    Mistake("shifted", "X", GX, 'return 2 * np.einsum("nm,nmd->nd", gD, np.roll(diff, 1, axis=1))'),
]
