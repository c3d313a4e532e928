"""Questions about an autograd engine, answered by looking at it.

Run it with `python examples/engine_walk.py`.
"""

import inspect

import numpy as np

from chainrule import Tensor, engine


def main():
    W = Tensor([[0.5, -1.0], [2.0, 0.25]], requires_grad=True)
    x = Tensor([[1.0, 2.0]])
    k = x @ W
    y = np.exp(k).sum()

    print("The value of a node:              k.value =", k.value)
    print("What made it:                     k.source.op.name =", k.source.op.name)
    print("That node's inputs:               k.source.inputs[1] is W:", k.source.inputs[1] is W)
    print("and their values:                 k.source.inputs[0].value =", k.source.inputs[0].value)
    print("What the user made has no source: W.source =", W.source)
    print("Where the gradient is kept:       W.grad =", W.grad)

    print("\nWalking from the loss to the leaves:")
    node, depth = y, 0
    while node.source is not None:
        print("  " * depth, node.source)
        node, depth = node.source.inputs[0], depth + 1

    k.retain_grad()  # otherwise only tensors without a source keep their gradient
    y.backward()
    print("\nAfter y.backward():               W.grad =", W.grad.tolist())
    print("of a node in the middle:          k.grad =", k.grad.tolist())

    print("\nWhen is an operation node made? In Op.__call__, when an input wants a gradient:")
    print(line_of(engine.Op.__call__, "Source("))
    print("Where does backward call the rule's pullback? In the walk, one op at a time:")
    print(line_of(engine._pull, "pullbacks[i](gy)"))
    return k, y, W


def line_of(function, text):
    """The first line of a function's source that holds `text`, with its place in the file."""
    lines, first = inspect.getsourcelines(function)
    number, line = next((first + i, line) for i, line in enumerate(lines) if text in line)
    return f"  engine.py:{number}:  {line.strip()}"


if __name__ == "__main__":
    main()
