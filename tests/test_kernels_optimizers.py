"""The compiled optimizers: the path of the reference in float64, and what happens where they cannot be used."""

import copy
import gc
from types import SimpleNamespace

import numpy as np
import pytest

from chainrule import optim, using
from chainrule.errors import UsageError
from chainrule.kernels import optimizers

EPS = np.finfo(np.float32).eps
SHAPES = [(3, 5), (7,), (), (2, 1, 3), (1, 0), (4, 3, 5, 7), (130, 170)]
OPTIMIZERS = [
    ("SGD", {}),
    ("SGD", {"lr": 0.05, "weight_decay": 0.1}),
    ("SGD", {"lr": 0.02, "momentum": 0.9, "dampening": 0.3}),
    ("SGD", {"lr": 0.02, "momentum": 0.9, "weight_decay": 0.1}),
    ("SGD", {"lr": 0.02, "momentum": 0.5, "nesterov": True, "weight_decay": 0.1}),
    ("Adam", {"lr": 0.05}),
    ("Adam", {"lr": 0.05, "betas": (0.8, 0.0), "eps": 0.5}),
    ("Adam", {"lr": 0.05, "betas": (0.5, 0.9), "eps": 1e-2, "weight_decay": 0.1}),
    ("AdamW", {"lr": 0.05}),
    ("AdamW", {"lr": 0.05, "betas": (0.95, 0.98), "eps": 1e-3, "weight_decay": 0.5}),
    ("RMSprop", {"lr": 0.02, "alpha": 0.9, "weight_decay": 0.1}),
    ("RMSprop", {"lr": 0.005, "momentum": 0.9}),
    ("RMSprop", {"lr": 0.005, "alpha": 0.9, "centered": True, "eps": 1e-3}),
    ("RMSprop", {"lr": 0.002, "alpha": 0.9, "centered": True, "momentum": 0.8, "eps": 1e-3}),
    ("Adagrad", {"lr": 0.5, "lr_decay": 0.05}),
    ("Adagrad", {"lr": 0.5, "lr_decay": 0.01, "weight_decay": 0.1, "initial_accumulator_value": 0.1}),
]
each_optimizer = pytest.mark.parametrize(("name", "options"), OPTIMIZERS, ids=str)


def made(name, options, dtype=np.float32, shapes=SHAPES):
    rng = np.random.default_rng(1)
    values = [np.asarray(rng.normal(size=shape), np.float32).astype(dtype) for shape in shapes]
    return getattr(optim, name)([SimpleNamespace(value=value, grad=None) for value in values], **options)


def give_gradients(optimizer, t):
    """The same in every precision. Parameter 1 has a gradient at two steps in three, parameter 3 from step 4 on."""
    rng = np.random.default_rng(t)
    for i, p in enumerate(optimizer.params):
        g = np.asarray(1.0 + rng.normal(size=p.value.shape), np.float32).astype(p.value.dtype)
        p.grad = None if (i == 1 and t % 3 == 0) or (i == 3 and t < 4) else g


def run(optimizer, backend, steps=20, give=give_gradients):
    with using(backend):
        for t in range(steps):
            give(optimizer, t)
            optimizer.step()
    return optimizer


def is_fused(optimizer):
    with using("cpu"):
        return optimizers.step(optimizer)


def everything(optimizer):
    return {f"{i}.value": p.value for i, p in enumerate(optimizer.params)} | optimizer.state_dict()


def assert_equal_bits(a, b):
    a, b = everything(a), everything(b)
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)


def worst(optimizer, expected):
    """The largest error in any value or buffer, in units of the float32 rounding of its array's largest number."""
    ours, theirs = everything(optimizer), everything(expected)
    assert ours.keys() == theirs.keys()
    return max(
        np.max(np.abs(ours[name] - exact), initial=0) / (EPS * max(np.max(np.abs(exact), initial=0), 1))
        for name, exact in theirs.items()
    )


@each_optimizer
def test_20_steps_are_as_close_to_float64_as_the_reference(name, options):
    """Both round each step, in another order: the compiled one may be off by twice as much, and four roundings more."""
    expected = run(made(name, options, np.float64), None)
    reference = run(made(name, options), None)
    optimizer = run(made(name, options), "cpu")
    assert optimizers._tables[optimizer].usable
    assert worst(optimizer, expected) <= 2 * worst(reference, expected) + 4


@each_optimizer
def test_two_runs_give_the_same_bits(name, options):
    assert_equal_bits(run(made(name, options), "cpu"), run(made(name, options), "cpu"))


@each_optimizer
def test_gradients_in_any_memory_order(name, options):
    def other_order(optimizer, t):
        give_gradients(optimizer, t)
        for p in optimizer.params:
            if p.grad is not None:
                p.grad = np.array(p.grad, order="F") if t % 2 else np.repeat(p.grad[..., None], 2, -1)[..., 0]

    assert_equal_bits(run(made(name, options), "cpu", give=other_order), run(made(name, options), "cpu"))


def test_values_in_another_memory_order():
    shapes = [(5, 3, 4), (160, 170)]
    ours, expected = made("Adam", {}, shapes=shapes), made("Adam", {}, shapes=shapes)
    for p in ours.params:
        p.value = np.asfortranarray(p.value)
    ours = optim.Adam(ours.params)
    assert_equal_bits(run(ours, "cpu"), run(expected, "cpu"))
    assert is_fused(ours)


