"""Optimizers, schedules and clipping against PyTorch, and what they promise about state, memory and bad arguments."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from chainrule import optim
from chainrule.errors import UsageError, UserError

SHAPES = [(3, 5), (7,), (), (2, 1, 3), (1, 0)]
STEPS = 200


def parameter(value, grad=None):
    return SimpleNamespace(value=np.array(value), grad=None if grad is None else np.array(grad))


def start_values(dtype=np.float64):
    rng = np.random.default_rng(1)
    return [rng.normal(size=shape).astype(dtype) for shape in SHAPES]


def gradients(values, t):
    """A bowl with ripples and noise. Parameter 1 has a gradient at two steps in three, parameter 3 from step 10 on."""
    rng = np.random.default_rng(t)
    targets = np.random.default_rng(0)
    grads = []
    for i, value in enumerate(values):
        target, noise = targets.normal(size=value.shape), rng.normal(size=value.shape)
        grad = (0.5 + i) * (value - target) + 0.3 * np.cos(3 * value) + 0.2 * noise
        absent = (i == 1 and t % 3 == 0) or (i == 3 and t < 10)
        grads.append(None if absent else np.asarray(grad, dtype=value.dtype))
    return grads


def ours(name, options, steps=STEPS, dtype=np.float64):
    params = [parameter(value) for value in start_values(dtype)]
    optimizer = getattr(optim, name)(params, **options)
    for t in range(steps):
        for p, grad in zip(params, gradients([p.value for p in params], t), strict=True):
            p.grad = grad
        optimizer.step()
        yield [p.value.copy() for p in params]


def pytorchs(name, options, steps=STEPS, dtype=np.float64):
    params = [torch.tensor(value, requires_grad=True) for value in start_values(dtype)]
    optimizer = getattr(torch.optim, name)(params, **options)
    for t in range(steps):
        for p, grad in zip(params, gradients([p.detach().numpy() for p in params], t), strict=True):
            p.grad = None if grad is None else torch.tensor(grad)
        optimizer.step()
        yield [p.detach().numpy().copy() for p in params]


def assert_same_path(name, options, steps=STEPS, dtype=np.float64, rtol=1e-10):
    runs = zip(ours(name, options, steps, dtype), pytorchs(name, options, steps, dtype), strict=True)
    for t, (mine, theirs) in enumerate(runs):
        for i, (a, b) in enumerate(zip(mine, theirs, strict=True)):
            assert a.dtype == b.dtype == dtype
            np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol / 100, err_msg=f"parameter {i} after step {t}")


OPTIMIZERS = [
    ("SGD", {}),
    ("SGD", {"lr": 0.05}),
    ("SGD", {"lr": 0.05, "weight_decay": 0.1}),
    ("SGD", {"lr": 0.02, "momentum": 0.9}),
    ("SGD", {"lr": 0.02, "momentum": 0.9, "dampening": 0.3}),
    ("SGD", {"lr": 0.02, "momentum": 0.9, "dampening": 1.0, "weight_decay": 0.1}),
    ("SGD", {"lr": 0.02, "momentum": 0.9, "nesterov": True}),
    ("SGD", {"lr": 0.02, "momentum": 0.5, "nesterov": True, "weight_decay": 0.1}),
    ("Adam", {}),
    ("Adam", {"lr": 0.05}),
    ("Adam", {"lr": 0.05, "betas": (0.0, 0.5)}),
    ("Adam", {"lr": 0.05, "betas": (0.8, 0.0), "eps": 0.5}),
    ("Adam", {"lr": 0.05, "betas": (0.5, 0.9), "eps": 1e-2, "weight_decay": 0.1}),
    ("AdamW", {}),
    ("AdamW", {"lr": 0.05}),
    ("AdamW", {"lr": 0.05, "betas": (0.95, 0.98), "eps": 1e-3, "weight_decay": 0.5}),
    ("AdamW", {"lr": 0.05, "weight_decay": 0}),
    ("RMSprop", {}),
    ("RMSprop", {"lr": 0.02, "alpha": 0.9, "eps": 1e-3}),
    ("RMSprop", {"lr": 0.02, "alpha": 0.9, "weight_decay": 0.1}),
    ("RMSprop", {"lr": 0.005, "momentum": 0.9}),
    ("RMSprop", {"lr": 0.005, "alpha": 0.9, "centered": True, "eps": 1e-3}),
    ("RMSprop", {"lr": 0.002, "alpha": 0.9, "centered": True, "momentum": 0.8, "weight_decay": 0.1, "eps": 1e-3}),
    ("Adagrad", {}),
    ("Adagrad", {"lr": 0.5}),
    ("Adagrad", {"lr": 0.5, "lr_decay": 0.05}),
    ("Adagrad", {"lr": 0.5, "initial_accumulator_value": 0.7, "eps": 1e-3}),
    ("Adagrad", {"lr": 0.5, "lr_decay": 0.01, "weight_decay": 0.1, "initial_accumulator_value": 0.1}),
]
each_optimizer = pytest.mark.parametrize(("name", "options"), OPTIMIZERS)


@each_optimizer
def test_200_steps_equal_pytorchs(name, options):
    assert_same_path(name, options)


@each_optimizer
def test_float32_stays_float32_and_close_to_pytorchs(name, options):
    assert_same_path(name, options, steps=30, dtype=np.float32, rtol=1e-4)


fractions = st.floats(0, 0.99)
memories = st.floats(
    0.3, 0.999
)  # with less, the step jumps where a gradient changes sign: no two roundings agree there
decays = st.sampled_from([0, 0.01, 0.3])
epsilons = st.sampled_from([1e-8, 1e-4, 0.1])
rates = st.floats(1e-4, 0.05)
HYPER_PARAMETERS = {
    "SGD": {"lr": rates, "momentum": fractions, "dampening": st.floats(-0.5, 1), "weight_decay": decays},
    "Adam": {"lr": rates, "betas": st.tuples(fractions, memories), "eps": epsilons, "weight_decay": decays},
    "AdamW": {"lr": rates, "betas": st.tuples(fractions, memories), "eps": epsilons, "weight_decay": decays},
    "RMSprop": {"lr": rates, "alpha": memories, "eps": epsilons, "weight_decay": decays, "momentum": fractions},
    "Adagrad": {"lr": rates, "lr_decay": decays, "weight_decay": decays, "eps": epsilons},
}


@pytest.mark.parametrize("name", HYPER_PARAMETERS)
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_any_hyper_parameters_equal_pytorchs(name, data):
    assert_same_path(name, data.draw(st.fixed_dictionaries(HYPER_PARAMETERS[name])), steps=12)


@each_optimizer
def test_updates_are_in_place_and_leave_the_gradient_alone(name, options):
    storage = np.linspace(-1, 1, 24).reshape(4, 6)
    before = storage.copy()
    p = SimpleNamespace(value=storage[1:, ::2], grad=np.full((3, 3), 0.5))
    optimizer = getattr(optim, name)([p], **options)
    view = p.value
    for _ in range(3):
        optimizer.step()
    assert p.value is view
    assert (storage[1:, ::2] != before[1:, ::2]).all()
    np.testing.assert_array_equal(storage[0], before[0])
    np.testing.assert_array_equal(storage[:, 1::2], before[:, 1::2])
    np.testing.assert_array_equal(p.grad, np.full((3, 3), 0.5))


def test_centered_rmsprop_survives_a_constant_gradient():
    p = parameter(np.zeros(1000, np.float32), np.random.default_rng(0).normal(size=1000).astype(np.float32))
    optimizer = optim.RMSprop([p], centered=True)
    for _ in range(2000):
        optimizer.step()
    assert np.isfinite(p.value).all()


def test_a_parameter_without_gradient_is_left_alone_with_its_state():
    p, q = parameter([1.0], [1.0]), parameter([2.0])
    optimizer = optim.Adam([p, q], weight_decay=0.1)
    optimizer.step()
    assert q.value == 2.0
    assert {name: state.tolist() for name, state in optimizer.state[1].items()} == {
        "step": 0,
        "exp_avg": [0.0],
        "exp_avg_sq": [0.0],
    }


def test_zero_grad_removes_gradients():
    p, q = parameter([1.0], [1.0]), parameter([2.0])
    optim.SGD([p, q]).zero_grad()
    assert p.grad is None
    assert q.grad is None


def test_parameters_may_come_from_a_generator():
    params = [parameter([1.0], [1.0]), parameter([2.0], [1.0])]
    optimizer = optim.SGD((p for p in params), lr=1.0)
    optimizer.step()
    assert [p.value.tolist() for p in params] == [[0.0], [1.0]]
    assert optimizer.params == params


def test_repr_states_the_hyper_parameters():
    assert repr(optim.Adam([parameter([1.0])], lr=0.5)) == "Adam(lr=0.5, betas=(0.9, 0.999), eps=1e-08, weight_decay=0)"


# --- state


@each_optimizer
def test_state_survives_saving_bit_for_bit(name, options, tmp_path):
    uninterrupted = list(ours(name, options, steps=30))

    params = [parameter(value) for value in start_values()]
    optimizer = getattr(optim, name)(params, **options)
    for t in range(30):
        if t == 17:
            np.savez(tmp_path / "state.npz", **optimizer.state_dict())
            params = [parameter(p.value) for p in params]
            optimizer = getattr(optim, name)(params, **{**options, "lr": 123.0})
            with np.load(tmp_path / "state.npz") as saved:
                optimizer.load_state_dict(dict(saved))
        for p, grad in zip(params, gradients([p.value for p in params], t), strict=True):
            p.grad = grad
        optimizer.step()
    for p, expected in zip(params, uninterrupted[-1], strict=True):
        np.testing.assert_array_equal(p.value, expected)


def test_state_dict_holds_flat_arrays_that_later_steps_do_not_change():
    p = parameter([1.0, 2.0], [1.0, 1.0])
    optimizer = optim.SGD([p], lr=0.5, momentum=0.9)
    optimizer.step()
    saved = optimizer.state_dict()
    optimizer.step()
    assert {name: array.tolist() for name, array in saved.items()} == {
        "SGD.lr": 0.5,
        "0.step": 1,
        "0.momentum_buffer": [1.0, 1.0],
    }
    assert all(isinstance(array, np.ndarray) for array in saved.values())


def test_loaded_state_is_a_copy():
    optimizer = optim.SGD([parameter([1.0], [1.0])], momentum=0.9)
    saved = optimizer.state_dict()
    optimizer.load_state_dict(saved)
    optimizer.step()
    assert saved["0.momentum_buffer"] == 0
    assert saved["0.step"] == 0


WRONG_STATES = {
    "another optimizer": (
        lambda: optim.SGD([parameter(np.ones((2, 3)))], momentum=0.9).state_dict(),
        ["Adam.lr is missing", "SGD.lr is float64 (), expected no such name", "0.exp_avg is missing"],
    ),
    "AdamW, which has the same arrays": (
        lambda: optim.AdamW([parameter(np.ones((2, 3)))]).state_dict(),
        ["Adam.lr is missing", "AdamW.lr is float64 (), expected no such name"],
    ),
    "another shape": (
        lambda: optim.Adam([parameter(np.ones((3, 2)))]).state_dict(),
        ["0.exp_avg is float64 (3, 2), expected float64 (2, 3)", "0.exp_avg_sq is float64 (3, 2)"],
    ),
    "another dtype": (
        lambda: optim.Adam([parameter(np.ones((2, 3), np.float32))]).state_dict(),
        ["0.exp_avg is float32 (2, 3), expected float64 (2, 3)"],
    ),
    "more parameters": (
        lambda: optim.Adam([parameter(np.ones((2, 3))), parameter([1.0])]).state_dict(),
        ["1.exp_avg is float64 (1,), expected no such name", "1.step is int64 ()"],
    ),
    "nothing": (dict, ["Adam.lr is missing, expected float64 ()", "0.step is missing"]),
}


@pytest.mark.parametrize(("make", "expected"), WRONG_STATES.values(), ids=WRONG_STATES)
def test_a_wrong_state_is_refused_with_its_differences_and_changes_nothing(make, expected):
    p = parameter(np.ones((2, 3)), np.ones((2, 3)))
    optimizer = optim.Adam([p], lr=0.25)
    optimizer.step()
    before = optimizer.state_dict()
    with pytest.raises(UserError) as error:
        optimizer.load_state_dict(make())
    for difference in expected:
        assert difference in str(error.value)
    after = optimizer.state_dict()
    assert before.keys() == after.keys()
    for name in before:
        np.testing.assert_array_equal(after[name], before[name])


# --- bad arguments


@pytest.mark.parametrize(
    ("make", "name", "found"),
    [
        (lambda p: optim.SGD(p, lr=-0.1), "lr", "-0.1"),
        (lambda p: optim.SGD(p, lr=math.nan), "lr", "nan"),
        (lambda p: optim.SGD(p, lr=math.inf), "lr", "inf"),
        (lambda p: optim.SGD(p, lr="0.1"), "lr", "'0.1'"),
        (lambda p: optim.SGD(p, momentum=-0.9), "momentum", "-0.9"),
        (lambda p: optim.SGD(p, dampening=math.nan), "dampening", "nan"),
        (lambda p: optim.SGD(p, weight_decay=-1), "weight_decay", "-1"),
        (lambda p: optim.SGD(p, nesterov=True), "nesterov", "momentum 0"),
        (lambda p: optim.SGD(p, momentum=0.9, dampening=0.1, nesterov=True), "nesterov", "dampening 0.1"),
        (lambda p: optim.Adam(p, betas=(1.0, 0.999)), "betas[0]", "1.0"),
        (lambda p: optim.Adam(p, betas=(0.9, -0.1)), "betas[1]", "-0.1"),
        (lambda p: optim.AdamW(p, betas=[0.9, 1.5]), "betas[1]", "1.5"),
        (lambda p: optim.AdamW(p, betas=(0.9,)), "betas", "(0.9,)"),
        (lambda p: optim.AdamW(p, betas=0.9), "betas", "0.9"),
        (lambda p: optim.AdamW(p, eps=-1e-8), "eps", "-1e-08"),
        (lambda p: optim.AdamW(p, weight_decay=-0.5), "weight_decay", "-0.5"),
        (lambda p: optim.RMSprop(p, alpha=1.0), "alpha", "1.0"),
        (lambda p: optim.RMSprop(p, momentum=-1), "momentum", "-1"),
        (lambda p: optim.Adagrad(p, lr_decay=-1), "lr_decay", "-1"),
        (lambda p: optim.Adagrad(p, initial_accumulator_value=-1), "initial_accumulator_value", "-1"),
        (lambda p: optim.SGD([]), "params", "empty"),
        (lambda p: optim.SGD(p[0]), "params", "one parameter"),
        (lambda p: optim.SGD([p[0], p[0]]), "params", "twice"),
        (lambda p: optim.SGD([np.ones(2)]), "params[0]", "NoneType"),
        (lambda p: optim.SGD([*p, parameter([1, 2])]), "params[1]", "int64"),
        (lambda p: optim.SGD([SimpleNamespace(value=np.float64(1), grad=None)]), "params[0]", "float64"),
        (lambda p: optim.StepLR(optim.SGD(p), step_size=0), "step_size", "0"),
        (lambda p: optim.StepLR(optim.SGD(p), step_size=1, gamma=-1), "gamma", "-1"),
        (lambda p: optim.CosineAnnealingLR(optim.SGD(p), T_max=0), "T_max", "0"),
        (lambda p: optim.CosineAnnealingLR(optim.SGD(p), T_max=1, eta_min=-1), "eta_min", "-1"),
        (lambda p: optim.LinearLR(optim.SGD(p), start_factor=0), "start_factor", "0"),
        (lambda p: optim.LinearLR(optim.SGD(p), end_factor=1.5), "end_factor", "1.5"),
        (lambda p: optim.LinearLR(optim.SGD(p), total_iters=0), "total_iters", "0"),
        (lambda p: optim.ReduceLROnPlateau(optim.SGD(p), mode="best"), "mode", "'best'"),
        (lambda p: optim.ReduceLROnPlateau(optim.SGD(p), threshold_mode="x"), "threshold_mode", "'x'"),
        (lambda p: optim.ReduceLROnPlateau(optim.SGD(p), factor=1.0), "factor", "1.0"),
        (lambda p: optim.ReduceLROnPlateau(optim.SGD(p), patience=-1), "patience", "-1"),
        (lambda p: optim.clip_grad_norm_(p, max_norm=-1), "max_norm", "-1"),
        (lambda p: optim.clip_grad_norm_(p, max_norm=math.nan), "max_norm", "nan"),
        (lambda p: optim.clip_grad_value_(p, clip_value=-0.5), "clip_value", "-0.5"),
    ],
)
def test_a_bad_argument_is_named_with_its_value_and_what_was_expected(make, name, found):
    with pytest.raises(UsageError) as error:
        make([parameter([1.0], [1.0])])
    message = str(error.value)
    assert message.startswith(name)
    assert found in message
    assert "expected" in message


def test_a_gradient_of_another_shape_is_refused_before_anything_moves():
    p, q = parameter([1.0], [1.0]), parameter(np.ones((2, 3)), np.ones((1, 3)))
    optimizer = optim.SGD([p, q], momentum=0.9)
    with pytest.raises(UsageError, match=r"params\[1\].grad has shape \(1, 3\), expected its value's, \(2, 3\)"):
        optimizer.step()
    assert p.value == 1.0
    assert optimizer.state[0]["step"] == 0


# --- schedules

SCHEDULES = {
    "step": lambda s, o: s.StepLR(o, step_size=7),
    "step of 1": lambda s, o: s.StepLR(o, step_size=1, gamma=0.95),
    "step to 0": lambda s, o: s.StepLR(o, step_size=20, gamma=0.0),
    "cosine": lambda s, o: s.CosineAnnealingLR(o, T_max=60),
    "cosine past its bottom": lambda s, o: s.CosineAnnealingLR(o, T_max=13),
    "cosine above a floor": lambda s, o: s.CosineAnnealingLR(o, T_max=17, eta_min=0.02),
    "cosine of 1": lambda s, o: s.CosineAnnealingLR(o, T_max=1),
    "linear": lambda s, o: s.LinearLR(o),
    "linear down": lambda s, o: s.LinearLR(o, start_factor=1.0, end_factor=0.1, total_iters=31),
    "linear to 0": lambda s, o: s.LinearLR(o, start_factor=0.5, end_factor=0.0, total_iters=11),
    "warm-up, then cosine": lambda s, o: s.SequentialLR(
        o, [s.LinearLR(o, start_factor=0.1, total_iters=9), s.CosineAnnealingLR(o, T_max=51, eta_min=1e-3)], [9]
    ),
    "warm-up cut short, then steps, then cosine": lambda s, o: s.SequentialLR(
        o, [s.LinearLR(o, total_iters=20), s.StepLR(o, 4, gamma=0.5), s.CosineAnnealingLR(o, 8)], [6, 31]
    ),
    "no warm-up after all": lambda s, o: s.SequentialLR(o, [s.LinearLR(o), s.CosineAnnealingLR(o, 50)], [0]),
    "one alone in sequence": lambda s, o: s.SequentialLR(o, [s.LinearLR(o, total_iters=7)], []),
}


def pytorch_sgd(lr=0.3):
    return torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=lr)


def our_sgd(lr=0.3):
    return optim.SGD([parameter([0.0])], lr=lr)


def current_lr(optimizer):
    return optimizer.lr if isinstance(optimizer, optim.Optimizer) else optimizer.param_groups[0]["lr"]


def learning_rates(optimizer, schedules, steps=60):
    """The learning rates of all steps, and the one after them. PyTorch wants optimizer and schedule to take turns."""
    rates = [current_lr(optimizer)]
    for _ in range(steps):
        optimizer.step()
        for schedule in schedules:
            schedule.step()
        rates.append(current_lr(optimizer))
    return rates


def both(make, lr=0.3):
    """`make(module, optimizer)` gives a schedule or several of them; returns our learning rates and PyTorch's."""
    runs = []
    for module, optimizer in ((optim, our_sgd(lr)), (torch.optim.lr_scheduler, pytorch_sgd(lr))):
        schedules = make(module, optimizer)
        runs.append(learning_rates(optimizer, schedules if isinstance(schedules, list) else [schedules]))
    return runs


