"""What transfer learning asks of a network: its classification layer, and parameters that are not trained."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from fnmatch import fnmatchcase

from chainrule.errors import UsageError
from chainrule.nn import Module


def classification_layer(model: Module) -> list[str]:
    """Names of the parameters of the layer that gives the logits: the last one, as modules are listed, that has any.

    >>> from chainrule.nn import Linear, ReLU, Sequential
    >>> classification_layer(Sequential(Linear(4, 3), ReLU(), Linear(3, 2), ReLU()))
    ['2.weight', '2.bias']
    """
    layers: dict[str, list[str]] = {}
    for name, _ in model.named_parameters():
        layers.setdefault(name.rpartition(".")[0], []).append(name)
    return layers[next(reversed(layers))] if layers else []


def freeze(model: Module, patterns: Sequence[str]) -> list[str]:
    """Parameters whose names match one of the patterns are not trained from here on: they get no gradient.

    Statistics that a layer keeps, such as batch norm's running mean, are no parameters: they go on being updated in
    training mode, as in PyTorch.

    Args:
        model: changed in place.
        patterns: as for file names: `*` stands for anything, also across dots, `?` for one character.

    Returns:
        The names of the parameters that match.

    Raises:
        UsageError: a pattern matches no parameter, or nothing would be left to train; then nothing is changed.

    >>> from chainrule.nn import Linear, Sequential
    >>> freeze(Sequential(Linear(4, 3), Linear(3, 2)), ["0.*"])
    ['0.weight', '0.bias']
    """
    parameters = dict(model.named_parameters())
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in parameters):
            raise UsageError(f"freeze: no parameter matches {pattern!r}; {_nearest(pattern, list(parameters))}")
    frozen = [name for name in parameters if any(fnmatchcase(name, pattern) for pattern in patterns)]
    if patterns and not any(parameter.requires_grad for name, parameter in parameters.items() if name not in frozen):
        raise UsageError(f"freeze: {', '.join(patterns)} matches every parameter, and nothing is left to train")
    for name in frozen:
        parameters[name].requires_grad = False
    return frozen


def _nearest(pattern: str, names: list[str]) -> str:
    if any(name.startswith(f"{pattern}.") for name in names):
        return f"did you mean '{pattern}.*'?"
    near = difflib.get_close_matches(pattern, names, n=3, cutoff=0.3) or names[:3]
    return f"the nearest names are {', '.join(near)}"
