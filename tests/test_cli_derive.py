"""`chainrule derive` as a user meets it."""

import io
import json

import pytest

from chainrule.cli import main


@pytest.fixture
def derive(capsys):
    """Runs the command: (exit code, standard output, standard error)."""

    def run(*args):
        with pytest.raises(SystemExit) as left:
            main(["derive", *args])
        printed = capsys.readouterr()
        return left.value.code or 0, printed.out, printed.err

    return run


LINEAR = ("y = x @ w + b", "--shapes", "x: n d, w: d m, b: m")


def test_the_closed_forms_with_shapes_and_the_proof(derive):
    code, out, err = derive(*LINEAR)
    assert (code, err) == (0, "")
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert "x̄ = ȳ wᵀ n × d x̄ᵢⱼ = Σₖ ȳᵢₖ wⱼₖ" in lines
    assert "w̄ = xᵀ ȳ d × m w̄ᵢⱼ = Σₖ xₖᵢ ȳₖⱼ" in lines
    assert "b̄ = colsum(ȳ) m b̄ⱼ = Σᵢ ȳᵢⱼ" in lines
    assert lines[-1].startswith("✓ verified: 4 points, largest relative error ")
    assert "δ" not in out


def test_steps_show_every_line_with_its_reason(derive):
    _, out, _ = derive(*LINEAR, "--steps")
    assert "Σₖ xᵢₖ ∂wₖⱼ/∂wₚᵣ" in out
    assert "δ contracted" in out
    assert max(len(line) for line in out.splitlines()) <= 130  # bars over letters count here


def test_json_is_the_last_line(derive):
    code, out, _ = derive("softmax", "--json")
    found = json.loads(out.splitlines()[-1])
    assert code == 0
    assert found["gradients"][0]["matrix"] == "y ⊙ (ȳ − rowsum(ȳ ⊙ y))"
    assert found["gradients"][0]["steps"][0]["lines"][0]["why"].startswith("quotient rule")


def test_lines_come_from_standard_input(derive, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("h = tanh(x)\ny = h * 3\n"))
    code, out, _ = derive("-", "--shapes", "x: n")
    assert code == 0
    assert "x̄ = 3 ȳ ⊙ (1 − h²)" in out


@pytest.mark.parametrize(
    ("form", "piece"),
    [
        ("latex", r"\begin{align*}"),
        ("html", "<math"),
        ("markdown", "$$"),
        ("numpy", "def softmax_backward(gy, cache):"),
        ("module", "def backward(self, dout):"),
        ("torch", "torch.autograd.Function"),
    ],
)
def test_every_format(derive, form, piece):
    code, out, err = derive("softmax", "--format", form)
    assert (code, err) == (0, "")
    assert piece in out


def test_an_alias_and_a_dash_are_understood(derive):
    assert derive("attention")[0] == 0
    assert derive("layer-norm")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("sofmax",), "no such op sofmax, the nearest: softmax"),
        (("y = x @ w",), "x has no shape and no value"),
        (("reshape",), "it only moves entries"),
        (("y = x @ w", "--shapes", "x: n d, w: n d"), "the inner sizes d and n differ"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(derive, arguments, message):
    code, out, err = derive(*arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert len(err.splitlines()) == 1


def test_help_has_an_example(derive):
    code, out, _ = derive("--help")
    assert code == 0
    assert "chainrule derive softmax --steps" in " ".join(out.split())
