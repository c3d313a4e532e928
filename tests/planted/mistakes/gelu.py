from planted import Mistake, Rule

RULE = Rule("gelu", "gelu_fwd, gelu_bwd", shapes="n d -> n d")

MISTAKES = [
    Mistake("path-dropped", "x", "dy * (left + right)", "dy * left"),
    Mistake("path-dropped", "x", "dy * (left + right)", "dy * right"),
    Mistake("sign", "x", "left + right", "left - right"),
    Mistake("sign", "x", "1 - t**2", "1 + t**2"),
    Mistake("sign", "x", "C * (1 + 3", "C * (1 - 3"),
    Mistake("sign", "x", "left = 0.5 * (1 + t)", "left = 0.5 * (1 - t)"),
    Mistake("factor", "x", "1 + 3 * 0.044715", "1 + 2 * 0.044715"),
    Mistake("factor", "x", "1 + 3 * 0.044715", "1 + 0.044715"),
    Mistake("factor", "x", "left = 0.5 * (1 + t)", "left = 1 + t"),
    Mistake("parameter-missing", "x", "dinner = C * (", "dinner = ("),
    Mistake("parameter-missing", "x", "* sech2 * dinner", "* sech2"),
    Mistake("parameter-missing", "x", "right = 0.5 * x * sech2", "right = 0.5 * sech2"),
    Mistake("parameter-missing", "x", "* sech2 * dinner", "* dinner"),
    Mistake("wrong-saved", "x", "1 - t**2", "1 - x**2"),
    Mistake("upstream-ignored", "x", "dy * (left + right)", "left + right"),
    Mistake("upstream-ignored", "x", "dy * (left + right)", "dy * left + right"),
    Mistake("upstream-twice", "x", "dy * (left + right)", "dy * dy * (left + right)"),
    Mistake("missing", "x", "dy * (left + right)", "0 * dy"),
]
