"""Optimizers, learning-rate schedules and gradient clipping: one rule, one equation each.

An optimizer needs two things of a parameter: `value`, an array that it updates in place, and `grad`, an array of the
same shape, or None while the parameter has no gradient. Names, argument order, defaults and results are PyTorch's.

Every equation uses the same letters: θ is a parameter's value, g its gradient, η the learning rate (`lr`), λ the
weight decay, t = 1, 2, ... the number of updates that this parameter has had. Products, squares and roots are element
by element. Moving averages and buffers start at 0 unless the equation says otherwise. The code writes the moving
average β a + (1 − β) x as a + (1 − β) (x − a), which reaches a constant x exactly.
"""

import math
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import Annotated, Any, Literal, Protocol, get_args, get_origin, get_type_hints, runtime_checkable

import numpy as np

from chainrule.errors import UsageError, UserError

Arrays = dict[str, np.ndarray]

# A hyper-parameter's type says, as on paper, in which interval it must lie; `_check` reads it.
NonNegative = Annotated[float, "[0, inf)"]
Fraction = Annotated[float, "[0, 1)"]
Count = Annotated[int, "[0, inf)"]
Period = Annotated[int, "[1, inf)"]


@runtime_checkable
class Trainable(Protocol):
    """What an optimizer asks of a parameter: a floating-point array, and its gradient or None.

    >>> from types import SimpleNamespace
    >>> isinstance(SimpleNamespace(value=np.array([1.0]), grad=None), Trainable)
    True
    """

    value: np.ndarray
    grad: np.ndarray | None


def _require(name: str, value: Any, interval: str) -> None:
    low, high = (float(end) for end in interval[1:-1].split(","))
    closed_ends = [end for end, bracket in ((low, interval[0]), (high, interval[-1])) if bracket in "[]"]
    if not (isinstance(value, Real) and (low < float(value) < high or value in closed_ends)):
        raise UsageError(f"{name} is {value!r}, expected a number in {interval}")


def _check(name: str, value: Any, hint: Any) -> None:
    """Hold a hyper-parameter to its type: an interval, choices, or a tuple of types."""
    parts = get_args(hint)
    if get_origin(hint) is Literal and value not in parts:
        raise UsageError(f"{name} is {value!r}, expected one of {parts}")
    if get_origin(hint) is tuple:
        if not (isinstance(value, Sequence) and len(value) == len(parts)):
            raise UsageError(f"{name} is {value!r}, expected {len(parts)} numbers")
        for i, part in enumerate(parts):
            _check(f"{name}[{i}]", value[i], part)
    for interval in getattr(hint, "__metadata__", ()):
        _require(name, value, interval)


def _check_all(owner: object) -> None:
    for name, hint in get_type_hints(type(owner), include_extras=True).items():
        _check(name, getattr(owner, name), hint)


def _matching(owner: str, expected: Arrays, state_dict: Arrays) -> Arrays:
    """Return `state_dict` if its names, shapes and dtypes are those of `expected`; otherwise list the differences."""
    found = {name: np.asarray(array) for name, array in state_dict.items()}
    want, have = ({name: f"{a.dtype} {a.shape}" for name, a in arrays.items()} for arrays in (expected, found))
    differences = [
        f"{name} is {have.get(name, 'missing')}, expected {want.get(name, 'no such name')}"
        for name in want | have
        if have.get(name) != want.get(name)
    ]
    if differences:
        advice = f"Load a state that was saved from {owner} with the same arguments"
        raise UserError(f"this is not a state of this {owner}: {'; '.join(differences)}. {advice}")
    return found


