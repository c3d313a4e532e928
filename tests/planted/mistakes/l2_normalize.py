from planted import Mistake, Rule

RULE = Rule("l2_normalize", target="l2_normalize, l2_normalize_backward", shapes="n d -> n d")

RETURN = "return (gy - y * radial) / length"
RADIAL = "radial = np.sum(gy * y, axis=1, keepdims=True)"

MISTAKES = [
    Mistake("path-dropped", "x", RETURN, "return gy / length"),
    Mistake("path-dropped", "x", RETURN, "return -y * radial / length"),
    Mistake("sign", "x", RETURN, "return (gy + y * radial) / length"),
    Mistake("sign", "x", RETURN, "return (y * radial - gy) / length"),
    Mistake("factor", "x", RETURN, "return (gy - 2 * y * radial) / length"),
    Mistake("factor", "x", RETURN, "return (gy - 0.5 * y * radial) / length"),
    Mistake("parameter-missing", "x", RETURN, "return gy - y * radial"),
    Mistake("elementwise-for-jacobian", "x", RADIAL, "radial = gy * y"),
    Mistake("elementwise-for-jacobian", "x", RETURN, "return gy * (1 - y * y.sum(axis=1, keepdims=True)) / length"),
    Mistake("missing-sum", "x", RADIAL, "radial = np.sum(gy * y, axis=0, keepdims=True)"),
    Mistake(("mean-for-sum", "factor"), "x", RADIAL, "radial = np.mean(gy * y, axis=1, keepdims=True)"),
    Mistake("upstream-ignored", "x", RADIAL, "radial = np.sum(y, axis=1, keepdims=True)"),
    Mistake("upstream-ignored", "x", RETURN, "return (1 - y * np.sum(y, axis=1, keepdims=True)) / length"),
    Mistake("upstream-twice", "x", RETURN, "return gy * (gy - y * radial) / length"),
    Mistake("wrong-saved", "x", RADIAL, "radial = np.sum(gy * x, axis=1, keepdims=True)"),
    Mistake("wrong-saved", "x", RETURN, "return (gy - x * radial) / length"),
    Mistake("batch-mean-twice", "x", RETURN, "return (gy - y * radial) / length / len(x)"),
    Mistake("transposed", "x", RETURN, "return ((gy - y * radial) / length).T"),
    Mistake("missing", "x", RETURN, "return np.zeros_like(x)"),
    Mistake("in-place", "gy", RETURN, "gy -= y * radial\n    return gy / length"),
    Mistake("dtype", "x", RETURN, "return ((gy - y * radial) / length).astype(np.float16)"),
    Mistake(
        "eps",
        "x",
        "    y = x / length\n",
        "    length = np.sqrt((x * x).sum(axis=1, keepdims=True))\n    y = x / length\n",
    ),
    Mistake("eps", "x", "    y = x / length\n", "    y = x / length\n    length = np.sqrt(length**2 - 1e-3) + 1e-3\n"),
    Mistake("nondeterministic", "x", RADIAL, f"{RADIAL} * np.random.uniform(0.5, 1.5)"),
]
