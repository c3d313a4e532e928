"""The figures that settings are compared by, and how numbers are written."""

from dataclasses import dataclass

from chainrule.lab.statistics import Estimate


@dataclass(frozen=True, slots=True)
class Metric:
    """A figure that settings are compared by."""

    name: str  #: as it is written: "test accuracy"
    field: str  #: as it stands in result.json: "test_accuracy"

    @property
    def is_share(self) -> bool:
        """Is it an accuracy: shown in percent, the higher the better?"""
        return self.field.endswith("accuracy")

    def number(self, value: float) -> str:
        """A value without its unit.

        >>> METRICS["test-accuracy"].number(0.9653), METRICS["test-loss"].number(0.15186)
        ('96.53', '0.1519')
        """
        digits = f"{100 * value:.2f}" if self.is_share else f"{value:.4f}"
        return digits.replace("-", "\N{MINUS SIGN}")

    def shown(self, value: float) -> str:
        """A value with its unit."""
        return self.number(value) + " %" * self.is_share

    def signed(self, value: float) -> str:
        """A difference, with its sign, without its unit.

        >>> METRICS["test-accuracy"].signed(-0.0073)
        '\N{MINUS SIGN}0.73'
        """
        number = self.number(abs(value))
        sign = "" if float(number) == 0 else "+" if value > 0 else "\N{MINUS SIGN}"
        return sign + number

    @property
    def unit(self) -> str:
        """The unit of a difference."""
        return "points" if self.is_share else "nats"


METRICS = {
    name: Metric(name.replace("-", " ").replace("val ", "validation "), name.replace("-", "_"))
    for name in ("test-accuracy", "val-accuracy", "test-loss", "val-loss")
}


def interval(metric: Metric, found: Estimate) -> str:
    """A mean with its interval, or what there is in its place.

    >>> interval(METRICS["test-accuracy"], Estimate(0.96, 0.01, 0.9352, 0.9848, 3))
    '96.00 % [93.52, 98.48]'
    """
    if found.low is None or found.high is None:
        return metric.shown(found.mean)
    return f"{metric.shown(found.mean)} [{metric.number(found.low)}, {metric.number(found.high)}]"


def p_value(p: float) -> str:
    """A p-value as it is printed.

    >>> p_value(0.0312), p_value(0.00002), p_value(0.5)
    ('0.031', '< 0.001', '0.50')
    """
    return "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def signed(value: float) -> str:
    """A number with two digits and a true minus sign.

    >>> signed(-1.284), signed(0.5)
    ('\N{MINUS SIGN}1.28', '0.50')
    """
    return f"{value:.2f}".replace("-", "\N{MINUS SIGN}")


def equals(name: str, p: float) -> str:
    """A p-value in a sentence.

    >>> equals("p", 0.03), equals("p", 0.0)
    ('p = 0.030', 'p < 0.001')
    """
    shown = p_value(p)
    return f"{name} {shown}" if shown.startswith("<") else f"{name} = {shown}"
