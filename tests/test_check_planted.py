"""Planted mistakes: the right rules are not accused, no mistake passes, and nearly every one is named."""

import functools
from collections import Counter

import pytest
from planted import load, ops, planted_mistakes, planted_rules
from planted.validity import complaint

from chainrule.check import diagnose
from chainrule.engine import OPS

RULES = {rule.name: rule for rule in planted_rules()}
GROUPS = 4
NAMED = 0.95
MANY = 50  # mistakes; of an op with so many, most of which need a search of the source, fewer are diagnosed
LOOPS = {"conv_loops", "max_pool_loops"}  # slow: one in four is differenced here, all by `python -m planted.validity`

# The mistakes of five write-ups on backpropagation that are mistakes in a backward pass, by write-up and place.
COURSEWORK = {
    "uva-2018, softmax backward",
    "uva-2018, softmax Jacobian in the backward part",
    "uva-2018, linear backward for W",
    "uva-2018, batches",
    "uva-2018, gamma",
    "uva-2018, batch norm input",
    "uva-2020, linear",
    "uva-2020, layer norm code",
    "vu-2021, division",
    "vu-2021, matmul",
    "vu-2023, bias",
}
# Three others are not: a loss that stays at ln 10 and an update without its minus sign belong to training, which has no
# backward pass of its own; the derivative 1 of ReLU at 0 is a convention, that of the right rule `relu_at_zero`.


def diagnosed(folder, load, rule, mistake, seed=0):
    return diagnose(load(rule, mistake, folder=folder), rule.inputs, shapes=rule.shapes, wrt=rule.wrt, seed=seed)


def told(rule, mistake, report):
    """A line for the list of those that went wrong."""
    return f"{rule.name}, {mistake.gradient}, {mistake.causes}: {mistake.new!r}\n{report}"


@functools.cache
def sampled():
    """The mistakes that are diagnosed here, of the rules and of chainrule's ops: triples (load, rule, mistake)."""
    of_rules = [pair for rule in RULES.values() for pair in [*planted_mistakes(rule)][::4]]
    per_op = [[*ops.op_mistakes(op)] for op in OPS.values()]
    of_ops = [pair for pairs in per_op for pair in pairs[:: 7 if len(pairs) <= MANY else 31]]
    return [(load, *pair) for pair in of_rules], [(ops.load, *pair) for pair in of_ops]


# ------------------------------------------------------------------------------------------------------- the suite


def test_the_suite_is_large_enough():
    of_rules, of_ops = sampled()
    assert len(RULES) >= 40
    assert len(OPS) >= 79
    assert len(of_rules) >= 400
    assert len(of_ops) >= 200
    assert {rule.op.name for _, rule, _ in of_ops} == set(OPS)


@pytest.mark.parametrize("name", RULES)
def test_a_rule_is_right_by_central_differences(name, tmp_path):
    assert complaint(RULES[name], None, tmp_path) is None


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # a mistake may divide by zero
@pytest.mark.parametrize("name", RULES)
def test_its_mistakes_are_wrong_by_central_differences(name, tmp_path):
    mistakes = [*planted_mistakes(RULES[name])][:: 4 if name in LOOPS else 1]
    said = [complaint(rule, mistake, tmp_path) for rule, mistake in mistakes]
    assert [each for each in said if each] == []


@pytest.mark.parametrize("name", OPS)
def test_every_edit_written_for_an_op_changes_its_gradient(name):
    planted = [mistake for _, mistake in ops.op_mistakes(OPS[name])]
    assert [mistake for mistake in ops.OWN.get(name, ()) if mistake not in planted] == []


# ------------------------------------------------------------------------------------------------------- the checker


@pytest.mark.parametrize("name", RULES)
def test_a_right_rule_is_not_accused(name, tmp_path):
    report = diagnosed(tmp_path, load, RULES[name], None)
    assert report.status == "correct", report


@pytest.mark.parametrize("name", OPS)
def test_an_op_is_not_accused(name, tmp_path):
    for rule in ops.op_rules():
        if rule.op.name == name:
            report = diagnosed(tmp_path, ops.load, rule, None)
            assert report.status == "correct", f"{rule.name}: {report}"


@pytest.mark.slow
@pytest.mark.parametrize("group", range(0, GROUPS, 4))  # a quarter, for time: `make bench-check` takes all
def test_no_mistake_passes_and_nearly_all_are_named(group, tmp_path):
    cases = [case for part in sampled() for case in part][group::GROUPS]
    unnamed = []
    for loader, rule, mistake in cases:
        report = diagnosed(tmp_path, loader, rule, mistake)
        assert report.status != "correct", told(rule, mistake, report)
        if report.findings[0].cause not in mistake.causes:
            unnamed.append(told(rule, mistake, report))
    assert len(unnamed) <= (1 - NAMED) * len(cases), "\n\n".join(unnamed)


@pytest.mark.parametrize(
    ("name", "cause"),
    [("conv1d", "overwrite"), ("batch_norm", "path-dropped"), ("avg_pool2d", "factor"), ("lstm_cell", "path-dropped")],
)
def test_a_mistake_in_parts_that_ops_share_is_named(name, cause, tmp_path):
    """Of a pullback that a function of the module hands over, of an average at a single size, of shared gates."""
    rule, mistake = next(
        pair for pair in ops.op_mistakes(OPS[name]) if pair[1] in ops.OWN[name] and cause in pair[1].causes
    )
    report = diagnosed(tmp_path, ops.load, rule, mistake)
    assert report.findings[0].cause in mistake.causes, told(rule, mistake, report)


def test_every_mistake_of_the_write_ups_is_planted():
    assert {mistake.coursework for _, mistake in planted_mistakes()} == COURSEWORK | {""}


@pytest.mark.parametrize("place", sorted(COURSEWORK))
def test_every_mistake_of_the_write_ups_is_named(place, tmp_path):
    for rule, mistake in planted_mistakes():
        if mistake.coursework == place:
            report = diagnosed(tmp_path, load, rule, mistake)
            assert report.findings[0].cause in mistake.causes, told(rule, mistake, report)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["softmax", "tanh_layer", "relu", "sigmoid", "division"])
@pytest.mark.parametrize("planted", [False, True], ids=["right", "wrong"])
def test_the_verdict_is_the_same_for_every_seed(name, planted, tmp_path):
    rule, first = next(planted_mistakes(RULES[name]))
    seen = Counter[tuple]()
    for seed in range(40):
        report = diagnosed(tmp_path, load, rule, first if planted else None, seed)
        seen[report.status, report.findings[0].cause] += 1
    assert len(seen) == 1, seen
