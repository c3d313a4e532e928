"""Train a network, and use what was trained: the loop, its events, the run folder, checkpoints.

    run(config)                     load the data, build the network, train it
    fit(model, data, config)        train your own network, on your own data
    resume(run_dir)                 go on after an interruption, bit for bit
    evaluate(run_dir, part="test")  measure a trained network
    predict(run_dir, images)        name what is in images
    load_run(run_dir)               the trained network itself, with its classes and its pre-processing

Nothing here prints: `run`, `fit` and `resume` tell their listeners what happens (`events`).
"""

from chainrule.train.config import Option, TrainConfig, configure, options
from chainrule.train.environment import environment
from chainrule.train.events import Listener, Measure, Remark, Result
from chainrule.train.presets import PRESETS
from chainrule.train.runs import fit, resume, run
from chainrule.train.trained import Evaluation, Prediction, TrainedRun, evaluate, load_run, predict

__all__ = [
    "PRESETS",
    "Evaluation",
    "Listener",
    "Measure",
    "Option",
    "Prediction",
    "Remark",
    "Result",
    "TrainConfig",
    "TrainedRun",
    "configure",
    "environment",
    "evaluate",
    "fit",
    "load_run",
    "options",
    "predict",
    "resume",
    "run",
]
