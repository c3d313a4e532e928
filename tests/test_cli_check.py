"""`chainrule check` as a user meets it: verdicts, exit codes, and code that loops, crashes, leaves or floods."""

import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from chainrule.check.isolate import check_file
from chainrule.cli import main

RIGHT = """
import numpy as np

def affine_forward(x, w, b):
    return x @ w + b, (x, w)

def affine_backward(gy, cache):
    x, w = cache
    return gy @ w.T, x.T @ gy, gy.sum(0)
"""
WRONG = RIGHT.replace("gy.sum(0)", "-gy.sum(0)")
SQUARE = "def square(x):\n    return x * x, lambda gy: 2 * x * gy\n"


@pytest.fixture
def file(tmp_path, monkeypatch):
    """Writes a file of this name and source in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def written(source, name="layers.py"):
        (tmp_path / name).write_text(textwrap.dedent(source))
        return name

    return written


@pytest.fixture
def check(file, capsys):
    """Checks a source text: (exit code, standard output, standard error)."""

    def run(source, *args, name=None):
        target = file(source) + (f":{name}" if name else "")
        with pytest.raises(SystemExit) as left:
            main(["check", target, *args])
        printed = capsys.readouterr()
        return left.value.code, printed.out, printed.err

    return run


@pytest.fixture
def failure(file):
    """What is said about the only thing in a file, which cannot be judged: its finding."""

    def found(source, **how):
        (item,) = check_file(Path(file(source)), **{"timeout": 20, **how}).items
        assert item["status"] == "inconclusive"
        (finding,) = item["findings"]
        return finding, item

    return found


# ------------------------------------------------------------------------------------------------- verdicts and codes


def test_right_gradients_leave_with_0_and_the_shapes_are_named(check):
    code, out, err = check(RIGHT)
    assert (code, err) == (0, "")
    assert "affine" in out
    assert "x: n d, w: d m" in " ".join(out.split())
    assert "(guessed)" in out
    assert "layers.py: 1 correct" in out


def test_a_wrong_gradient_leaves_with_1_and_its_cause_line_and_repair(check):
    code, out, err = check(WRONG, "--shapes", "n d, d m, m")
    assert (code, err) == (1, "")
    assert "b: sign" in out
    assert re.search(r"repair +line 9: return .*x\.T @ gy, gy\.sum\(0\)", out)
    assert "guessed" not in out


def test_inconclusive_leaves_with_3_and_wrong_comes_before_it(check):
    unknown = "\ndef odd(x, thing):\n    return x + thing['a'], lambda gy: gy\n"
    code, out, _ = check(RIGHT + unknown)
    assert code == 3
    assert "layers.py: 1 correct, 1 inconclusive" in out
    assert "--shapes" in out
    assert check(WRONG + unknown)[0] == 1


def test_json_is_one_object_with_every_report(check):
    code, out, err = check(WRONG + SQUARE, "--json")
    assert (code, err) == (1, "")
    found = json.loads(out)
    assert (found["file"], found["status"]) == ("layers.py", "wrong")
    affine, square = found["items"]
    assert (affine["name"], affine["status"], affine["shapes"], affine["guessed"]) == (
        "affine",
        "wrong",
        "x: n d, w: d m, b: m",
        True,
    )
    assert {f["name"]: f["cause"] for f in affine["findings"]} == {"b": "sign", "x": None, "w": None}
    assert square["status"] == "correct"


def test_a_name_picks_one(check):
    code, out, _ = check(WRONG + SQUARE, name="square")
    assert code == 0
    assert "affine" not in out


@pytest.mark.parametrize(
    ("source", "name", "args", "message"),
    [
        (RIGHT, "afine", [], "no afine to check in layers.py, the nearest is affine (all: affine)"),
        ("x = 1", None, [], "nothing to check in layers.py; what would be recognised:"),
        (RIGHT + SQUARE, None, ["--shapes", "n d"], "--shapes is for one thing, add its name to the file"),
        (RIGHT, None, ["--shapes", "n d, d m, m, m"], "shapes has 4 parts, forward has 3 inputs"),
        (RIGHT, None, ["--shapes", "n-d"], '"n-d" is no shape'),
        (RIGHT, None, ["--timeout", "0"], "--timeout"),
    ],
)
def test_usage_errors_leave_with_2_and_one_line(check, source, name, args, message):
    code, out, err = check(source, *args, name=name)
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1


def test_no_such_file_and_no_python_file(file, capsys):
    (Path(".") / "folder").mkdir()
    for target, message in (("missing.py", "no such file: missing.py"), ("folder", "folder is no Python file")):
        with pytest.raises(SystemExit) as left:
            main(["check", target])
        assert left.value.code == 2
        assert message in capsys.readouterr().err


# ------------------------------------------------------------------------------------- code that does not behave well

MISBEHAVIOUR = {
    "loop": ("while True: pass", "not done after 2 s, the time limit (--timeout)", "line 3: while True: pass"),
    "crash": ("import ctypes; ctypes.string_at(0)", "the process crashed: Segmentation fault", "line 3: import ctypes"),
    "exit": ("import sys; sys.exit(3)", "SystemExit", "line 3: import sys"),
    "leave": ("import os; os._exit(0)", "the process was ended with exit code 0, by os._exit or the like", ""),
    "killed": ("import os; os.kill(os.getpid(), 9)", "the process was killed", ""),
    "allocate": ("x = np.zeros(10**11)", "MemoryError", "line 3: x = np.zeros(10**11)"),
    "recurse": ("return f(x)", "RecursionError", "line 3: return f(x)"),
    "ask": ("input('value? ')", "EOFError", "line 3: input('value? ')"),
}


@pytest.mark.parametrize("what", MISBEHAVIOUR)
def test_what_the_forward_does_is_reported_with_its_line_and_the_others_are_checked(file, what):
    line, message, where = MISBEHAVIOUR[what]
    name = file(f"import numpy as np\ndef f(x):\n    {line}\n    return x, lambda gy: gy\n" + SQUARE)
    bad, good = check_file(Path(name), timeout=2).items
    assert (bad["name"], bad["status"]) == ("f", "inconclusive")
    assert message in bad["findings"][0]["evidence"]
    assert where in bad["findings"][0]["where"]
    assert bool(where) == bool(bad["findings"][0]["where"])
    assert (good["name"], good["status"]) == ("square", "correct")


@pytest.mark.parametrize(
    ("source", "message", "where"),
    [
        ("x = 1\nimport nothing_of_this_name", "ModuleNotFoundError", "layers.py, line 2: import nothing_of_this_name"),
        ("x = 1\ndef f(:\n", "SyntaxError", "layers.py, line 2: def f(:"),
        ("import sys\nsys.exit('no')", "SystemExit('no')", "layers.py, line 2: sys.exit('no')"),
        ("while True:\n    pass", "not done after 2 s", "layers.py, line"),
        ("import ctypes\nctypes.string_at(0)", "Segmentation fault", "layers.py, line 2: ctypes.string_at(0)"),
        ("raise ValueError('two\\nlines')", "ValueError: two\nlines", "layers.py, line 1"),
        ("import numpy\nx = numpy.ones(10**11)", "MemoryError", "layers.py, line 2"),
    ],
)
def test_a_file_that_cannot_be_imported(failure, source, message, where):
    finding, item = failure(source, timeout=2)
    assert item["name"] == "import layers.py"
    assert message in finding["evidence"]
    assert where in finding["where"]


def test_memory_is_limited_as_asked(failure):
    finding, _ = failure("x = bytearray(200 * 2**20)", memory=100)
    assert "MemoryError" in finding["evidence"]


def test_what_was_printed_is_shown_shortened_where_something_failed(failure):
    source = (
        "import os\nfor i in range(100_000): print('line', i, 'x' * 200)\nprint('the end', flush=True)\nos._exit(1)"
    )
    _, item = failure(source)
    (note,) = item["notes"]
    assert note.endswith("\nthe end")
    assert len(note) < 600


def test_printing_does_not_disturb_the_verdicts(check):
    noise = 'print(\'{"event": "done"}\'); import os; os.write(1, b\'{"event": "done"}\\n\' * 100)'
    code, out, _ = check(f"{noise}\ndef square(x):\n    {noise}\n    return x * x, lambda gy: 2 * x * gy\n")
    assert code == 0
    assert "event" not in out


def test_processes_that_the_code_starts_are_ended_and_forks_do_not_check_on(file):
    source = """
    import os, subprocess
    child = subprocess.Popen(["sleep", "300"])
    open("child", "w").write(str(child.pid))
    def square(x):
        os.fork()
        return x * x, lambda gy: 2 * x * gy
    """
    (item,) = check_file(Path(file(source)), timeout=60).items
    assert item["status"] == "correct"
    end = time.monotonic() + 5
    while _alive(int(Path("child").read_text())) and time.monotonic() < end:
        time.sleep(0.05)
    assert not _alive(int(Path("child").read_text()))


def _alive(pid):
    """Does the process run? One that has ended and waits to be collected does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_file_that_is_another_one_when_it_is_imported_again(file):
    source = """
    import os, sys
    def leaves(x): os._exit(1)
    def leaves_backward(gy, cache): return gy
    {}
    def square(x): return x * x, lambda gy: 2 * x * gy
    """
    for change, message in (
        ("if os.path.exists('seen'): sys.exit(5)", "SystemExit"),
        ("if os.path.exists('seen'): os._exit(5)", "exit code 5"),
    ):
        Path("seen").unlink(missing_ok=True)
        items = check_file(Path(file(source.format(f"{change}\n    open('seen', 'w').close()"))), timeout=60).items
        assert [item["name"] for item in items] == ["leaves", "import layers.py", "square"]
        assert {item["status"] for item in items} == {"inconclusive"}
        assert message in items[1]["findings"][0]["evidence"]
        assert "imported again" in items[2]["findings"][0]["evidence"]


