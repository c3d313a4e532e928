"""The command as a user meets it: spellings, errors and their exit codes, what goes to which stream."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from chainrule import OPS
from chainrule import train as training
from chainrule.cli import main
from chainrule.cli.app import app
from chainrule.train import options

COMMANDS = sorted(app.commands)
COMMAND = [sys.executable, "-m", "chainrule"]


@pytest.fixture
def call(capsys, tmp_path, monkeypatch):
    """Runs the command in an empty folder: (exit code, standard output, standard error)."""
    monkeypatch.chdir(tmp_path)

    def run(*args):
        with pytest.raises(SystemExit) as left:
            main([str(arg) for arg in args])
        printed = capsys.readouterr()
        return left.value.code or 0, printed.out, printed.err

    return run


@pytest.fixture
def settings_of(call):
    """The settings that `train` reads off its arguments."""

    def read(*args):
        code, out, err = call("train", *args, "--print-config")
        assert (code, err) == (0, "")
        return yaml.safe_load(out)

    return read


def is_one_line(err):
    return err.startswith("error: ") and err.count("\n") == 1


# ------------------------------------------------------------------------------------------------------------- help


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(call, command):
    code, out, err = call(command, "--help")
    assert (code, err) == (0, "")
    assert f"Usage: chainrule {command}" in out
    assert re.search(rf"Examples:\s+chainrule {command}", out)
    assert "--json" in out
    assert "--debug" in out


def test_help_lists_the_commands_and_version_is_the_package_s(call):
    code, out, _ = call("--help")
    assert code == 0
    assert all(re.search(rf"^ *{command} ", out, re.MULTILINE) for command in COMMANDS)
    assert call("--version") == (0, "chainrule 0.1.0\n", "")


def test_examples_in_the_help_are_calls_that_parse(call):
    for command in COMMANDS:
        for line in app.commands[command].epilog.split("\n\n")[1:]:
            program, name, *arguments = shlex.split(line)
            assert (program, name) == ("chainrule", command)
            parsed = app.commands[command].make_context(name, arguments, parent=app.make_context("chainrule", [name]))
            assert parsed.params


def test_help_needs_no_heavy_import():
    heavy = {"matplotlib", "PIL", "pooch", "pydantic", "requests", "safetensors", "texicode", "yaml"}
    code = f"import sys, chainrule.cli; print(sorted({heavy!r} & set(sys.modules)))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "[]\n"


# -------------------------------------------------------------------------------------------------------- spellings


def test_every_setting_is_an_option(call):
    _, out, _ = call("train", "--help")
    for option in options():
        assert all(re.search(rf"(^|[\s,]){spelling}\b", out, re.MULTILINE) for spelling in option.spellings), option


@pytest.mark.parametrize(
    ("given", "name", "value"),
    [
        ("--dnn_hidden_units 800,600,400", "hidden", [800, 600, 400]),
        ("--dnn-hidden-units 100", "hidden", [100]),
        ("--hidden=300", "hidden", [300]),
        ("--learning_rate 2e-3", "lr", 2e-3),
        ("--learn_rate 0.0001", "lr", 1e-4),
        ("--learn-rate 0.5", "lr", 0.5),
        ("-l 0.25", "lr", 0.25),
        ("--optim sgd", "optimizer", "sgd"),
        ("--optimizer SGD", "optimizer", "sgd"),
        ("--max_steps 1500", "max_steps", 1500),
        ("--batch_size 200", "batch_size", 200),
        ("-b 128", "batch_size", 128),
        ("-e 3", "epochs", 3),
        ("--eval_freq 100", "eval_freq", 100),
        ("--data_dir /tmp", "data_dir", "/tmp"),
        ("--activation leaky_relu --neg_slope 0.02", "negative_slope", 0.02),
        ("--preset uva_2018", "preset", "uva-2018"),
        ("-D moons", "dataset", "moons"),
        ("moons", "dataset", "moons"),
        ("--optimizer sgd --momentum 0.9 --nesterov", "nesterov", True),
    ],
)
def test_spellings(settings_of, given, name, value):
    assert settings_of(*given.split())[name] == value


def test_a_dataset_given_twice_is_an_error(call):
    code, out, err = call("train", "digits", "--dataset", "mnist")
    assert (code, out) == (2, "")
    assert "dataset is given twice" in err


# ----------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("command", "flag", "nearest"),
    [
        ("train", "--hiden", "--hidden"),
        ("train", "--lerning_rate", "--learning-rate"),
        ("train", "--batchsize", "--batch-size"),
        ("train", "--maxsteps", "--max-steps"),
        ("evaluate", "--chekpoint", "--checkpoint"),
        ("predict", "--jsn", "--json"),
        ("ops", "--jason", "--json"),
        ("doctor", "--bug", "--debug"),
    ],
)
def test_an_unknown_flag_is_an_error_that_names_the_nearest(call, command, flag, nearest):
    code, out, err = call(command, "x", flag, "3")
    assert (code, out) == (2, "")
    assert is_one_line(err)
    assert f"the nearest is {nearest} " in err


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("--batch-size 0", ["batch", "greater than or equal to 1", "0"]),
        ("--batch-size many", ["batch", "integer", "many"]),
        ("--lr -1", ["lr", "greater than 0", "-1"]),
        ("--lr nan", ["lr", "finite", "nan"]),
        ("--optimizer adm", ["optimizer", "'adam'", "adm"]),
        ("--hidden 100,x", ["hidden", "integer", "x"]),
        ("--epochs 3 --max-steps 4", ["epochs", "max_steps", "one"]),
        ("--preset uva-2081", ["preset", "'uva-2018'", "uva-2081"]),
        ("--batch-size", ["--batch-size", "requires an argument"]),
        ("digitz", ["digitz", "digits"]),
        ("digits --val-size 5000", ["val_size", "5000"]),
        ("digits --batch-size 5000", ["batch", "5000"]),
        ("digits extra", ["extra"]),
    ],
)
def test_a_wrong_setting_is_one_line_and_exit_code_2(call, given, words):
    code, out, err = call("train", *given.split())
    assert (code, out) == (2, "")
    assert is_one_line(err)
    assert all(word in err for word in words), err
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["train", "./nothing/here"], ["nothing/here"]),
        (["train", "mnist", "--data-dir", "/no/such/folder"], ["/no/such/folder"]),
        (["train", "--resume", "no/such/run"], ["no/such/run"]),
        (["evaluate", "no/such/run"], ["no/such/run"]),
        (["predict", "no/such/run", "a.png"], ["no/such/run"]),
    ],
)
def test_a_missing_file_or_folder_is_one_line_and_exit_code_1(call, args, words):
    code, out, err = call(*args)
    assert (code, out) == (1, "")
    assert is_one_line(err)
    assert all(word in err for word in words), err


@pytest.mark.parametrize("command", ["evaluate", "predict"])
def test_a_missing_argument_is_exit_code_2(call, command):
    code, _, err = call(command)
    assert code == 2
    assert is_one_line(err)
    assert "RUN" in err


def test_an_unknown_command_names_the_nearest(call):
    code, out, err = call("trian", "digits")
    assert (code, out) == (2, "")
    assert is_one_line(err)
    assert "trian" in err
    assert "'train'" in err


def test_resume_takes_no_settings(call):
    code, _, err = call("train", "--resume", "some/run", "--lr", "0.1")
    assert code == 2
    assert "--resume" in err


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (ZeroDivisionError("division by zero\nsecond line"), 1, "internal error: ZeroDivisionError: division by zero"),
        (MemoryError("Unable to allocate 2.8 TiB"), 1, "out of memory: Unable to allocate 2.8 TiB"),
        (OSError(28, "No space left on device", "/full/disk"), 1, "No space left on device: /full/disk"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_what_goes_wrong_inside_is_one_line(call, monkeypatch, error, code, words):
    def fails(*args, **settings):
        raise error

    monkeypatch.setattr(training, "run", fails)
    found, out, err = call("train", "digits")
    assert (found, out) == (code, "")
    assert err.strip().count("\n") == 0
    assert err.strip().startswith(f"error: {words}")
    assert "Traceback" not in err


def test_debug_shows_the_traceback(call):
    code, _, err = call("evaluate", "no/such/run", "--debug")
    assert code == 1
    assert err.startswith("Traceback")
    assert err.splitlines()[-1].startswith("error: ")


# ----------------------------------------------------------------------------------------------------- config files


@pytest.mark.parametrize(
    "given", ["", "--preset uva-2018", "moons --optimizer sgd --momentum 0.9 --nesterov --hidden 30,20", "--hidden="]
)
def test_print_config_round_trip(settings_of, call, given):
    first = call("train", *given.split(), "--print-config")
    Path("config.yaml").write_text(first[1])
    assert call("train", "-c", "config.yaml", "--print-config") == first


def test_a_setting_on_the_command_line_wins_over_the_file_and_the_file_over_the_preset(settings_of):
    Path("config.yaml").write_text("preset: uva-2018\nlearning_rate: 0.5\nbatch-size: 7\n")
    found = settings_of("-c", "config.yaml", "--lr", "0.25")
    assert (found["lr"], found["batch_size"], found["init"]) == (0.25, 7, "normal")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("batchsize: 3", ["batchsize", "batch_size"]),
        ("lr: [", ["config.yaml", "YAML"]),
        ("- lr", ["config.yaml", "list"]),
        ("lr: !!python/object/apply:os.system [true]", ["config.yaml"]),
        ("batch_size: 0", ["batch_size", "0"]),
        (None, ["config.yaml"]),
    ],
)
def test_a_bad_config_file_is_one_line_and_exit_code_2(call, content, words):
    if content is not None:
        Path("config.yaml").write_text(content)
    code, out, err = call("train", "-c", "config.yaml")
    assert (code, out) == (2, "")
    assert is_one_line(err)
    assert all(word in err for word in words), err


# -------------------------------------------------------------------------------------------------------------- ops


def test_ops_lists_every_op_with_its_shapes(call):
    code, out, err = call("ops")
    assert (code, err) == (0, "")
    listed = {line.split()[0] for line in out.splitlines() if line.strip()}
    assert listed >= OPS.keys()


def test_ops_json(call):
    _, out, err = call("ops", "--json")
    found = json.loads(out.splitlines()[-1])
    assert err == ""
    assert [op["name"] for op in found["ops"]] == list(OPS)
    assert {op["shapes"] for op in found["ops"] if op["name"] == "linear"} == {OPS["linear"].signature.text}


def test_the_page_of_an_op(call):
    code, out, _ = call("ops", "linear")
    assert code == 0
    assert out.startswith("linear(x, weight, bias=None)")
    assert "Y = XWᵀ+b" in out
    assert "X̄ = ȲW,    W̄ = ȲᵀX" in out
    assert "return gy @ weight" in out
    assert out.count("A linear layer") == 1
    assert "math::" not in out


@pytest.mark.parametrize("name", sorted(OPS))
def test_every_op_has_a_page_that_fits(call, monkeypatch, name):
    monkeypatch.setenv("COLUMNS", "80")
    code, out, err = call("ops", name)
    assert (code, err) == (0, "")
    assert max(map(len, out.splitlines())) <= 90  # combining bars take no room
    assert ".. math::" not in out
    assert ":math:" not in out


def test_an_op_in_json_is_what_python_says(call):
    _, out, _ = call("ops", "relu", "--json")
    found = json.loads(out)
    assert found["name"] == "relu"
    assert "def relu(" in found["source"]
    assert found["source"].splitlines()[0] == Path(found["file"]).read_text().splitlines()[found["line"] - 1]


def test_an_unknown_op_names_the_nearest(call):
    code, out, err = call("ops", "softmaxx")
    assert (code, out) == (2, "")
    assert "the nearest: softmax " in err
    assert call("ops", "log-softmax")[0] == 0


@pytest.mark.parametrize(
    ("word", "name"), [("mse", "mse_loss"), ("BCE", "binary_cross_entropy"), ("Id", "identity"), ("select", "getitem")]
)
def test_an_op_is_found_by_its_other_names(call, word, name):
    code, _, err = call("ops", word)
    assert code == 2
    assert f"the nearest: {name} " in err


# ----------------------------------------------------------------------------------------------------------- doctor


def test_doctor_finds_the_data_and_the_versions(call, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    monkeypatch.setenv("XDG_CACHE_HOME", str(Path("cache").absolute()))
    monkeypatch.delenv("CHAINRULE_DATA", raising=False)
    _, out, _ = call("doctor", "--json")
    findings = {finding["topic"]: finding for finding in json.loads(out.splitlines()[-1])["findings"]}
    assert findings["Python"]["found"].startswith(".".join(map(str, sys.version_info[:3])))
    assert "digits" in findings["embedded data"]["found"]
    assert "OMP_NUM_THREADS=2" in findings["thread variables"]["found"]
    assert "CHAINRULE_DATA" in findings["mnist"]["advice"]
    assert float(findings["matrix product"]["found"].split()[0]) > 0.1
    assert findings["run folders"] == {"topic": "run folders", "found": str(Path("runs").absolute()), "advice": ""}
    assert findings["download cache"]["found"] == str(Path("cache/chainrule").absolute())


def test_doctor_says_what_to_do_about_a_wrong_data_folder(call, monkeypatch):
    monkeypatch.setenv("CHAINRULE_DATA", "/no/such/folder")
    code, out, err = call("doctor")
    assert (code, err) == (0, "")
    assert "/no/such/folder" in out
    assert "→" in out


def test_doctor_describes_the_kernels(call, monkeypatch):
    monkeypatch.setenv("CHAINRULE_CACHE", str(Path("cache").absolute()))
    found = json.loads(subprocess.check_output([*COMMAND, "doctor", "--json"], text=True))["findings"]
    findings = {finding["topic"]: finding for finding in found}
    assert findings["kernel cache"]["found"].startswith(str(Path("cache/kernels-").absolute()))
    assert findings["compiled kernels"]["found"] == "none yet"
    assert "chainrule doctor --warm" in findings["compiled kernels"]["advice"]
    assert findings["threading layer"] == {"topic": "threading layer", "found": "omp", "advice": ""}
    assert not Path("cache").exists()


def test_doctor_names_a_wrong_number_of_threads(monkeypatch):
    monkeypatch.setenv("CHAINRULE_NUM_THREADS", "many")
    done = subprocess.run([*COMMAND, "doctor", "--json"], capture_output=True, text=True, check=True)
    (threads,) = [f for f in json.loads(done.stdout)["findings"] if f["topic"] == "kernel threads"]
    assert "'many'" in threads["found"]
    assert "unset CHAINRULE_NUM_THREADS" in threads["advice"]


WARM = """
import sys
import numpy as np
from chainrule.cli import main
from chainrule.kernels import machine, warm

