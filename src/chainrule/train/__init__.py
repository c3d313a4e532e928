"""Train a network, and use what was trained: the loop, its events, the run folder, checkpoints.

    run(config) -> Result                      load the data, build the network, train it
    fit(model, data, config) -> Result         train your own
    resume(run_dir) -> Result                  go on bit for bit after an interruption
    evaluate(run_dir, part="test") -> Evaluation
    predict(run_dir, images) -> Predictions
    load_run(run_dir) -> TrainedRun            the config, the model with its weights, the classes, the pre-processing

`run`, `fit` and `resume` tell listeners what happens (`events`); Ctrl-C makes them save, tell `Interrupted`, and raise
`KeyboardInterrupt`. Nothing here prints.
"""
