"""What computes a step: the loss, the gradients and the update, by the tape, layer by layer, or by PyTorch.

An engine is used in this order, and the parameters' `grad` may be looked at and changed between `backward` and `step`:

    loss = engine.forward(x, y)
    optimizer.zero_grad()
    engine.backward()
    engine.step()
"""

from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np

from chainrule.nn import Module
from chainrule.optim import Arrays, Optimizer, Trainable


class Engine(Protocol):
    """What the training loop asks of an engine."""

    outputs: np.ndarray  #: the logits of the latest `forward`

    def forward(self, x: np.ndarray, y: np.ndarray) -> float:
        """The loss of a batch."""

    def backward(self) -> None:
        """Adds the gradient of the latest `forward`'s loss to the `grad` of every parameter."""

    def step(self) -> None:
        """Updates the optimizer's parameters by their `grad`, at the optimizer's learning rate."""


def make_engine(name: str, model: Module, criterion: Module, optimizer: Optimizer) -> Engine:
    """The engine of this name: tape, layers or torch.

    Raises `UsageError` if it is torch and PyTorch is not installed.

    >>> from chainrule.nn import CrossEntropyLoss, Linear
    >>> from chainrule.optim import SGD
    >>> losses = []
    >>> for name in ENGINES:
    ...     model = Linear(2, 3, rng=np.random.default_rng(0))
    ...     engine = make_engine(name, model, CrossEntropyLoss(), SGD(model.parameters()))
    ...     losses.append(round(engine.forward(np.ones((1, 2), np.float32), np.array([2])), 4))
    >>> len(set(losses))
    1
    """
    return ENGINES[name](model, criterion, optimizer)


class Tape:
    """Reverse-mode autograd: one tape over the whole network."""

    def __init__(self, model: Module, criterion: Module, optimizer: Optimizer):
        self.model, self.criterion, self.step = model, criterion, optimizer.step

    def forward(self, x: np.ndarray, y: np.ndarray) -> float:
        """See `Engine`."""
        logits = self.model(x)
        self.outputs = logits.value
        self.loss = self.criterion(logits, y)
        return float(self.loss.value)

    def backward(self) -> None:
        """See `Engine`."""
        self.loss.backward()


class Layers:
    """Explicit backprop: every layer's `forward`, first to last, and every layer's `backward`, last to first."""

    def __init__(self, model: Module, criterion: Module, optimizer: Optimizer):
        self.model, self.criterion, self.step = model, criterion, optimizer.step

    def forward(self, x: np.ndarray, y: np.ndarray) -> float:
        """See `Engine`."""
        self.outputs = self.model.forward(x)
        return float(self.criterion.forward(self.outputs, y))

    def backward(self) -> None:
        """See `Engine`."""
        self.model.backward(self.criterion.backward())


class Torch:
    """PyTorch: the model, the loss and the optimizer translated, trained by PyTorch's autograd and optimizer.

    Parameters, running statistics and the optimizer's state stay where the model and the optimizer have them.
    """

    def __init__(self, model: Module, criterion: Module, optimizer: Optimizer):
        from chainrule.interop.torch import to_torch, to_torch_optimizer

        self.model, self.optimizer = model, optimizer
        self.net, self.criterion = to_torch(model), to_torch(criterion)
        twins = dict(self.net.named_parameters(remove_duplicate=False))
        self.pairs = [(p, twins[name]) for name, p in model.named_parameters()]
        of = {id(p): twin for p, twin in self.pairs}
        self.rule = to_torch_optimizer(optimizer, [of[id(p)] for p in optimizer.params])

    def forward(self, x: np.ndarray, y: np.ndarray) -> float:
        """See `Engine`."""
        from chainrule.interop.torch import as_tensor

        self.net.train(self.model.training)
        logits = self.net(as_tensor(x))
        self.outputs = logits.detach().numpy()
        self.loss = self.criterion(logits, as_tensor(y))
        return self.loss.item()

    def backward(self) -> None:
        """See `Engine`."""
        self._lend_gradients()
        self.loss.backward()
        for p, twin in self.pairs:
            p.grad = None if twin.grad is None else twin.grad.numpy()

    def step(self) -> None:
        """See `Engine`."""
        self._lend_gradients()
        counts = [int(state["step"]) + (p.grad is not None) for p, state in self._states()]
        for group in self.rule.param_groups:
            group["lr"] = self.optimizer.lr
        self.rule.step()
        for count, (_, state) in zip(counts, self._states(), strict=True):
            state["step"][...] = count  # PyTorch's SGD does not count

    def _states(self) -> Iterator[tuple[Trainable, Arrays]]:
        return zip(self.optimizer.params, self.optimizer.state, strict=True)

    def _lend_gradients(self) -> None:
        """PyTorch's parameters get the gradients that ours have."""
        from chainrule.interop.torch import as_tensor

        for p, twin in self.pairs:
            twin.grad = None if p.grad is None else as_tensor(p.grad)


ENGINES: dict[str, Callable[[Module, Module, Optimizer], Engine]] = {"tape": Tape, "layers": Layers, "torch": Torch}