@machine.jit
def ones(x):
    for i in range(len(x)):
        x[i] = 1

warm.runs = lambda draw: [("ones", lambda: ones(np.zeros(3, np.float32)))]
main(["doctor", "--warm", *sys.argv[1:]])
"""


def test_doctor_compiles_ahead_and_says_how_much(tmp_path, monkeypatch):
    """With one small kernel; the test of all is slow."""
    monkeypatch.chdir(tmp_path)

    def warm(*arguments):
        return subprocess.run([sys.executable, "-c", WARM, *arguments], capture_output=True, text=True, check=False)

    monkeypatch.setenv("CHAINRULE_CACHE", str(Path("cache").absolute()))
    cold = warm("--json")
    found = json.loads(cold.stdout)
    assert cold.returncode == 0, cold.stderr
    assert (found["compiled"], found["kept"]) == (1, 1)
    assert found["seconds"] > 0
    assert Path(found["folder"]).is_dir()
    again = warm()
    assert again.returncode == 0
    assert "nothing to compile; 1 are in" in again.stdout
    Path("file").touch()
    monkeypatch.setenv("CHAINRULE_CACHE", str(Path("file").absolute()))
    wrong = warm()
    assert (wrong.returncode, wrong.stdout) == (1, "")
    assert is_one_line(wrong.stderr)
    assert "CHAINRULE_CACHE" in wrong.stderr


STEP = """
import numpy as np
from chainrule import nn, ops, optim, using
from chainrule.kernels import machine