@dataclass(eq=False)
class Optimizer(ABC):
    """What the optimizers share: the parameters, the learning rate, and state that can be saved.

    A rule adds `update` and, in `__post_init__`, its buffers. `state[i]` holds parameter i's arrays: `step`, the number
    of its updates, and the buffers.

    Args:
        params: the parameters, each a `Trainable`; kept as the list `params`.
        lr: the learning rate η, in [0, inf). The attribute can be read and set at any time.

    Raises:
        UsageError: no parameters, one given twice, one that is no `Trainable` or holds integers; `lr` out of range.

    >>> from types import SimpleNamespace
    >>> class SignDescent(Optimizer):
    ...     def update(self, value, g, state):
    ...         value -= self.lr * np.sign(g)
    >>> p = SimpleNamespace(value=np.array([1.0, 2.0]), grad=np.array([0.3, -5.0]))
    >>> SignDescent([p], lr=0.5).step()
    >>> p.value
    array([0.5, 2.5])
    """

    params: Iterable[Trainable] = field(repr=False)
    lr: NonNegative = 1e-3

    def __post_init__(self) -> None:
        if isinstance(self.params, Trainable):
            raise UsageError("params is one parameter, expected a list of parameters: [parameter]")
        params = self.params = list(self.params)
        if not params or len({id(p) for p in params}) < len(params):
            raise UsageError("params is empty or holds a parameter twice, expected one or more, each of them once")
        for i, p in enumerate(params):
            value = getattr(p, "value", None)
            if not (hasattr(p, "grad") and isinstance(value, np.ndarray) and np.issubdtype(value.dtype, np.floating)):
                found = f"{type(p).__name__} with a value of type {getattr(value, 'dtype', type(value).__name__)}"
                raise UsageError(f"params[{i}] is a {found}, expected a floating-point array `value`, and a `grad`")
        _check_all(self)
        self.lr = float(self.lr)
        self.initial_lr: float | None = None  # PyTorch's name for the learning rate that the first schedule found
        self.state: list[Arrays] = [{"step": np.zeros((), np.int64)} for _ in params]

    def add_buffers(self, *names: str, start: float = 0.0) -> None:
        """Give each parameter's state arrays of its shape and dtype, filled with `start`.

        >>> from types import SimpleNamespace
        >>> optimizer = SGD([SimpleNamespace(value=np.ones(2), grad=None)])
        >>> optimizer.add_buffers("velocity")
        >>> optimizer.state[0]["velocity"]
        array([0., 0.])
        """
        for p, state in zip(self.params, self.state, strict=True):
            state |= {name: np.full_like(p.value, start) for name in names}

    @abstractmethod
    def update(self, value: np.ndarray, g: np.ndarray, state: Arrays) -> None:
        """Apply the rule to one parameter: change `value` and the buffers in `state` in place, and leave `g` alone.

        Args:
            value: the parameter's value θ.
            g: its gradient, of the same shape.
            state: its `step` (t, this update counted) and its buffers.

        >>> from types import SimpleNamespace
        >>> value = np.array([1.0])
        >>> optimizer = SGD([SimpleNamespace(value=value, grad=None)], lr=0.1)
        >>> optimizer.update(value, np.array([2.0]), optimizer.state[0])
        >>> value
        array([0.8])
        """

    def step(self) -> None:
        """Update every parameter that has a gradient, in place; the others and their state stay as they are.

        Raises:
            UsageError: a gradient has another shape than its value; nothing is updated then.

        >>> from types import SimpleNamespace
        >>> p = SimpleNamespace(value=np.array([1.0]), grad=np.array([2.0]))
        >>> SGD([p], lr=0.1).step()
        >>> p.value
        array([0.8])
        """
        fused = FUSED.get(type(self))
        if fused is not None and fused(self):
            return
        for i, p in enumerate(self.params):
            if p.grad is not None and p.grad.shape != p.value.shape:
                raise UsageError(f"params[{i}].grad has shape {p.grad.shape}, expected its value's, {p.value.shape}")
        for p, state in zip(self.params, self.state, strict=True):
            if p.grad is not None:
                state["step"] += 1
                self.update(p.value, p.grad, state)

    def zero_grad(self) -> None:
        """Set every parameter's gradient to None.

        >>> from types import SimpleNamespace
        >>> p = SimpleNamespace(value=np.ones(2), grad=np.ones(2))
        >>> SGD([p]).zero_grad()
        >>> p.grad is None
        True
        """
        for p in self.params:
            p.grad = None

    def state_dict(self, *, copy: bool = True) -> Arrays:
        """Return copies of all that changes in training, by flat names: the learning rate and the arrays in `state`.

        With ``copy=False`` these are the arrays in `state` themselves, as in PyTorch. The learning rate is filed under
        the optimizer's name: Adam and AdamW keep the same arrays, and the state of the one must not pass for the
        other's. Unlike in PyTorch the other hyper-parameters are not part of it.

        >>> from types import SimpleNamespace
        >>> list(Adam([SimpleNamespace(value=np.ones(2), grad=None)]).state_dict())
        ['Adam.lr', '0.step', '0.exp_avg', '0.exp_avg_sq']
        """
        state_dict = {f"{type(self).__name__}.lr": np.array(self.lr, float)}
        for i, state in enumerate(self.state):
            state_dict |= {f"{i}.{name}": array.copy() if copy else array for name, array in state.items()}
        return state_dict

    def load_state_dict(self, state_dict: Arrays) -> None:
        """Take over what `state_dict` saved, bit for bit.

        Raises:
            UserError: it is another optimizer's state, or one for other parameters. The message lists the differences,
                and this optimizer stays as it was.

        >>> from types import SimpleNamespace
        >>> p = SimpleNamespace(value=np.ones(2), grad=np.ones(2))
        >>> first, second = SGD([p], lr=0.1, momentum=0.9), SGD([p], lr=0.5, momentum=0.9)
        >>> first.step()
        >>> second.load_state_dict(first.state_dict())
        >>> second.lr, second.state[0]["momentum_buffer"]
        (0.1, array([1., 1.]))
        """
        owner = type(self).__name__
        found = _matching(owner, self.state_dict(copy=False), state_dict)
        self.lr = float(found[f"{owner}.lr"])
        for i, state in enumerate(self.state):
            for name, array in state.items():
                array[...] = found[f"{i}.{name}"]


# A class -> a step of all parameters at once, which returns False, with nothing changed, where it cannot take it.
FUSED: dict[type[Optimizer], Callable[[Optimizer], bool]] = {}


