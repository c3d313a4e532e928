"""The engines: how each library takes a step.

An engine's module has `prepare(task, variant)`, which returns `step` and the batches as the library wants them, so that
`step(*batch)` is what is measured, no more:

* training: forward, loss, backward and update; it returns the loss as a Python number;
* inference: it returns the logits, computed;
* an op: its value, and in training also the gradients of its inputs, computed;
* an optimizer: one update; it returns the parameters.

`VERSION` says which library that is. Importing the module raises ImportError where the library cannot be used here.
"""

# What loads an engine, and the way in which its module is to be used.
ENGINES = {
    "chainrule": ("chainrule", ""),
    "chainrule-numpy": ("chainrule", "numpy"),
    "torch": ("torch", ""),
    "torch-cl": ("torch", "channels-last"),
    "torch-compile": ("torch", "compile"),
    "jax": ("jax", ""),
    "sklearn": ("sklearn", ""),
    "tinygrad": ("tinygrad", ""),
    "autograd": ("autograd", ""),
}
PEERS = [name for name in ENGINES if not name.startswith("chainrule")]


def applies(engine, work):
    """Does this engine have what the work needs?"""
    match engine:
        case "torch-cl":
            return work.kind == "convnet" or work.network == "norm"
        case "sklearn":  # its Adam adds epsilon at another place, its other losses and layers do not exist
            return work.kind == "mlp" and work.optimizer == "sgd"
        case "tinygrad" | "autograd":
            return work.kind == "mlp"
    return True
