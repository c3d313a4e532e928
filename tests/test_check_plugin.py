"""The pytest plugin, in a pytest of its own: it is there once the package is installed, and quiet until it is used."""

import subprocess
import sys
from textwrap import dedent

import pytest

from chainrule.check import GradientError, assert_gradients

LINEAR = """
import numpy as np
from chainrule.check import assert_gradients

def forward(x, w):
    return x @ w, (x, w)

def right(gy, cache):
    x, w = cache
    return gy @ w.T, x.T @ gy

def wrong(gy, cache):
    x, w = cache
    return gy @ w.T, x.T @ gy / len(x)

"""


def run_pytest(folder, source, *options):
    """What pytest prints for a test file, in a folder that knows nothing of this project's settings."""
    (folder / "test_layer.py").write_text(source)
    command = [sys.executable, "-m", "pytest", "-W", "error", "-p", "no:cacheprovider", *options, "test_layer.py"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_the_fixture_returns_the_report_of_a_right_backward(tmp_path):
    test = dedent("""
        def test_layer(gradcheck):
            report = gradcheck((forward, right), shapes="n d, d m", seed=1)
            assert report.status == "correct"
            assert {finding.name for finding in report.findings} == {"x", "w"}
    """)
    done = run_pytest(tmp_path, LINEAR + test)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout


@pytest.mark.parametrize("check", ["gradcheck", "assert_gradients"])
def test_a_wrong_backward_fails_with_the_report_and_the_line_of_the_test(check, tmp_path):
    test = dedent(f"""
        def test_layer({"gradcheck" if check == "gradcheck" else ""}):
            {check}((forward, wrong), shapes="n d, d m")
    """)
    done = run_pytest(tmp_path, LINEAR + test, "-rN")
    assert done.returncode == 1
    assert "w: batch-mean-twice" in done.stdout
    assert "line 14" in done.stdout  # of test_layer.py: the wrong return
    assert "right: x" in done.stdout


def test_the_fixture_shows_no_line_of_its_own(tmp_path):
    test = dedent("""
        def test_layer(gradcheck):
            gradcheck((forward, wrong), shapes="n d, d m")
    """)
    done = run_pytest(tmp_path, LINEAR + test)
    assert done.returncode == 1
    assert "plugin.py" not in done.stdout


def test_inconclusive_is_no_pass(tmp_path):
    test = dedent("""
        def noisy(x):
            return x + np.random.rand(*x.shape), None

        def test_layer(gradcheck):
            gradcheck((noisy, lambda gy, cache: gy), shapes="n d")
    """)
    done = run_pytest(tmp_path, LINEAR + test)
    assert done.returncode == 1
    assert "nondeterministic" in done.stdout


def test_an_unused_plugin_loads_nothing_but_numpy_and_the_package(tmp_path):
    test = dedent("""
        import sys
        def test_nothing():
            heavy = {"torch", "jax", "rich", "click", "rich_click", "pydantic", "matplotlib", "requests", "PIL", "yaml"}
            assert not heavy & set(sys.modules)
    """)
    done = run_pytest(tmp_path, test)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "chainrule-" in done.stdout  # the plugin is listed: it was loaded


def test_assert_gradients_raises_an_assertion_error_that_holds_the_report():
    def doubled(x):
        return x**2, lambda gy: gy * x

    with pytest.raises(AssertionError, match="factor") as caught:
        assert_gradients(doubled, shapes="n")
    assert isinstance(caught.value, GradientError)
    assert caught.value.report.findings[0].cause == "factor"