@dataclass(eq=False)
class SGD(Optimizer):
    """Stochastic gradient descent, with momentum as an option.

        gₜ ← gₜ + λ θₜ₋₁
        bₜ = μ bₜ₋₁ + (1 − τ) gₜ,   b₁ = g₁
        dₜ = bₜ,   or with Nesterov  gₜ + μ bₜ,   or without momentum (μ = 0)  gₜ
        θₜ = θₜ₋₁ − η dₜ

    μ is `momentum`, τ `dampening`, b the buffer `momentum_buffer`.

    Args:
        params: the parameters.
        lr: η, in [0, inf).
        momentum: μ, in [0, inf).
        dampening: τ, any finite number.
        weight_decay: λ, in [0, inf).
        nesterov: whether the step looks ahead along the buffer. Needs μ > 0 and τ = 0.

    Raises:
        UsageError: an argument is out of range.

    Source: H. Robbins, S. Monro, *A stochastic approximation method*, 1951; momentum: B. Polyak, *Some methods of
    speeding up the convergence of iteration methods*, 1964; Nesterov's in this form: I. Sutskever et al., *On the
    importance of initialization and momentum in deep learning*, ICML 2013. There the buffer holds η as well
    (b ← μ b + η g); here, as in PyTorch, it does not, which differs once η changes.

    >>> from types import SimpleNamespace
    >>> p = SimpleNamespace(value=np.array([1.0]), grad=np.array([2.0]))
    >>> optimizer = SGD([p], lr=0.125, momentum=0.5)
    >>> optimizer.step()  # b = 2
    >>> optimizer.step()  # b = 0.5 * 2 + 2 = 3
    >>> p.value  # 1 - 0.125 * 2 - 0.125 * 3
    array([0.375])
    """

    momentum: NonNegative = 0
    dampening: Annotated[float, "(-inf, inf)"] = 0
    weight_decay: NonNegative = 0
    nesterov: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.nesterov and (self.momentum == 0 or self.dampening != 0):
            found = f"momentum {self.momentum!r} and dampening {self.dampening!r}"
            raise UsageError(f"nesterov is True with {found}, expected momentum above 0 and dampening 0")
        if self.momentum:
            self.add_buffers("momentum_buffer")

    def update(self, value: np.ndarray, g: np.ndarray, state: Arrays) -> None:  # noqa: D102
        if self.weight_decay:
            g = g + self.weight_decay * value
        if self.momentum:
            b = state["momentum_buffer"]
            if state["step"] == 1:
                b[...] = g
            else:
                b *= self.momentum
                b += (1 - self.dampening) * g
            g = g + self.momentum * b if self.nesterov else b
        value -= self.lr * g


def _adam_direction(g: np.ndarray, state: Arrays, betas: tuple[float, float], eps: float) -> np.ndarray:
    """m̂ / (√v̂ + ε), what Adam and AdamW multiply by η; brings m and v up to date."""
    beta1, beta2 = betas
    t = int(state["step"])  # NumPy's integer would make float64 of float32 below
    m, v = state["exp_avg"], state["exp_avg_sq"]
    m += (1 - beta1) * (g - m)
    v += (1 - beta2) * (g * g - v)
    return m / (1 - beta1**t) / (np.sqrt(v / (1 - beta2**t)) + eps)


@dataclass(eq=False)
class Adam(Optimizer):
    """Adam: the step is the mean of the gradients over the root of their mean square, both as moving averages.

        gₜ ← gₜ + λ θₜ₋₁
        mₜ = β₁ mₜ₋₁ + (1 − β₁) gₜ,    m̂ₜ = mₜ / (1 − β₁ᵗ)
        vₜ = β₂ vₜ₋₁ + (1 − β₂) gₜ²,   v̂ₜ = vₜ / (1 − β₂ᵗ)
        θₜ = θₜ₋₁ − η m̂ₜ / (√v̂ₜ + ε)

    The hats undo the pull of the averages towards their start at 0. m is the buffer `exp_avg`, v is `exp_avg_sq`.

    Args:
        params: the parameters.
        lr: η, in [0, inf).
        betas: (β₁, β₂), each in [0, 1).
        eps: ε, in [0, inf).
        weight_decay: λ, in [0, inf): the L2 penalty, which the division rescales; `AdamW` has the other kind.

    Raises:
        UsageError: an argument is out of range.

    Source: D. Kingma, J. Ba, *Adam: a method for stochastic optimization*, ICLR 2015, arXiv:1412.6980. PyTorch's
    `amsgrad` is another rule, and not here.

    >>> from types import SimpleNamespace
    >>> p = SimpleNamespace(value=np.array([1.0, 1.0]), grad=np.array([1e3, -1e-3]))
    >>> Adam([p], lr=0.5).step()
    >>> p.value.round(4)  # the first step is η sign(g), whatever the scale of g
    array([0.5, 1.5])
    """

    betas: tuple[Fraction, Fraction] = (0.9, 0.999)
    eps: NonNegative = 1e-8
    weight_decay: NonNegative = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.add_buffers("exp_avg", "exp_avg_sq")

    def update(self, value: np.ndarray, g: np.ndarray, state: Arrays) -> None:  # noqa: D102
        if self.weight_decay:
            g = g + self.weight_decay * value
        value -= self.lr * _adam_direction(g, state, self.betas, self.eps)


@dataclass(eq=False)
class AdamW(Optimizer):
    """Adam with decoupled weight decay: the decay acts on θ itself and passes by the averages.

        mₜ, vₜ, m̂ₜ, v̂ₜ as in `Adam` with λ = 0
        θₜ = (1 − η λ) θₜ₋₁ − η m̂ₜ / (√v̂ₜ + ε)

    m is the buffer `exp_avg`, v is `exp_avg_sq`.

    Args:
        params: the parameters.
        lr: η, in [0, inf).
        betas: (β₁, β₂), each in [0, 1).
        eps: ε, in [0, inf).
        weight_decay: λ, in [0, inf).

    Raises:
        UsageError: an argument is out of range.

    Source: I. Loshchilov, F. Hutter, *Decoupled weight decay regularization*, ICLR 2019, arXiv:1711.05101. There the
    decay is λ times the schedule's multiplier; here, as in PyTorch, it is η λ. PyTorch's `amsgrad` is another rule,
    and not here.

    >>> from types import SimpleNamespace
    >>> p = SimpleNamespace(value=np.array([1.0]), grad=np.array([0.0]))
    >>> AdamW([p], lr=0.5, weight_decay=0.5).step()
    >>> p.value  # no gradient: only the decay, 1 - 0.5 * 0.5
    array([0.75])
    """

    betas: tuple[Fraction, Fraction] = (0.9, 0.999)
    eps: NonNegative = 1e-8
    weight_decay: NonNegative = 1e-2

    def __post_init__(self) -> None:
        super().__post_init__()
        self.add_buffers("exp_avg", "exp_avg_sq")

    def update(self, value: np.ndarray, g: np.ndarray, state: Arrays) -> None:  # noqa: D102
        value *= 1 - self.lr * self.weight_decay
        value -= self.lr * _adam_direction(g, state, self.betas, self.eps)