@pytest.mark.parametrize("make", SCHEDULES.values(), ids=SCHEDULES)
def test_60_learning_rates_equal_pytorchs(make):
    mine, theirs = both(make)
    assert len(set(mine)) > 1
    np.testing.assert_allclose(mine, theirs, rtol=1e-12, atol=1e-16)


def test_schedules_on_one_optimizer_multiply_as_in_pytorch():
    mine, theirs = both(
        lambda s, o: [
            s.LinearLR(o, start_factor=0.1, total_iters=12),
            s.StepLR(o, 5, gamma=0.8),
            s.CosineAnnealingLR(o, 40, eta_min=0.01),
        ]
    )
    np.testing.assert_allclose(mine, theirs, rtol=1e-12)


@settings(max_examples=30, deadline=None)
@given(
    lr=st.floats(1e-4, 10),
    T_max=st.integers(1, 40),
    eta_min=st.sampled_from([0.0, 1e-5, 0.1]),
    warm_up=st.integers(1, 30),
    milestone=st.integers(0, 40),
)
def test_any_warm_up_and_cosine_equal_pytorchs(lr, T_max, eta_min, warm_up, milestone):
    mine, theirs = both(
        lambda s, o: s.SequentialLR(
            o, [s.LinearLR(o, 0.2, total_iters=warm_up), s.CosineAnnealingLR(o, T_max, eta_min)], [milestone]
        ),
        lr=lr,
    )
    np.testing.assert_allclose(mine, theirs, rtol=1e-10, atol=lr * 1e-14)


