from planted import Mistake, Rule

RULE = Rule("cosine_similarity", target="cosine_forward, cosine_backward", shapes="a: n d, b: n d -> n")
DA = "da = g * (b / (na * nb) - c * a / na**2)"
DB = "db = g * (a / (na * nb) - c * b / nb**2)"
MISTAKES = [
    Mistake("path-dropped", "a", DA, "da = g * b / (na * nb)"),
    Mistake("path-dropped", "b", DB, "db = g * a / (na * nb)"),
    Mistake("path-dropped", "b", DB, "db = -g * c * b / nb**2"),
    Mistake("sign", "a", DA, "da = g * (b / (na * nb) + c * a / na**2)"),
    Mistake("sign", "b", DB, "db = g * (c * b / nb**2 - a / (na * nb))"),
    Mistake("wrong-saved", "a", DA, "da = g * (b / (na * nb) - c * a / nb**2)"),
    Mistake("wrong-saved", "b", DB, "db = g * (a / (na * nb) - c * a / nb**2)"),
    Mistake("wrong-saved", "b", DB, "db = g * (b / (na * nb) - c * b / nb**2)"),
    Mistake("parameter-missing", "a", DA, "da = g * (b / (na * nb) - a / na**2)"),
    Mistake("parameter-missing", "b", DB, "db = g * (a / na - c * b / nb**2)"),
    Mistake("factor", "a", DA, "da = g * (b / (na * nb) - 2 * c * a / na**2)"),
    Mistake(("parameter-missing", "wrong-saved"), "a", DA, "da = g * (b / (na * nb) - c * a / na)"),
    Mistake("eps", "a", DA, "da = g * (b / (na * nb) - c * a / (na**2 - EPS))"),
    Mistake("eps", "b", DB, "db = g * (a / (na * nb) - c * b / (nb**2 + EPS))"),
    Mistake("eps", "a", "return cos, (a, b, na, nb, cos)", "return cos, (a, b, np.linalg.norm(a, axis=1), nb, cos)"),
    Mistake(
        "eps", "b", "return cos, (a, b, na, nb, cos)", "return cos, (a, b, na, np.linalg.norm(b, axis=1) + EPS, cos)"
    ),
    Mistake("upstream-ignored", "a", DA, "da = b / (na * nb) - c * a / na**2"),
    Mistake("upstream-twice", "b", DB, "db = g * g * (a / (na * nb) - c * b / nb**2)"),
    Mistake("order-swapped", "a", "return da, db", "return db, da"),
    Mistake("missing", "b", "return da, db", "return da, None"),
    Mistake(("batch-mean-twice", "factor"), "a", "return da, db", "return da / len(a), db"),
    Mistake("in-place", "a", "    return da, db", "    a /= na\n    return da, db"),
]