@dataclass(eq=False)
class RMSprop(Optimizer):
    """RMSprop: the gradient over the root of its mean square, or of its variance, as a moving average.

        gₜ ← gₜ + λ θₜ₋₁
        vₜ = α vₜ₋₁ + (1 − α) gₜ²
        sₜ = vₜ,   or if centered  vₜ − ḡₜ²  with  ḡₜ = α ḡₜ₋₁ + (1 − α) gₜ
        dₜ = gₜ / (√sₜ + ε)
        bₜ = μ bₜ₋₁ + dₜ
        θₜ = θₜ₋₁ − η bₜ

    v is the buffer `square_avg`, ḡ is `grad_avg`, b is `momentum_buffer` (kept if μ > 0), μ is `momentum`. When a
    gradient hardly changes for a long time, rounding can make v − ḡ² negative and the step NaN, as in PyTorch.

    Args:
        params: the parameters.
        lr: η, in [0, inf).
        alpha: α, in [0, 1). (PyTorch lets 1 and more pass, for steps of g / ε and NaN.)
        eps: ε, in [0, inf).
        weight_decay: λ, in [0, inf).
        momentum: μ, in [0, inf).
        centered: whether to divide by the standard deviation instead of the root mean square.

    Raises:
        UsageError: an argument is out of range.

    Source: G. Hinton, *Neural networks for machine learning*, lecture 6e, 2012; centered: A. Graves, *Generating
    sequences with recurrent neural networks*, 2013, arXiv:1308.0850 (with ε inside the root; here, as in PyTorch,
    outside).

    >>> from types import SimpleNamespace
    >>> p = SimpleNamespace(value=np.array([1.0, 1.0]), grad=np.array([8.0, -2.0]))
    >>> RMSprop([p], lr=0.25, alpha=0.75).step()
    >>> p.value.round(4)  # the first step is η sign(g) / √(1 − α)
    array([0.5, 1.5])
    """

    lr: NonNegative = 1e-2
    alpha: Fraction = 0.99
    eps: NonNegative = 1e-8
    weight_decay: NonNegative = 0
    momentum: NonNegative = 0
    centered: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self.add_buffers("square_avg")
        if self.centered:
            self.add_buffers("grad_avg")
        if self.momentum:
            self.add_buffers("momentum_buffer")

    def update(self, value: np.ndarray, g: np.ndarray, state: Arrays) -> None:  # noqa: D102
        if self.weight_decay:
            g = g + self.weight_decay * value
        s = v = state["square_avg"]
        v += (1 - self.alpha) * (g * g - v)
        if self.centered:
            mean = state["grad_avg"]
            mean += (1 - self.alpha) * (g - mean)
            s = v - mean * mean
        d = g / (np.sqrt(s) + self.eps)
        if self.momentum:
            b = state["momentum_buffer"]
            b *= self.momentum
            b += d
            d = b
        value -= self.lr * d


@dataclass(eq=False)
class Adagrad(Optimizer):
    """Adagrad: the gradient over the root of the sum of all its squares so far.

        gₜ ← gₜ + λ θₜ₋₁
        Gₜ = Gₜ₋₁ + gₜ²,   G₀ = `initial_accumulator_value`
        θₜ = θₜ₋₁ − η / (1 + (t − 1) κ) · gₜ / (√Gₜ + ε)

    G is the buffer `sum`, κ `lr_decay`.

    Args:
        params: the parameters.
        lr: η, in [0, inf).
        lr_decay: κ, in [0, inf).
        weight_decay: λ, in [0, inf).
        initial_accumulator_value: G₀, in [0, inf).
        eps: ε, in [0, inf).

    Raises:
        UsageError: an argument is out of range.

    Source: J. Duchi, E. Hazan, Y. Singer, *Adaptive subgradient methods for online learning and stochastic
    optimization*, JMLR 12, 2011 (the diagonal form; κ is PyTorch's addition).

    >>> from types import SimpleNamespace
    >>> p = SimpleNamespace(value=np.array([1.0]), grad=np.array([3.0]))
    >>> Adagrad([p], lr=0.5, initial_accumulator_value=16.0).step()
    >>> p.value.round(4)  # 1 - 0.5 * 3 / sqrt(16 + 9)
    array([0.7])
    """

    lr: NonNegative = 1e-2
    lr_decay: NonNegative = 0
    weight_decay: NonNegative = 0
    initial_accumulator_value: NonNegative = 0
    eps: NonNegative = 1e-10

    def __post_init__(self) -> None:
        super().__post_init__()
        self.add_buffers("sum", start=self.initial_accumulator_value)

    def update(self, value: np.ndarray, g: np.ndarray, state: Arrays) -> None:  # noqa: D102
        if self.weight_decay:
            g = g + self.weight_decay * value
        t = int(state["step"])  # NumPy's integer would make float64 of float32 below
        G = state["sum"]
        G += g * g
        value -= self.lr / (1 + (t - 1) * self.lr_decay) * g / (np.sqrt(G) + self.eps)