def test_a_change_by_hand_lasts():
    optimizer = our_sgd(lr=1.0)
    schedule = optim.LinearLR(optimizer, start_factor=0.5, total_iters=2)
    schedule.step()
    schedule.step()
    optimizer.lr = 0.25
    schedule.step()
    assert optimizer.lr == 0.25


METRICS = np.concatenate(
    [np.geomspace(5, 1, 12), np.full(18, 0.99995), np.linspace(0.9, 0.89, 15), np.full(15, 0.885)]
).tolist()
PLATEAUS = {
    "defaults": {},
    "impatient": {"patience": 0, "factor": 0.5},
    "patience, cooldown": {"patience": 2, "cooldown": 4, "factor": 0.3},
    "absolute": {"patience": 1, "threshold": 0.05, "threshold_mode": "abs"},
    "strict": {"patience": 1, "threshold": 0.1},
    "upwards": {"mode": "max", "patience": 3},
    "upwards, absolute": {"mode": "max", "patience": 1, "threshold": 0.01, "threshold_mode": "abs"},
    "floor": {"patience": 0, "factor": 0.1, "min_lr": 0.004},
    "small changes are not made": {"patience": 0, "factor": 0.9, "eps": 0.01},
}


@pytest.mark.parametrize("metrics", [METRICS, [6 - m for m in METRICS], [-m for m in METRICS]])
@pytest.mark.parametrize("options", PLATEAUS.values(), ids=PLATEAUS)
def test_plateau_equals_pytorchs(options, metrics):
    runs = []
    for module, optimizer in ((optim, our_sgd()), (torch.optim.lr_scheduler, pytorch_sgd())):
        schedule = module.ReduceLROnPlateau(optimizer, **options)
        rates = []
        for i, metric in enumerate(metrics):
            schedule.step(math.nan if i == 40 else metric)
            rates.append(current_lr(optimizer))
        runs.append(rates)
    assert runs[0] == pytest.approx(runs[1], rel=1e-14)


