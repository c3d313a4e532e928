"""What a person should have noticed about several settings side by side: pure functions from figures to a remark.

Each is a sentence with its evidence and the next step. What one run shows by itself is remarked on in `train.remarks`.
"""

import math
from collections.abc import Mapping, Sequence

from pydantic import ValidationError

from chainrule.lab.plan import Range, counts, in_short
from chainrule.train.config import TrainConfig
from chainrule.train.events import Remark

END = 0.1  # share of a range that counts as its end

# The test parts that everybody measures on; `data.load` describes them.
TEST_SAMPLES = {
    "digits": 300,
    "mnist": 10_000,
    "fashion-mnist": 10_000,
    "cifar10": 10_000,
    "synth-vu-2021": 10_000,
    "synth-vu-2023": 10_000,
    "moons": 500,
    "circles": 500,
    "spirals": 500,
}


def edge(name: str, best: object, tried: Sequence[object], chosen_by: str) -> Remark | None:
    """Remarks that the best value of a setting is the largest or the smallest of those tried.

    Widths of one layer count as numbers, other lists and names have no order; nothing lies below 0, nor below 1 of what
    is counted. A value beyond is proposed where `name` is a setting of a config that can have it.

    >>> print(edge("lr", 0.01, [0.001, 0.003, 0.01], "validation accuracy").text[:68])
    The best lr by validation accuracy, 0.01, is the largest of 0.001, 0
    >>> edge("lr", 0.003, [0.001, 0.003, 0.01], "validation accuracy")
    >>> edge("dropout", 0.0, [0.0, 0.2], "validation accuracy")
    """
    value, numbers = _number(best), {_number(each): each for each in tried}
    ordered = sorted(number for number in numbers if number is not None)
    if value is None or None in numbers or len(ordered) < 2:
        return None
    if value == ordered[-1]:
        side, beyond = "largest", _beyond(ordered[-2], ordered[-1])
    elif value == ordered[0] and value > _lowest(name):
        side, beyond = "smallest", _beyond(ordered[1], ordered[0])
    else:
        return None
    text = (
        f"The best {name.replace('_', ' ')} by {chosen_by}, {in_short(best)}, is the {side} of "
        f"{', '.join(in_short(numbers[number]) for number in ordered)}: a better one may lie beyond."
    )
    following = max(1, round(beyond)) if _whole(name) else beyond
    farther = following > value if side == "largest" else following < value  # two digits may be too few for that
    if farther and _accepted(name, in_short(following)):
        text += f" Try --{name.replace('_', '-')} {in_short(following)}."
    return Remark("edge", text)


def end_of_range(name: str, best: object, drawn_from: Range) -> Remark | None:
    """Remarks that the best value of a setting, which was drawn, lies close to an end of its range.

    The width of one layer counts as a number; below 0, or below 1 of what is counted, there is nothing.

    >>> print(end_of_range("hidden", (123,), Range(100, 500)).text[:71])
    The chosen hidden, 123, lies at the lower end of its range, 100..500: a
    >>> end_of_range("dropout", 0.01, Range(0, 0.5))
    """
    value = _number(best)
    if value is None:
        return None
    share = drawn_from.share(value)
    if share > 1 - END:
        side = "upper"
    elif share < END and drawn_from.low > _lowest(name):
        side = "lower"
    else:
        return None
    return Remark(
        "edge",
        f"The chosen {name.replace('_', '-')}, {in_short(best)}, lies at the {side} end of its range, {drawn_from}: "
        "a better one may lie beyond.",
    )


def selected_on_test(
    chosen: str | None, highest: str, accuracies: Mapping[str, float], chosen_by: str
) -> Remark | None:
    """Remarks that choosing by the test accuracy would choose, or could only choose, on the test set.

    Args:
        chosen: the setting that the validation part chooses; None where there is no such part.
        highest: the setting with the highest test accuracy.
        accuracies: mean test accuracy by setting.
        chosen_by: what chose.

    >>> selected_on_test("A", "A", {"A": 0.97, "B": 0.96}, "validation accuracy")
    >>> selected_on_test("A", "B", {"A": 0.96, "B": 0.97}, "validation accuracy").kind
    'selected-on-test'
    """
    if len(accuracies) < 2 or chosen == highest:
        return None
    best = f"{100 * accuracies[highest]:.2f} %"
    if chosen is None:
        text = (
            f"There is no validation part: whoever picks {highest} of {len(accuracies)} settings for its test "
            f"accuracy, {best}, selects on the test set, and the figure is too high by what luck gave it. "
            "Keep samples for choosing (--val-size 0.1), and report the test accuracy of what they chose."
        )
    else:
        text = (
            f"The highest test accuracy, {best}, is that of setting {highest}; {chosen_by} chooses {chosen} "
            f"({100 * accuracies[chosen]:.2f} %). To report {highest} would be selection on the test set: report "
            f"{chosen}, or run more seeds until the validation part can tell them apart."
        )
    return Remark("selected-on-test", text)