def _schedule_state(schedule: "Schedule | ReduceLROnPlateau", names: tuple[str, ...]) -> Arrays:
    """The learning rate, filed as in `Optimizer.state_dict`, and the named numbers."""
    numbers = {name: np.array(getattr(schedule, name)) for name in names}
    return {f"{type(schedule).__name__}.lr": np.array(schedule.optimizer.lr, float)} | numbers


def _load_schedule_state(schedule: "Schedule | ReduceLROnPlateau", names: tuple[str, ...], state_dict: Arrays) -> None:
    owner = type(schedule).__name__
    found = _matching(owner, schedule.state_dict(), state_dict)
    schedule.optimizer.lr = float(found[f"{owner}.lr"])
    for name in names:
        setattr(schedule, name, found[name].item())


@dataclass(eq=False)
class Schedule(ABC):
    """A learning rate that follows a formula: each subclass gives the factor f(t) after t steps, its only equation.

        η(t) = η_min + (η₀ − η_min) f(t)

    η₀ is the learning rate that the optimizer had when its first schedule was made (`base_lr`), and η_min is 0 unless
    the schedule takes one. As in PyTorch a step starts from the present learning rate and not from η₀,

        η ← η_min + (η − η_min) f(t) / f(t − 1),

    so that several schedules can act on one optimizer, and a change made by hand lasts. Where f(t − 1) = 0, a step adds
    (η₀ − η_min) f(t) instead.

    Making a schedule sets the learning rate for t = 0. Call `step` after the optimizer's `step`, once for each t.

    Args:
        optimizer: the optimizer whose `lr` is set.

    >>> from types import SimpleNamespace
    >>> class Halving(Schedule):
    ...     def factor(self, t):
    ...         return 0.5**t
    >>> optimizer = SGD([SimpleNamespace(value=np.ones(2), grad=None)], lr=8.0)
    >>> schedule = Halving(optimizer)
    >>> schedule.step()
    >>> schedule.step()
    >>> optimizer.lr
    2.0
    """

    optimizer: Optimizer

    eta_min = 0.0
    _saved = ("base_lr", "last_epoch")

    def __post_init__(self) -> None:
        _check_all(self)
        if self.optimizer.initial_lr is None:
            self.optimizer.initial_lr = float(self.optimizer.lr)
        self.base_lr = self.optimizer.initial_lr
        self.begin(self.optimizer.lr)

    @abstractmethod
    def factor(self, t: int) -> float:
        """Return f(t), the learning rate after t steps as a fraction of the first one (both less η_min).

        >>> from types import SimpleNamespace
        >>> optimizer = SGD([SimpleNamespace(value=np.ones(2), grad=None)])
        >>> CosineAnnealingLR(optimizer, T_max=10).factor(5)
        0.5
        """

    def begin(self, lr: float) -> None:
        """Set t to 0 and the optimizer's learning rate to what the formula makes of `lr` there.

        >>> from types import SimpleNamespace
        >>> optimizer = SGD([SimpleNamespace(value=np.ones(2), grad=None)])
        >>> LinearLR(optimizer, start_factor=0.25).begin(0.8)
        >>> optimizer.lr
        0.2
        """
        self.last_epoch = 0
        self.optimizer.lr = self.eta_min + (lr - self.eta_min) * self.factor(0)

    def step(self) -> None:
        """Set the optimizer's learning rate for the next t.

        >>> from types import SimpleNamespace
        >>> optimizer = SGD([SimpleNamespace(value=np.ones(2), grad=None)], lr=0.5)
        >>> StepLR(optimizer, step_size=1, gamma=0.5).step()
        >>> optimizer.lr
        0.25
        """
        before, now = self.factor(self.last_epoch), self.factor(self.last_epoch + 1)
        self.last_epoch += 1
        if before == 0:
            self.optimizer.lr += (self.base_lr - self.eta_min) * now
        else:
            self.optimizer.lr = self.eta_min + (self.optimizer.lr - self.eta_min) * now / before

    def state_dict(self) -> Arrays:
        """Return what `load_state_dict` needs, as 0-d arrays: the present learning rate, η₀ and t.

        >>> from types import SimpleNamespace
        >>> optimizer = SGD([SimpleNamespace(value=np.ones(2), grad=None)], lr=0.5)
        >>> StepLR(optimizer, step_size=30).state_dict()
        {'StepLR.lr': array(0.5), 'base_lr': array(0.5), 'last_epoch': array(0)}
        """
        return _schedule_state(self, self._saved)

    def load_state_dict(self, state_dict: Arrays) -> None:
        """Continue where `state_dict` was taken, and set the optimizer's learning rate to what it was there.

        (PyTorch leaves the learning rate to the optimizer's own state, to be loaded after the schedule is made.)

        Raises:
            UserError: it is another schedule's state. The message lists the differences, and nothing is changed.

        >>> from types import SimpleNamespace
        >>> optimizer = SGD([SimpleNamespace(value=np.ones(2), grad=None)], lr=0.5)
        >>> schedule = StepLR(optimizer, step_size=1)
        >>> saved = schedule.state_dict()
        >>> schedule.step()
        >>> schedule.load_state_dict(saved)
        >>> optimizer.lr
        0.5
        """
        _load_schedule_state(self, self._saved, state_dict)