def test_warm_up_and_plateau_on_one_optimizer():
    runs = []
    for module, optimizer in ((optim, our_sgd()), (torch.optim.lr_scheduler, pytorch_sgd())):
        warm_up = module.LinearLR(optimizer, total_iters=4)
        plateau = module.ReduceLROnPlateau(optimizer, patience=3, factor=0.5)
        rates = []
        for metric in METRICS:
            optimizer.step()
            warm_up.step()
            plateau.step(metric)
            rates.append(current_lr(optimizer))
        runs.append(rates)
    assert runs[0] == pytest.approx(runs[1], rel=1e-14)


@pytest.mark.parametrize("stop", [0, 6, 9, 33])
@pytest.mark.parametrize("make", SCHEDULES.values(), ids=SCHEDULES)
def test_schedule_state_survives_saving_bit_for_bit(make, stop):
    optimizer = our_sgd()
    schedule = make(optim, optimizer)
    learning_rates(optimizer, [schedule], steps=stop)
    saved = {name: array.copy() for name, array in schedule.state_dict().items()}
    expected = learning_rates(optimizer, [schedule])

    resumed = our_sgd(lr=0.7)
    schedule = make(optim, resumed)
    schedule.load_state_dict(saved)
    assert learning_rates(resumed, [schedule]) == expected


