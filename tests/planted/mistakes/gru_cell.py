from planted import Mistake, Rule

RULE = Rule("gru_cell", target="gru_forward, gru_backward", shapes="n d, n h, d h, h h, d h, h h, d h, h h")
MISTAKES = [
    Mistake("path-dropped", "h", "grad_h = grad_h_new * z + grad_rh * r", "grad_h = grad_h_new * z"),
    Mistake("path-dropped", "h", "grad_h = grad_h_new * z + grad_rh * r", "grad_h = grad_rh * r"),
    Mistake("path-dropped", "h", '    grad_h = grad_h + grad_ar @ saved["Ur"].T\n', ""),
    Mistake("path-dropped", "x", ' + grad_ar @ saved["Wr"].T', ""),
    Mistake("path-dropped", "Wz", "grad_z = grad_h_new * (h - n)", "grad_z = grad_h_new * h"),
    Mistake(("parameter-missing", "wrong-saved"), "Wn", "grad_an = grad_n * (1 - n**2)", "grad_an = grad_n"),
    Mistake(
        ("overwrite", "path-dropped"),
        "h",
        'grad_h = grad_h + grad_az @ saved["Uz"].T',
        'grad_h = grad_az @ saved["Uz"].T',
    ),
    Mistake(
        ("overwrite", "path-dropped"),
        "h",
        'grad_h = grad_h + grad_ar @ saved["Ur"].T',
        'grad_h = grad_ar @ saved["Ur"].T',
    ),
    Mistake("sign", "Wz", "grad_z = grad_h_new * (h - n)", "grad_z = grad_h_new * (n - h)"),
    Mistake("sign", "Uz", "grad_z = grad_h_new * (h - n)", "grad_z = grad_h_new * (h + n)"),
    Mistake("sign", "h", "grad_h = grad_h + grad_az @", "grad_h = grad_h - grad_az @"),
    Mistake("wrong-saved", "Wn", "grad_n = grad_h_new * (1 - z)", "grad_n = grad_h_new * z"),
    Mistake("wrong-saved", "Un", '"Un": rh.T @ grad_an', '"Un": h.T @ grad_an'),
    Mistake("wrong-saved", "Wr", "grad_ar = grad_r * r * (1 - r)", "grad_ar = grad_r * z * (1 - z)"),
    Mistake("parameter-missing", "h", "grad_h = grad_h_new * z + grad_rh * r", "grad_h = grad_h_new * z + grad_rh"),
    Mistake("parameter-missing", "Wr", "grad_r = grad_rh * h", "grad_r = grad_rh"),
    Mistake(
        ("transposed", "jacobian-transposed"),
        "h",
        'grad_rh = grad_an @ saved["Un"].T',
        'grad_rh = grad_an @ saved["Un"]',
    ),
    Mistake("transposed", "Uz", '"Uz": h.T @ grad_az', '"Uz": grad_az.T @ h'),
    Mistake(
        "order-swapped",
        "Wz",
        '"Wz": x.T @ grad_az,\n        "Uz": h.T @ grad_az,\n        "Wr": x.T @ grad_ar,',
        '"Wr": x.T @ grad_az,\n        "Uz": h.T @ grad_az,\n        "Wz": x.T @ grad_ar,',
    ),
    Mistake("upstream-twice", "h", "grad_h = grad_h_new * z +", "grad_h = grad_h_new * grad_h_new * z +"),
    Mistake(("batch-mean-twice", "factor"), "Wn", '"Wn": x.T @ grad_an', '"Wn": x.T @ grad_an / len(x)'),
    Mistake("missing", "Un", '"Un": rh.T @ grad_an', '"Un": None'),
]