rng = np.random.default_rng(0)
model = nn.Sequential(
    nn.Conv2d(3, 8, 3, padding=1, rng=rng), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
    nn.Linear(8 * 16 * 16, 300, rng=rng), nn.Sigmoid(), nn.Linear(300, 10, rng=rng),
)
with using("cpu"):
    for batch in (1, 40):
        x = rng.standard_normal((batch, 3, 32, 32)).astype(np.float32)
        nn.CrossEntropyLoss()(model(x), rng.integers(0, 10, batch)).backward()
print(machine.compiled)
"""


@pytest.mark.slow
def test_after_doctor_has_compiled_all_kernels_a_step_compiles_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CHAINRULE_CACHE", str(Path("cache").absolute()))
    found = json.loads(subprocess.check_output([*COMMAND, "doctor", "--warm", "--json"], text=True))
    assert found["compiled"] == found["kept"] > 20
    assert subprocess.check_output([sys.executable, "-c", STEP], text=True).strip() == "[]"


# -------------------------------------------------------------------------------------------------------- processes


@pytest.mark.parametrize("arguments", [["ops"], ["train", "--print-config"], ["ops", "linear", "--json"], ["--help"]])
def test_a_reader_that_closes_the_pipe_is_no_error(arguments):
    bare = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}  # as in a cron job
    process = subprocess.Popen(
        [*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=bare
    )
    process.stdout.close()
    assert process.stderr.read() == ""
    process.stderr.close()
    assert process.wait() == 1


@pytest.mark.parametrize(("variables", "colours"), [({"FORCE_COLOR": "1"}, True), ({}, False)])
def test_colours_only_where_they_are_wanted(variables, colours):
    clean = {k: v for k, v in os.environ.items() if k not in ("FORCE_COLOR", "NO_COLOR")}
    out = subprocess.check_output([*COMMAND, "ops"], text=True, env=clean | variables)
    assert ("\x1b[36m" in out) is colours
    out = subprocess.check_output([*COMMAND, "ops"], text=True, env=clean | variables | {"NO_COLOR": "1"})
    assert "\x1b[36m" not in out