def test_plateau_state_survives_saving_bit_for_bit():
    def run(schedule, metrics):
        rates = []
        for metric in metrics:
            schedule.step(metric)
            rates.append(schedule.optimizer.lr)
        return rates

    options = {"patience": 2, "cooldown": 3, "factor": 0.3}
    for stop in range(0, 60, 7):
        schedule = optim.ReduceLROnPlateau(our_sgd(), **options)
        run(schedule, METRICS[:stop])
        resumed = optim.ReduceLROnPlateau(our_sgd(lr=0.7), **options)
        resumed.load_state_dict(schedule.state_dict())
        assert run(resumed, METRICS[stop:]) == run(schedule, METRICS[stop:])


@pytest.mark.parametrize(
    ("make", "other"),
    [
        (lambda o: optim.StepLR(o, 3), lambda o: optim.CosineAnnealingLR(o, 3)),
        (lambda o: optim.ReduceLROnPlateau(o), lambda o: optim.StepLR(o, 3)),
        (
            lambda o: optim.SequentialLR(o, [optim.LinearLR(o), optim.StepLR(o, 3)], [2]),
            lambda o: optim.SequentialLR(o, [optim.LinearLR(o), optim.CosineAnnealingLR(o, 3)], [2]),
        ),
    ],
)
def test_the_state_of_another_schedule_is_refused_and_changes_nothing(make, other):
    optimizer = our_sgd()
    schedule = make(optimizer)
    before = schedule.state_dict()
    with pytest.raises(UserError, match="is missing, expected float64"):
        schedule.load_state_dict(other(our_sgd(lr=9.0)).state_dict())
    assert schedule.state_dict() == before


