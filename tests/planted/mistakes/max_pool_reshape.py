from planted import Mistake, Rule

RULE = Rule("max_pool_reshape", target="forward, backward", shapes="n c 4 6")
MISTAKES = [
    Mistake("mask", "x", "mask = x_reshaped == out_newaxis", "mask = x_reshaped != out_newaxis"),
    Mistake("mask", "x", "mask = x_reshaped == out_newaxis", "mask = x_reshaped <= out_newaxis"),
    Mistake(
        "mask",
        "x",
        "mask = x_reshaped == out_newaxis",
        "mask = x_reshaped == x_reshaped.min(axis=(3, 5), keepdims=True)",
    ),
    Mistake(
        "mask", "x", "mask = x_reshaped == out_newaxis", "mask = x_reshaped == x_reshaped.max(axis=5, keepdims=True)"
    ),
    Mistake("mask", "x", "mask = x_reshaped == out_newaxis", "mask = (x_reshaped == out_newaxis) & (x_reshaped > 0)"),
    Mistake("factor", "x", "np.sum(mask, axis=(3, 5), keepdims=True)  # ties share", "4"),
    Mistake("factor", "x", "dx_reshaped[mask] = dout_broadcast[mask]", "dx_reshaped[mask] = 2 * dout_broadcast[mask]"),
    Mistake("upstream-ignored", "x", "dx_reshaped[mask] = dout_broadcast[mask]", "dx_reshaped[mask] = 1"),
    Mistake("upstream-twice", "x", "    return dx\n", "    return dx * dx_reshaped.reshape(x.shape)\n"),
    Mistake("sign", "x", "dx_reshaped[mask] = dout_broadcast[mask]", "dx_reshaped[mask] = -dout_broadcast[mask]"),
    Mistake(
        "permuted",
        "x",
        "dx = dx_reshaped.reshape(x.shape)",
        "dx = dx_reshaped.transpose(0, 1, 3, 2, 5, 4).reshape(x.shape)",
    ),
    Mistake(
        "permuted",
        "x",
        "dx = dx_reshaped.reshape(x.shape)",
        "dx = dx_reshaped.transpose(0, 1, 2, 4, 3, 5).reshape(x.shape)",
    ),
    Mistake(
        "shifted", "x", "dx = dx_reshaped.reshape(x.shape)", "dx = np.roll(dx_reshaped.reshape(x.shape), 1, axis=3)"
    ),
    Mistake("shifted", "x", "dx = dx_reshaped.reshape(x.shape)", "dx = dx_reshaped[..., ::-1].reshape(x.shape)"),
    Mistake(
        "in-place", "x", "dx_reshaped = np.zeros_like(x_reshaped)", "dx_reshaped = x_reshaped\n    dx_reshaped[...] = 0"
    ),
    Mistake(
        "in-place",
        "gy",
        "dx_reshaped[mask] = dout_broadcast[mask]",
        "dout *= 2\n    dx_reshaped[mask] = dout_broadcast[mask] / 2",
    ),
    Mistake("dtype", "x", "np.zeros_like(x_reshaped)", "np.zeros_like(x_reshaped, dtype=np.float16)"),
    Mistake(
        "nondeterministic",
        "x",
        "    return dx\n",
        "    return dx + 1e-3 * np.random.standard_normal(dx.shape)  # breaks ties\n",
    ),
]
