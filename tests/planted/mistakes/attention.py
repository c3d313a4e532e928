from planted import Mistake, Rule

RULE = Rule("attention", target="attention_forward, attention_backward", shapes="b t d, b s d, b s e")
MISTAKES = [
    Mistake(("parameter-missing", "factor"), "q", "dscores = dscores * scale", "dscores = dscores"),
    Mistake("factor", "q", "dscores = dscores * scale", "dscores = dscores * scale**2"),
    Mistake("factor", "k", "dscores = dscores * scale", "dscores = dscores * 0.5 * scale"),
    Mistake(
        ("parameter-missing", "factor"),
        "k",
        "dscores = dscores * scale\n    dq = dscores @ k",
        "dq = dscores * scale @ k",
    ),
    Mistake(
        ("elementwise-for-jacobian", "missing-sum"),
        "q",
        "dscores = attn * (dattn - dot)",
        "dscores = attn * (1 - attn) * dattn",
    ),
    Mistake("path-dropped", "k", "dscores = attn * (dattn - dot)", "dscores = attn * dattn"),
    Mistake("path-dropped", "q", "dscores = attn * (dattn - dot)", "dscores = -attn * dot"),
    Mistake("parameter-missing", "q", "dscores = attn * (dattn - dot)", "dscores = dattn - dot"),
    Mistake(("parameter-missing", "wrong-saved"), "q", "dscores = attn * (dattn - dot)", "dscores = dattn"),
    Mistake("sign", "q", "(dattn - dot)", "(dattn + dot)"),
    Mistake("sign", "k", "(dattn - dot)", "(dot - dattn)"),
    Mistake(
        ("missing-sum", "elementwise-for-jacobian"), "q", "np.sum(dattn * attn, axis=-1, keepdims=True)", "dattn * attn"
    ),
    Mistake(
        "mean-for-sum",
        "q",
        "np.sum(dattn * attn, axis=-1, keepdims=True)",
        "np.mean(dattn * attn, axis=-1, keepdims=True)",
    ),
    Mistake(
        "missing-sum",
        "q",
        "np.sum(dattn * attn, axis=-1, keepdims=True)",
        "np.sum(dattn * attn, axis=1, keepdims=True)",
    ),
    Mistake(
        "parameter-missing",
        "k",
        "np.sum(dattn * attn, axis=-1, keepdims=True)",
        "np.sum(dattn, axis=-1, keepdims=True)",
    ),
    Mistake("wrong-saved", "v", "return out, (q, k, v, attn, scale)", "return out, (q, k, v, scores, scale)"),
    Mistake("wrong-saved", "q", "dq = dscores @ k", "dq = attn @ k"),
    Mistake("order-swapped", "q", "return dq, dk, dv", "return dk, dq, dv"),
    Mistake("order-swapped", "v", "return dq, dk, dv", "return dv, dk, dq"),
    Mistake(
        "transposed",
        "k",
        "dk = dscores.transpose(0, 2, 1) @ q",
        "dk = (dscores.transpose(0, 2, 1) @ q).transpose(0, 2, 1)",
    ),
    Mistake(
        "upstream-ignored",
        "v",
        "dv = attn.transpose(0, 2, 1) @ dout",
        "dv = attn.transpose(0, 2, 1) @ np.ones_like(dout)",
    ),
    Mistake(
        "upstream-ignored",
        "q",
        "dattn = dout @ v.transpose(0, 2, 1)",
        "dattn = np.ones_like(dout) @ v.transpose(0, 2, 1)",
    ),
    Mistake(
        "in-place",
        "gy",
        "    dv = attn.transpose(0, 2, 1) @ dout",
        "    dout *= scale\n    dv = attn.transpose(0, 2, 1) @ dout / scale",
    ),
    Mistake("missing", "k", "return dq, dk, dv", "return dq, None, dv"),
]