@pytest.mark.parametrize(
    ("schedules", "milestones", "message"),
    [
        (lambda o: [], [], "milestones is \\[\\], expected ascending integers of at least 0, one fewer than the 0"),
        (lambda o: [optim.StepLR(o, 1)], [3], "milestones is \\[3\\], expected .* one fewer than the 1"),
        (lambda o: [optim.StepLR(o, 1)] * 3, [5, 3], "milestones is \\[5, 3\\], expected ascending"),
        (lambda o: [optim.StepLR(o, 1)] * 2, [-1], "milestones is \\[-1\\], expected .* at least 0"),
        (lambda o: [optim.StepLR(o, 1)] * 2, [1.5], "milestones is \\[1.5\\], expected ascending integers"),
        (lambda o: [optim.ReduceLROnPlateau(o)], [], r"schedulers\[0\] is a ReduceLROnPlateau, expected"),
        (lambda o: [optim.StepLR(our_sgd(), 1)], [], r"schedulers\[0\] is a StepLR, expected .* of the same optimizer"),
    ],
)
def test_a_sequence_that_does_not_fit_is_refused(schedules, milestones, message):
    optimizer = our_sgd()
    with pytest.raises(UsageError, match=message):
        optim.SequentialLR(optimizer, schedules(optimizer), milestones)