@dataclass(eq=False)
class StepLR(Schedule):
    """Multiply the learning rate by γ every `step_size` steps.

        f(t) = γ^⌊t / step_size⌋

    Args:
        optimizer: the optimizer whose `lr` is set.
        step_size: in [1, inf).
        gamma: γ, in [0, inf).

    Raises:
        UsageError: an argument is out of range.

    >>> from types import SimpleNamespace
    >>> optimizer = SGD([SimpleNamespace(value=np.ones(2), grad=None)], lr=1.0)
    >>> schedule, seen = StepLR(optimizer, step_size=2, gamma=0.5), []
    >>> for _ in range(5):
    ...     seen.append(optimizer.lr)
    ...     schedule.step()
    >>> seen
    [1.0, 1.0, 0.5, 0.5, 0.25]
    """

    step_size: Period
    gamma: NonNegative = 0.1

    def factor(self, t: int) -> float:  # noqa: D102
        return self.gamma ** (t // self.step_size)


@dataclass(eq=False)
class CosineAnnealingLR(Schedule):
    """Half a cosine from the first learning rate down to `eta_min` in `T_max` steps, and back up after that.

        f(t) = (1 + cos(π t / T_max)) / 2,   η_min = `eta_min`

    Args:
        optimizer: the optimizer whose `lr` is set.
        T_max: in [1, inf).
        eta_min: η_min, in [0, inf).

    Raises:
        UsageError: an argument is out of range.

    Source: I. Loshchilov, F. Hutter, *SGDR: stochastic gradient descent with warm restarts*, ICLR 2017,
    arXiv:1608.03983 (without the restarts, as in PyTorch).

    >>> from types import SimpleNamespace
    >>> optimizer = SGD([SimpleNamespace(value=np.ones(2), grad=None)], lr=1.0)
    >>> schedule, seen = CosineAnnealingLR(optimizer, T_max=4, eta_min=0.5), []
    >>> for _ in range(5):
    ...     seen.append(round(optimizer.lr, 3))
    ...     schedule.step()
    >>> seen
    [1.0, 0.927, 0.75, 0.573, 0.5]
    """

    T_max: Period
    eta_min: NonNegative = 0

    def factor(self, t: int) -> float:  # noqa: D102
        return (1 + math.cos(math.pi * t / self.T_max)) / 2


@dataclass(eq=False)
class LinearLR(Schedule):
    """A straight line from `start_factor` to `end_factor` in `total_iters` steps, then constant: the warm-up.

        f(t) = a + (b − a) min(t, T) / T

    a is `start_factor`, b `end_factor`, T `total_iters`.

    Args:
        optimizer: the optimizer whose `lr` is set.
        start_factor: a, in (0, 1].
        end_factor: b, in [0, 1].
        total_iters: T, in [1, inf).

    Raises:
        UsageError: an argument is out of range.

    Source: P. Goyal et al., *Accurate, large minibatch SGD: training ImageNet in 1 hour*, 2017, arXiv:1706.02677.

    >>> from types import SimpleNamespace
    >>> optimizer = SGD([SimpleNamespace(value=np.ones(2), grad=None)], lr=1.0)
    >>> schedule, seen = LinearLR(optimizer, start_factor=0.25, total_iters=3), []
    >>> for _ in range(5):
    ...     seen.append(optimizer.lr)
    ...     schedule.step()
    >>> seen
    [0.25, 0.5, 0.75, 1.0, 1.0]
    """

    start_factor: Annotated[float, "(0, 1]"] = 1 / 3
    end_factor: Annotated[float, "[0, 1]"] = 1.0
    total_iters: Period = 5

    def factor(self, t: int) -> float:  # noqa: D102
        return self.start_factor + (self.end_factor - self.start_factor) * min(t, self.total_iters) / self.total_iters


@dataclass(eq=False)
class SequentialLR:
    """One schedule after the other: schedule i + 1 takes over at step `milestones[i]`, from the first learning rate.

    Args:
        optimizer: the optimizer of all the schedules.
        schedulers: the schedules, in order; not a `ReduceLROnPlateau`, whose `step` needs a metric.
        milestones: the steps at which the next schedule begins: ascending integers, one fewer than the schedules.

    Raises:
        UsageError: no schedules, one of another optimizer or of the wrong kind, or milestones that do not fit.

    >>> from types import SimpleNamespace
    >>> optimizer = SGD([SimpleNamespace(value=np.ones(2), grad=None)], lr=1.0)
    >>> warm_up = LinearLR(optimizer, start_factor=0.25, total_iters=3)
    >>> cosine = CosineAnnealingLR(optimizer, T_max=2)
    >>> schedule, seen = SequentialLR(optimizer, [warm_up, cosine], milestones=[3]), []
    >>> for _ in range(6):
    ...     seen.append(optimizer.lr)
    ...     schedule.step()
    >>> seen
    [0.25, 0.5, 0.75, 1.0, 0.5, 0.0]
    """

    optimizer: Optimizer
    schedulers: Sequence[Schedule]
    milestones: Sequence[int]

    def __post_init__(self) -> None:
        for i, schedule in enumerate(self.schedulers):
            if not (isinstance(schedule, Schedule) and schedule.optimizer is self.optimizer):
                expected = "a StepLR, CosineAnnealingLR or LinearLR of the same optimizer"
                raise UsageError(f"schedulers[{i}] is a {type(schedule).__name__}, expected {expected}")
        starts = [0, *self.milestones]
        fits = len(starts) == len(self.schedulers) and all(isinstance(start, Integral) for start in starts)
        if not fits or sorted(starts) != starts:
            expected = f"ascending integers of at least 0, one fewer than the {len(self.schedulers)} schedulers"
            raise UsageError(f"milestones is {self.milestones!r}, expected {expected}")
        self.last_epoch = -1
        self.step()

    def step(self) -> None:
        """Take one step of the schedule whose turn it is.

        >>> from types import SimpleNamespace
        >>> optimizer = SGD([SimpleNamespace(value=np.ones(2), grad=None)], lr=0.5)
        >>> halve, rest = StepLR(optimizer, 1, gamma=0.5), StepLR(optimizer, 100)
        >>> SequentialLR(optimizer, [halve, rest], milestones=[1]).step()
        >>> optimizer.lr
        0.5
        """
        self.last_epoch += 1
        schedule = self.schedulers[bisect_right(self.milestones, self.last_epoch)]
        if self.last_epoch in (0, *self.milestones):
            schedule.begin(schedule.base_lr)
        else:
            schedule.step()

    def state_dict(self) -> Arrays:
        """Return the number of steps and every schedule's state, by flat names.

        >>> from types import SimpleNamespace
        >>> optimizer = SGD([SimpleNamespace(value=np.ones(2), grad=None)])
        >>> list(SequentialLR(optimizer, [StepLR(optimizer, 30)], milestones=[]).state_dict())
        ['last_epoch', '0.StepLR.lr', '0.base_lr', '0.last_epoch']
        """
        state_dict = {"last_epoch": np.array(self.last_epoch)}
        for i, schedule in enumerate(self.schedulers):
            state_dict |= {f"{i}.{name}": array for name, array in schedule.state_dict().items()}
        return state_dict

    def load_state_dict(self, state_dict: Arrays) -> None:
        """Continue where `state_dict` was taken, and set the optimizer's learning rate to what it was there.

        Raises:
            UserError: it is the state of other schedules. The message lists the differences, and nothing is changed.

        >>> from types import SimpleNamespace
        >>> optimizer = SGD([SimpleNamespace(value=np.ones(2), grad=None)], lr=0.5)
        >>> schedule = SequentialLR(optimizer, [StepLR(optimizer, 1)], milestones=[])
        >>> saved = schedule.state_dict()
        >>> schedule.step()
        >>> schedule.load_state_dict(saved)
        >>> optimizer.lr
        0.5
        """
        found = _matching(type(self).__name__, self.state_dict(), state_dict)
        self.last_epoch = int(found["last_epoch"])
        for i, schedule in enumerate(self.schedulers):
            schedule.load_state_dict({name: found[f"{i}.{name}"] for name in schedule.state_dict()})


@dataclass(eq=False)
class ReduceLROnPlateau:
    """Multiply the learning rate by `factor` when a metric has stopped improving.

    A metric m improves on the best one so far, m*, if

        m < m* (1 − threshold)   for mode "min", threshold_mode "rel"
        m < m* − threshold       for mode "min", threshold_mode "abs"
        m > m* (1 + threshold)   for mode "max", threshold_mode "rel"
        m > m* + threshold       for mode "max", threshold_mode "abs"

    and after more than `patience` steps in a row without an improvement η ← max(η · factor, min_lr). A NaN is no
    improvement.

    Args:
        optimizer: the optimizer whose `lr` is set.
        mode: "min" for a metric that should fall, "max" for one that should rise.
        factor: in [0, 1).
        patience: the number of steps without improvement that are let pass, in [0, inf).
        threshold: how much counts as an improvement, in [0, inf).
        threshold_mode: "rel", relative to the best metric, or "abs".
        cooldown: the number of steps after a reduction in which nothing counts against the metric, in [0, inf).
        min_lr: the learning rate is not reduced below this one, in [0, inf).
        eps: a reduction by no more than this is not made, in [0, inf).

    Raises:
        UsageError: an argument is out of range.

    >>> from types import SimpleNamespace
    >>> optimizer = SGD([SimpleNamespace(value=np.ones(2), grad=None)], lr=1.0)
    >>> schedule, seen = ReduceLROnPlateau(optimizer, factor=0.5, patience=1), []
    >>> for loss in [3.0, 2.0, 2.0, 2.0, 1.0]:
    ...     schedule.step(loss)
    ...     seen.append(optimizer.lr)
    >>> seen
    [1.0, 1.0, 1.0, 0.5, 0.5]
    """

    optimizer: Optimizer
    mode: Literal["min", "max"] = "min"
    factor: Fraction = 0.1
    patience: Count = 10
    threshold: NonNegative = 1e-4
    threshold_mode: Literal["rel", "abs"] = "rel"
    cooldown: Count = 0
    min_lr: NonNegative = 0
    eps: NonNegative = 1e-8

    _saved = ("best", "num_bad_epochs", "cooldown_counter")

    def __post_init__(self) -> None:
        _check_all(self)
        self.best = math.inf if self.mode == "min" else -math.inf
        self.num_bad_epochs = 0
        self.cooldown_counter = 0

    def _improves(self, metric: float) -> bool:
        margin = -self.threshold if self.mode == "min" else self.threshold
        bar = self.best * (1 + margin) if self.threshold_mode == "rel" else self.best + margin
        return metric < bar if self.mode == "min" else metric > bar

    def step(self, metric: float) -> None:
        """Count `metric`, for example the validation loss of an epoch, and lower the learning rate if it is time.

        >>> from types import SimpleNamespace
        >>> optimizer = SGD([SimpleNamespace(value=np.ones(2), grad=None)], lr=0.5)
        >>> schedule = ReduceLROnPlateau(optimizer, factor=0.5, patience=0)
        >>> schedule.step(1.0)
        >>> schedule.step(1.0)
        >>> optimizer.lr
        0.25
        """
        if self._improves(metric):
            self.best = float(metric)
            self.num_bad_epochs = 0
        else:
            self.num_bad_epochs += 1
        if self.cooldown_counter > 0:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > self.patience:
            reduced = max(self.optimizer.lr * self.factor, self.min_lr)
            if self.optimizer.lr - reduced > self.eps:
                self.optimizer.lr = reduced
            self.cooldown_counter = self.cooldown
            self.num_bad_epochs = 0

    def state_dict(self) -> Arrays:
        """Return what `load_state_dict` needs, as 0-d arrays: the present learning rate, the best metric, both counts.

        >>> from types import SimpleNamespace
        >>> optimizer = SGD([SimpleNamespace(value=np.ones(2), grad=None)])
        >>> list(ReduceLROnPlateau(optimizer).state_dict())
        ['ReduceLROnPlateau.lr', 'best', 'num_bad_epochs', 'cooldown_counter']
        """
        return _schedule_state(self, self._saved)

    def load_state_dict(self, state_dict: Arrays) -> None:
        """Continue where `state_dict` was taken, and set the optimizer's learning rate to what it was there.

        Raises:
            UserError: it is another schedule's state. The message lists the differences, and nothing is changed.

        >>> from types import SimpleNamespace
        >>> optimizer = SGD([SimpleNamespace(value=np.ones(2), grad=None)])
        >>> schedule = ReduceLROnPlateau(optimizer)
        >>> saved = schedule.state_dict()
        >>> schedule.step(1.0)
        >>> schedule.load_state_dict(saved)
        >>> schedule.best
        inf
        """
        _load_schedule_state(self, self._saved, state_dict)


def _with_grad(parameters: Trainable | Iterable[Trainable]) -> list[tuple[Trainable, np.ndarray]]:
    """Each parameter that has a gradient, with it; one parameter alone will do, as in PyTorch."""
    several = [parameters] if isinstance(parameters, Trainable) else parameters
    return [(p, p.grad) for p in several if p.grad is not None]


def clip_grad_norm_(
    parameters: Trainable | Iterable[Trainable],
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
) -> float:
    """Scale all gradients by one factor, so that their norm as one long vector is at most `max_norm`.

        ‖g‖ₚ = (Σᵢ |gᵢ|ᵖ)^(1/p),   or maxᵢ |gᵢ| for p = ∞
        g ← g · min(1, max_norm / (‖g‖ₚ + 10⁻⁶))

    Every clipped `grad` is a new array: gradients may share memory, and the old one may be read-only.

    Args:
        parameters: the parameters, or one of them; those without a gradient are passed over.
        max_norm: in [0, inf]; inf clips nothing.
        norm_type: p, or "inf".
        error_if_nonfinite: whether a norm that is NaN or infinite is an error. Otherwise it spoils the gradients: a NaN
            makes all of them NaN, an infinity makes them 0 and itself NaN.

    Returns:
        The norm before clipping; 0.0 without gradients.

    Raises:
        UsageError: `max_norm` is out of range.
        UserError: the norm is not finite and `error_if_nonfinite`; the gradients stay as they are.

    Source: R. Pascanu, T. Mikolov, Y. Bengio, *On the difficulty of training recurrent neural networks*, ICML 2013,
    arXiv:1211.5063.

    >>> from types import SimpleNamespace
    >>> p = SimpleNamespace(value=np.ones(2), grad=np.array([3.0, 4.0]))
    >>> clip_grad_norm_([p], max_norm=1.0)
    5.0
    >>> p.grad.round(4)
    array([0.6, 0.8])
    """
    _require("max_norm", max_norm, "[0, inf]")
    clipped = _with_grad(parameters)
    norms = [np.linalg.norm(g.ravel(), float(norm_type)) for _, g in clipped]
    total_norm = float(np.linalg.norm(norms, float(norm_type))) if norms else 0.0
    if error_if_nonfinite and not math.isfinite(total_norm):
        advice = "Lower the learning rate, or find the layer whose gradient is not finite"
        raise UserError(f"the norm of the gradients is {total_norm}, expected a finite one to clip by. {advice}")
    scale = float(np.minimum(max_norm / (total_norm + 1e-6), 1.0))  # np.minimum keeps a NaN
    for p, g in clipped:
        p.grad = g * scale
    return total_norm


def clip_grad_value_(parameters: Trainable | Iterable[Trainable], clip_value: float) -> None:
    """Clip every entry of every gradient.

        g ← min(max(g, −c), c),   c = `clip_value`

    Every clipped `grad` is a new array, as in `clip_grad_norm_`.

    Args:
        parameters: the parameters, or one of them; those without a gradient are passed over.
        clip_value: c, in [0, inf].

    Raises:
        UsageError: `clip_value` is out of range.

    >>> from types import SimpleNamespace
    >>> p = SimpleNamespace(value=np.ones(3), grad=np.array([-5.0, 0.5, 2.0]))
    >>> clip_grad_value_([p], clip_value=1.0)
    >>> p.grad
    array([-1. ,  0.5,  1. ])
    """
    _require("clip_value", clip_value, "[0, inf]")
    for p, g in _with_grad(parameters):
        p.grad = np.clip(g, -clip_value, clip_value)
