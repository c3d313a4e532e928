from planted import Mistake, Rule

RULE = Rule("rmsnorm", target="rms_norm", shapes="tokens dim, dim -> tokens dim")

GX = "gx = gnormed * inv_rms - x * inv_rms**3 * dot / d"

BLOCK = f"""\
gnormed = gy * weight
        dot = (gnormed * x).sum(axis=-1, keepdims=True)
        {GX}"""

MISTAKES = [
    Mistake("path-dropped", "x", GX, "gx = gnormed * inv_rms"),
    Mistake("sign", "x", "inv_rms - x *", "inv_rms + x *"),
    Mistake("sign", "x", "return gx, gweight", "return -gx, gweight"),
    Mistake("factor", "x", " * dot / d", " * dot"),
    Mistake("factor", "x", " * dot / d", " * dot / (2 * d)"),
    Mistake("parameter-missing", "x", "gnormed = gy * weight", "gnormed = gy"),
    Mistake(
        "jacobian-transposed", "x", BLOCK, BLOCK.replace("gy * weight", "gy").replace(GX, f"{GX}\n        gx *= weight")
    ),
    Mistake("missing-sum", "weight", "(gy * normed).sum(axis=0)", "gy * normed"),
    Mistake("missing-sum", "weight", "(gy * normed).sum(axis=0)", "(gy * normed).sum(axis=-1)"),
    Mistake(("mean-for-sum", "batch-mean-twice"), "weight", "(gy * normed).sum(axis=0)", "(gy * normed).mean(axis=0)"),
    Mistake("elementwise-for-jacobian", "x", "dot = (gnormed * x).sum(axis=-1, keepdims=True)", "dot = gnormed * x"),
    Mistake("upstream-ignored", "weight", "(gy * normed).sum(axis=0)", "normed.sum(axis=0)"),
    Mistake("upstream-ignored", "x", "dot = (gnormed * x)", "dot = (weight * x)"),
    Mistake("upstream-twice", "weight", "(gy * normed).sum(axis=0)", "(gy * gy * normed).sum(axis=0)"),
    Mistake("wrong-saved", "weight", "(gy * normed).sum(axis=0)", "(gy * x).sum(axis=0)"),
    Mistake("wrong-saved", "x", "dot = (gnormed * x)", "dot = (gnormed * normed)"),
    Mistake("wrong-saved", "x", "- x * inv_rms**3", "- y * inv_rms**3"),
    Mistake("ddof", "x", " * dot / d", " * dot / (d - 1)"),
    Mistake("order-swapped", "weight", "return gx, gweight", "return gweight, gx"),
    Mistake("missing", "weight", "return gx, gweight", "return gx, None"),
    Mistake("nondeterministic", "x", "d = x.shape[-1]", "d = x.shape[-1] * np.random.uniform(0.9, 1.1)"),
    Mistake("in-place", "gy", "gnormed = gy * weight", "gnormed = np.multiply(gy, weight, out=gy)"),
    Mistake("dtype", "x", "return gx, gweight", "return gx.astype(np.float16), gweight"),
]