# --- clipping


def parameters_with_gradients(dtype=np.float64, scale=1.0):
    rng = np.random.default_rng(5)
    params = [parameter(np.zeros(shape, dtype), scale * rng.normal(size=shape).astype(dtype)) for shape in SHAPES]
    params[1].grad = None
    return params


def as_pytorch(params):
    copies = []
    for p in params:
        copy = torch.tensor(p.value, requires_grad=True)
        copy.grad = None if p.grad is None else torch.tensor(p.grad)
        copies.append(copy)
    return copies


def assert_same_gradients(params, theirs, rtol=1e-13):
    for p, q in zip(params, theirs, strict=True):
        if q.grad is None:
            assert p.grad is None
        else:
            assert p.grad.dtype == p.value.dtype
            np.testing.assert_allclose(p.grad, q.grad.numpy(), rtol=rtol, equal_nan=True)


@pytest.mark.parametrize("norm_type", [2.0, 2, 1.0, 3.5, math.inf, "inf"])
@pytest.mark.parametrize("max_norm", [1e-3, 1.0, 1e3, math.inf])
def test_clipping_by_norm_equals_pytorchs(norm_type, max_norm):
    params = parameters_with_gradients()
    params = [p for p in params if p.value.size]  # PyTorch has no maximum of an empty gradient
    theirs = as_pytorch(params)
    total_norm = optim.clip_grad_norm_(params, max_norm, norm_type)
    assert total_norm == pytest.approx(torch.nn.utils.clip_grad_norm_(theirs, max_norm, norm_type).item(), rel=1e-13)
    assert_same_gradients(params, theirs)


