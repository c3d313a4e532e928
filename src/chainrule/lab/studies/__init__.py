"""The five write-ups that the library grew from, each as a `chainrule.lab.study.Study`.

What a write-up says stands in these modules; what is so is found by `chainrule.lab.study.rerun`.
"""

from importlib import import_module

from chainrule.errors import UsageError
from chainrule.lab.study import Study

NAMES = ("uva-2018", "uva-2020", "vu-2021", "vu-2023", "nyu-2021")


def study(name: str) -> Study:
    """The study of this name; underscores will do.

    Raises `UsageError` if there is none.

    >>> study("vu-2023").title
    'A sigmoid network on paper and on MNIST'
    >>> study("vu-2024")
    Traceback (most recent call last):
    chainrule.errors.UsageError: there is no study 'vu-2024', expected one of uva-2018, uva-2020, vu-2021, vu-2023, ...
    """
    module = name.lower().replace("-", "_")
    if module.replace("_", "-") not in NAMES:
        raise UsageError(f"there is no study {name!r}, expected one of {', '.join(NAMES)}")
    return import_module(f"{__name__}.{module}").STUDY
