from planted import Mistake, Rule

RULE = Rule("rotary", target="rotary_forward, rotary_backward", shapes="b t 6")
TURN = "dx1 = d1 * cos + d2 * sin\n    dx2 = d2 * cos - d1 * sin"
MISTAKES = [
    Mistake(("jacobian-transposed", "sign"), "x", TURN, "dx1 = d1 * cos - d2 * sin\n    dx2 = d2 * cos + d1 * sin"),
    Mistake(("jacobian-transposed", "sign"), "x", "    cos, sin = cache\n", "    cos, sin = cache[0], -cache[1]\n"),
    Mistake(("elementwise-for-jacobian", "path-dropped"), "x", TURN, "dx1 = d1 * cos\n    dx2 = d2 * cos"),
    Mistake("path-dropped", "x", "dx2 = d2 * cos - d1 * sin", "dx2 = d2 * cos"),
    Mistake("path-dropped", "x", "dx1 = d1 * cos + d2 * sin", "dx1 = d2 * sin"),
    Mistake("sign", "x", "dx1 = d1 * cos + d2 * sin", "dx1 = d1 * cos - d2 * sin"),
    Mistake("sign", "x", "dx2 = d2 * cos - d1 * sin", "dx2 = d1 * sin - d2 * cos"),
    Mistake("wrong-saved", "x", "    cos, sin = cache\n", "    sin, cos = cache\n"),
    Mistake("wrong-saved", "x", "return out, (cos, sin)", "return out, (cos, theta)"),
    Mistake("wrong-saved", "x", "dx1 = d1 * cos + d2 * sin", "dx1 = d2 * cos + d1 * sin"),
    Mistake("parameter-missing", "x", "dx1 = d1 * cos + d2 * sin", "dx1 = d1 + d2 * sin"),
    Mistake("shifted", "x", "    cos, sin = cache\n", "    cos, sin = (np.roll(each, 1, axis=0) for each in cache)\n"),
    Mistake("permuted", "x", "np.concatenate([dx1, dx2], axis=-1)", "np.concatenate([dx2, dx1], axis=-1)"),
    Mistake(
        "permuted", "x", "np.concatenate([dx1, dx2], axis=-1)", "np.stack([dx1, dx2], axis=-1).reshape(dout.shape)"
    ),
    Mistake(
        "upstream-ignored",
        "x",
        "d1, d2 = dout[..., :half], dout[..., half:]",
        "d1, d2 = np.ones((2, *dout[..., :half].shape))",
    ),
    Mistake(
        "upstream-twice",
        "x",
        "return np.concatenate([dx1, dx2], axis=-1)",
        "return dout * np.concatenate([dx1, dx2], axis=-1)",
    ),
    Mistake(
        "factor", "x", "return np.concatenate([dx1, dx2], axis=-1)", "return np.concatenate([dx1, dx2], axis=-1) / half"
    ),
    Mistake("in-place", "gy", TURN, "dx1 = d1 * cos + d2 * sin\n    d1 *= sin\n    dx2 = d2 * cos - d1"),
]