def test_clipping_by_norm_in_float32():
    params = parameters_with_gradients(np.float32)
    theirs = as_pytorch(params)
    optim.clip_grad_norm_(params, 0.5)
    torch.nn.utils.clip_grad_norm_(theirs, 0.5)
    assert_same_gradients(params, theirs, rtol=1e-6)


@pytest.mark.parametrize("clip_value", [0, 0.3, 100])
def test_clipping_by_value_equals_pytorchs(clip_value):
    params = parameters_with_gradients()
    theirs = as_pytorch(params)
    assert optim.clip_grad_value_(params, clip_value) is None
    torch.nn.utils.clip_grad_value_(theirs, clip_value)
    assert_same_gradients(params, theirs)


def test_one_parameter_alone_and_none_with_a_gradient():
    p = parameter(np.zeros(2), [3.0, 4.0])
    assert optim.clip_grad_norm_(p, 1.0) == 5.0
    np.testing.assert_allclose(p.grad, [0.6, 0.8], rtol=1e-6)
    optim.clip_grad_value_(p, 0.7)
    np.testing.assert_allclose(p.grad, [0.6, 0.7], rtol=1e-6)
    assert optim.clip_grad_norm_([parameter([1.0])], 1.0) == 0.0


@pytest.mark.parametrize("norm_type", [1.0, 2.0, math.inf])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_norm_that_is_not_finite_is_an_error_on_request_and_else_as_in_pytorch(bad, norm_type):
    params = parameters_with_gradients()[:4]
    params[0].grad[1, 2] = bad
    before = [p.grad.copy() for p in params if p.grad is not None]
    with pytest.raises(UserError, match=r"the norm of the gradients is (nan|inf), expected a finite"):
        optim.clip_grad_norm_(params, 1.0, norm_type, error_if_nonfinite=True)
    for grad, p in zip(before, [p for p in params if p.grad is not None], strict=True):
        np.testing.assert_array_equal(grad, p.grad)

    theirs = as_pytorch(params)
    with np.errstate(invalid="ignore"):
        total_norm = optim.clip_grad_norm_(params, 1.0, norm_type)
    expected = torch.nn.utils.clip_grad_norm_(theirs, 1.0, norm_type).item()
    assert total_norm == pytest.approx(expected, nan_ok=True)
    assert_same_gradients(params, theirs)


def test_gradients_that_share_memory_or_are_read_only_are_clipped_once():
    shared = np.broadcast_to(3.0, (2, 8))
    params = [SimpleNamespace(value=np.zeros((2, 8)), grad=shared) for _ in range(2)]
    total_norm = optim.clip_grad_norm_(params, 1.0)
    assert total_norm == pytest.approx(3 * math.sqrt(32))
    for p in params:
        np.testing.assert_allclose(p.grad, 3 / total_norm, rtol=1e-6)
    optim.clip_grad_value_(params, 0.01)
    assert (params[0].grad == 0.01).all()


@settings(max_examples=40, deadline=None)
@given(
    grads=st.lists(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=5), min_size=1, max_size=4),
    max_norm=st.floats(0, 1e3),
    norm_type=st.sampled_from([1.0, 2.0, math.inf]),
)
def test_any_gradients_are_clipped_as_in_pytorch(grads, max_norm, norm_type):
    params = [parameter(np.zeros(len(grad)), grad) for grad in grads]
    theirs = as_pytorch(params)
    optim.clip_grad_norm_(params, max_norm, norm_type)
    torch.nn.utils.clip_grad_norm_(theirs, max_norm, norm_type)
    assert_same_gradients(params, theirs, rtol=1e-12)