def part_of_test(data: str, measured: Sequence[int]) -> Remark | None:
    """Remarks that runs were tested on fewer samples than the test part has, or not all on as many.

    >>> part_of_test("cifar10", [100]).text[:61]
    'The test accuracies are from 100 of the 10,000 test samples o'
    >>> part_of_test("cifar10", [10_000])
    """
    if not measured:
        return None
    fewest, whole = min(measured), TEST_SAMPLES.get(data, max(measured))
    if fewest >= whole:
        return None
    return Remark(
        "part-of-test",
        f"The test accuracies are from {fewest:,} of the {whole:,} test samples of {data}: by the draw of these "
        f"samples alone an accuracy of 90 % is uncertain by {196 * math.sqrt(0.09 / fewest):.1f} points. Measure on "
        "all of them (chainrule evaluate RUN), the same for every setting.",
    )


def before_training(steps: Sequence[float], epochs: Sequence[float], accuracies: Sequence[float]) -> Remark | None:
    """Remarks that figures stand beside an epoch that had not been trained yet: each belongs to the epoch before.

    `steps` were taken when the figure of that row was measured; `epochs` is what the row is called. The loop here
    calls the untrained network epoch 0 and needs no remark: it is for the metrics of others' loops.

    >>> before_training([0, 100, 200], [1, 2, 3], [0.1, 0.8, 0.9]).text[:60]
    'The accuracy shown for epoch 1, 10.0 %, was measured at step'
    >>> before_training([0, 100, 200], [0, 1, 2], [0.1, 0.8, 0.9])
    """
    early = [i for i, (step, epoch) in enumerate(zip(steps, epochs, strict=True)) if step == 0 and epoch > 0]
    if not early:
        return None
    row = early[0]
    return Remark(
        "before-training",
        f"The accuracy shown for epoch {epochs[row]:g}, {100 * accuracies[row]:.1f} %, was measured at step 0, before "
        "that epoch's training: every figure belongs to the epoch before, and the last epoch has none. "
        "Measure after the epoch, and call the untrained network epoch 0.",
    )


def one_run(names: Sequence[str]) -> Remark | None:
    """Remarks that settings were run once, so that nothing can be said of them.

    >>> one_run(["A", "C"]).text[:45]
    'Settings A, C have one run each: nothing is c'
    >>> one_run([])
    """
    if not names:
        return None
    which = f"Settings {', '.join(names)} have one run each" if len(names) > 1 else f"Setting {names[0]} has one run"
    return Remark(
        "one-run",
        f"{which}: nothing is called better or worse on the strength of one, since another seed may "
        "turn it round. Run the same settings with --seed 1, 2, 3, 4.",
    )


def several_environments(differing: Mapping[str, Sequence[str]]) -> Remark | None:
    """Remarks that the runs were made with other versions or machines: `differing` has the values by what differs.

    >>> several_environments({"numpy": ["2.3.0", "2.4.0"]}).text[:45]
    'The runs were made with numpy 2.3.0 and 2.4.0'
    >>> several_environments({})
    """
    if not differing:
        return None
    each = "; ".join(f"{name} {' and '.join(values)}" for name, values in differing.items())
    return Remark(
        "environments",
        f"The runs were made with {each}: part of a difference may be theirs. Run all settings in one environment.",
    )


def _number(value: object) -> float | None:
    """A value as a number: its own, or that of a single width; None if it has no order."""
    if isinstance(value, list | tuple) and len(value) == 1:
        value = value[0]
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _whole(name: str) -> bool:
    """Whether this is a setting whose numbers are whole ones."""
    return name in TrainConfig.model_fields and counts(name)


def _lowest(name: str) -> int:
    """The number below which there is no value of it."""
    return 1 if _whole(name) else 0


def _accepted(name: str, value: str) -> bool:
    """Whether a config has this setting and can have this value, as it is typed, whatever the other settings are."""
    try:
        TrainConfig.model_validate({name: value})
    except ValidationError as error:
        return not any(problem["loc"] for problem in error.errors())  # what concerns several settings has no place
    return True


def _beyond(inner: float, outer: float) -> float:
    """The next value outwards: by the same factor, at most ten, or from 0 by the same distance."""
    following = outer * min(max(outer / inner, 0.1), 10.0) if inner > 0 else 2 * outer - inner
    return float(f"{following:.1g}" if following < 1 else f"{following:.2g}")