def test_a_thing_that_is_gone_when_the_file_is_imported_again(file):
    source = """
    import os
    def leaves(x): os._exit(1)
    def leaves_backward(gy, cache): return gy
    if not os.path.exists('seen'):
        open('seen', 'w').close()
        def square(x): return x * x, lambda gy: 2 * x * gy
    """
    leaves, square = check_file(Path(file(source)), timeout=60).items
    assert "exit code 1" in leaves["findings"][0]["evidence"]
    assert "imported again" in square["findings"][0]["evidence"]


def test_progress_names_each_thing(file):
    seen = []
    check_file(Path(file(RIGHT + SQUARE)), progress=lambda *step: seen.append(step))
    assert seen == [("affine", 1, 2), ("square", 2, 2)]


def test_ctrl_c_says_what_was_not_checked_and_leaves_nothing_behind(file):
    name = file(
        SQUARE + "def slow(x):\n    open('slow', 'w').close()\n    while True: pass\n    return x, lambda gy: gy\n"
    )
    command = subprocess.Popen(
        [sys.executable, "-m", "chainrule", "check", name, "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not os.path.exists("slow"):
        time.sleep(0.05)
    command.send_signal(signal.SIGINT)
    out, err = command.communicate(timeout=60)
    assert command.returncode == 130
    assert err.strip() == "error: interrupted"
    square, slow = json.loads(out)["items"]
    assert (square["status"], slow["status"]) == ("correct", "inconclusive")
    assert "interrupted" in slow["findings"][0]["evidence"]
