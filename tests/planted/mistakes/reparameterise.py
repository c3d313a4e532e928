from planted import Mistake, Rule

RULE = Rule("reparameterise", target="sample", shapes="n d, n d, n d")
DLOGVAR = "dlogvar = dz * noise * std * 0.5"
MISTAKES = [
    Mistake("factor", "logvar", DLOGVAR, "dlogvar = dz * noise * std"),
    Mistake("factor", "logvar", DLOGVAR, "dlogvar = dz * noise * std * 2"),
    Mistake("parameter-missing", "logvar", DLOGVAR, "dlogvar = dz * std * 0.5"),
    Mistake("parameter-missing", "logvar", DLOGVAR, "dlogvar = dz * noise * 0.5"),
    Mistake("wrong-saved", "logvar", DLOGVAR, "dlogvar = dz * noise * std**2 * 0.5"),
    Mistake("wrong-saved", "logvar", DLOGVAR, "dlogvar = dz * z * std * 0.5"),
    Mistake("wrong-saved", "logvar", DLOGVAR, "dlogvar = dz * mu * std * 0.5"),
    Mistake("sign", "logvar", DLOGVAR, "dlogvar = -dz * noise * std * 0.5"),
    Mistake("sign", "mu", "dmu = dz.copy()", "dmu = -dz"),
    Mistake("nondeterministic", "logvar", DLOGVAR, "dlogvar = dz * np.random.standard_normal(mu.shape) * std * 0.5"),
    Mistake("parameter-missing", "noise", "dnoise = dz * std", "dnoise = dz"),
    Mistake("wrong-saved", "noise", "dnoise = dz * std", "dnoise = dz * logvar"),
    Mistake("missing", "noise", "dnoise = dz * std", "dnoise = np.zeros_like(noise)"),
    Mistake("upstream-ignored", "noise", "dnoise = dz * std", "dnoise = std"),
    Mistake("upstream-ignored", "mu", "dmu = dz.copy()", "dmu = np.ones_like(mu)"),
    Mistake("upstream-twice", "logvar", DLOGVAR, "dlogvar = dz * dz * noise * std * 0.5"),
    Mistake("order-swapped", "mu", "return dmu, dlogvar, dnoise", "return dlogvar, dmu, dnoise"),
    Mistake("order-swapped", "logvar", "return dmu, dlogvar, dnoise", "return dmu, dnoise, dlogvar"),
    Mistake(("batch-mean-twice", "factor"), "mu", "dmu = dz.copy()", "dmu = dz / len(mu)"),
    Mistake(
        "in-place",
        "gy",
        "dlogvar = dz * noise * std * 0.5\n        dnoise = dz * std",
        "dnoise = dz * std\n        dz *= noise\n        dlogvar = dz * std * 0.5",
    ),
    Mistake("in-place", "logvar", "std = np.exp(0.5 * logvar)", "logvar *= 0.5\n    std = np.exp(logvar)"),
]