def test_a_gradient_that_is_one_array_for_all_steps_is_read_anew():
    """As where a step is replayed: the same array, with other numbers in it, in the value's order and in another."""
    for order in "CF":
        ours, expected = made("Adam", {}), made("Adam", {})
        grads = [np.zeros(p.value.shape, np.float32, order) for p in ours.params]

        def same_array(optimizer, t, grads=grads):
            give_gradients(optimizer, t)
            for p, g in zip(optimizer.params, grads, strict=True):
                if p.grad is not None:
                    g[...] = p.grad
                    p.grad = g

        assert_equal_bits(run(ours, "cpu", give=same_array), run(expected, "cpu"))


def test_hyper_parameters_are_read_in_every_step():
    ours, expected = made("SGD", {"momentum": 0.9}), made("SGD", {"momentum": 0.9}, np.float64)
    for optimizer, backend in ((ours, "cpu"), (expected, None)):
        run(optimizer, backend, 3)
        optimizer.lr, optimizer.momentum, optimizer.weight_decay = 0.5, 0.25, 0.125
        run(optimizer, backend, 3)
        optimizer.momentum = 0
        run(optimizer, backend, 3)
    assert worst(ours, expected) < 20


def test_a_buffer_that_is_missing_is_missed_as_in_the_reference():
    optimizer = made("SGD", {})
    optimizer.momentum = 0.9
    with pytest.raises(KeyError, match="momentum_buffer"):
        run(optimizer, "cpu", 1)


def test_arrays_that_are_replaced_are_noticed():
    ours, expected = made("Adam", {}), made("Adam", {})
    for optimizer in (ours, expected):
        run(optimizer, "cpu", 3)
        for p, state in zip(optimizer.params, optimizer.state, strict=True):
            if optimizer is ours:
                p.value = p.value.copy()
                state["exp_avg"], state["step"] = state["exp_avg"].copy(), state["step"].copy()
        gc.collect()
        run(optimizer, "cpu", 3)
    assert_equal_bits(ours, expected)


def test_a_copied_and_a_restored_optimizer_have_arrays_of_their_own():
    ours = run(made("Adam", {}), "cpu", 3)
    twin, restored = copy.deepcopy(ours), made("Adam", {})
    restored.load_state_dict(ours.state_dict())
    for p, q in zip(restored.params, ours.params, strict=True):
        p.value[...] = q.value
    for optimizer in (ours, twin, restored):
        run(optimizer, "cpu", 3)
    assert_equal_bits(ours, twin)
    assert_equal_bits(ours, restored)


def test_a_gradient_is_not_kept_alive():
    optimizer = run(made("SGD", {}), "cpu", 1)
    seen = [ref for ref in optimizers._tables[optimizer].seen if ref() is not None]
    assert seen
    optimizer.zero_grad()
    assert all(ref() is None for ref in seen)


def test_no_gradient_at_all_changes_nothing():
    ours, before = made("Adam", {}), made("Adam", {})
    run(ours, "cpu", give=lambda optimizer, t: None)
    assert_equal_bits(ours, before)


def test_infinite_values_stay_infinite():
    optimizer = made("SGD", {}, shapes=[(2,)])
    optimizer.params[0].value[0] = np.inf
    run(optimizer, "cpu", 1)
    assert optimizer.params[0].value[0] == np.inf
    assert np.isfinite(optimizer.params[0].value[1])


# ------------------------------------------------------------------------------------------- what the reference does


def test_only_with_kernels_in_use():
    optimizer = made("SGD", {})
    give_gradients(optimizer, 0)
    assert not optimizers.step(optimizer)
    assert is_fused(optimizer)


def with_float64():
    return made("SGD", {}, np.float64)


def with_a_float64_gradient():
    optimizer = made("SGD", {})
    give_gradients(optimizer, 0)
    optimizer.params[-1].grad = optimizer.params[-1].grad.astype(np.float64)
    return optimizer


def with_gaps():
    optimizer = made("SGD", {})
    optimizer.params[0].value = np.zeros((3, 10), np.float32)[:, ::2]
    return optimizer


def with_shared_memory():
    optimizer = made("SGD", {}, shapes=[(3, 5)])
    twin = SimpleNamespace(value=optimizer.params[0].value[1:], grad=None)
    return optim.SGD([*optimizer.params, twin])


@pytest.mark.parametrize("make", [with_float64, with_a_float64_gradient, with_gaps, with_shared_memory])
def test_left_to_the_reference(make):
    ours, expected = make(), make()
    assert not is_fused(ours)
    for optimizer, backend in ((ours, "cpu"), (expected, None)):
        with using(backend):
            for t in range(3):
                for p in optimizer.params:
                    p.grad = p.grad if p.grad is not None and t == 0 else np.full_like(p.value, t + 1)
                optimizer.step()
    if make is not with_a_float64_gradient:  # which the compiled loop takes over after the first step
        assert_equal_bits(ours, expected)
    assert worst(ours, expected) < 2


def test_a_rule_of_ones_own_is_used():
    class Backwards(optim.SGD):
        def update(self, value, g, state):
            value += self.lr * g

    p = SimpleNamespace(value=np.ones(2, np.float32), grad=np.ones(2, np.float32))
    with using("cpu"):
        Backwards([p], lr=0.5).step()
    assert p.value.tolist() == [1.5, 1.5]


def test_a_gradient_of_another_shape_is_refused_before_anything_moves():
    ours, before = made("SGD", {}), made("SGD", {})
    give_gradients(ours, 1)
    ours.params[1].grad = np.ones((1, 7), np.float32)
    with using("cpu"), pytest.raises(UsageError, match=r"params\[1\].grad has shape \(1, 7\)"):
        ours.step()
    assert_equal_bits(ours, before)
