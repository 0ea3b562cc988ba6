"""A small real training with each framework that takes gigabytes to install: make test-integrations."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runstream.core import Experiment, Run, Workspace
from tests.producers.conftest import environment

X = np.random.default_rng(1).normal(size=(64, 4)).astype("float32")
Y = (X[:, 0] > 0).astype("int64")


@pytest.fixture
def run(experiment: Experiment) -> Run:
    return experiment.start_logging(outputs=False, snapshot_directory=None)


def module() -> Any:
    """A small module of Lightning."""
    import lightning.pytorch as pl
    import torch

    class Small(pl.LightningModule):
        def __init__(self, width: int = 4) -> None:
            super().__init__()
            self.save_hyperparameters()
            self.layer = torch.nn.Linear(4, 2)

        def training_step(self, batch: Any, number: int) -> Any:
            loss = torch.nn.functional.cross_entropy(self.layer(batch[0]), batch[1])
            self.log("loss", loss)
            return loss

        def validation_step(self, batch: Any, number: int) -> None:
            self.log("val_loss", torch.nn.functional.cross_entropy(self.layer(batch[0]), batch[1]))

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    return Small()


def loader() -> Any:
    import torch

    return torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(torch.tensor(X), torch.tensor(Y)), batch_size=16
    )


def test_lightning(run: Run) -> None:
    import lightning.pytorch as pl

    from runstream.integrations.lightning import RunstreamLogger

    logger = RunstreamLogger(run)
    checkpoint = pl.callbacks.ModelCheckpoint("ckpt", monitor="val_loss", save_last=True)
    trainer = pl.Trainer(
        max_epochs=2,
        logger=logger,
        callbacks=[checkpoint],
        log_every_n_steps=1,
        accelerator="cpu",
        enable_progress_bar=False,
    )
    trainer.fit(module(), loader(), loader())
    metrics = run.get_metrics()
    assert (len(metrics["loss"]), len(metrics["val_loss"])) == (8, 2)  # type: ignore[arg-type]
    assert run.get_params()["width"] == 4
    assert (logger.name, logger.version) == ("test", run.id)
    assert "checkpoints/last.ckpt" in run.get_file_names()


def test_lightning_in_two_processes_records_once(workspace: Workspace, served_home: Path) -> None:
    Path("train.py").write_text(
        "import sys; sys.path[:0] = sys.argv[1:]\n"
        "import lightning.pytorch as pl\n"
        "from runstream.integrations.lightning import RunstreamLogger\n"
        "from tests.producers.integrations.heavy import loader, module\n"
        "logger = RunstreamLogger(experiment='ranks')\n"
        "pl.Trainer(max_epochs=1, logger=logger, log_every_n_steps=1, accelerator='cpu', devices=2, strategy='ddp',\n"
        "           enable_progress_bar=False, enable_checkpointing=False).fit(module(), loader(), loader())\n"
    )
    variables = {key: value for key, value in environment(served_home).items() if key != "PYTHONWARNINGS"}
    variables["RUNSTREAM_WORKSPACE"] = workspace.name
    path = str(Path(__file__).parents[3])
    done = subprocess.run(
        [sys.executable, "train.py", path], env=variables, capture_output=True, text=True, timeout=110
    )
    assert done.returncode == 0, done.stderr[-3000:]
    (one_run,) = Experiment(workspace, "ranks").get_runs()
    assert (len(one_run.get_metrics()["loss"]), one_run.get_status()) == (2, "Completed")


def trainer(folder: Path, **more: Any) -> Any:
    import torch
    from transformers import Trainer, TrainingArguments

    class Small(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(4, 2)

        def forward(self, inputs: Any, labels: Any = None) -> Any:
            logits = self.layer(inputs)
            return {"loss": torch.nn.functional.cross_entropy(logits, labels), "logits": logits}

    rows = [{"inputs": x, "labels": int(y)} for x, y in zip(X, Y, strict=True)]
    arguments = TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=2,
        per_device_train_batch_size=16,
        logging_steps=1,
        eval_strategy="epoch",
        save_strategy="epoch",
        report_to=[],
        disable_tqdm=True,
        use_cpu=True,
        **more,
    )
    return Trainer(model=Small(), args=arguments, train_dataset=rows, eval_dataset=rows)


def test_hugging_face(run: Run, tmp_path: Path) -> None:
    from runstream.integrations.transformers import RunstreamCallback

    made = trainer(tmp_path / "out")
    made.add_callback(RunstreamCallback(run, checkpoints=True))
    made.train()
    metrics = run.get_metrics()
    assert (len(metrics["train/loss"]), len(metrics["eval/loss"])) == (8, 2)  # type: ignore[arg-type]
    assert run.get_params()["num_train_epochs"] == 2
    names = run.get_file_names()
    assert {
        "checkpoints/checkpoint-4/trainer_state.json",
        "checkpoints/checkpoint-8/trainer_state.json",
    } <= set(names)


def test_hugging_face_resumes_in_its_run(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from runstream.integrations.transformers import RunstreamCallback

    monkeypatch.setenv("RUNSTREAM_WORKSPACE", workspace.name)
    for resume in (None, str(tmp_path / "out" / "checkpoint-4")):
        made = trainer(tmp_path / "out", max_steps=-1 if resume else 4)
        callback = RunstreamCallback(experiment="hf", run_id="resumed")
        made.add_callback(callback)
        made.train(resume_from_checkpoint=resume)
        callback.finish()
    run = Run.get(workspace, "resumed")
    assert (len(run.get_metrics()["train/loss"]), run.get_tags()["resumed_at_step"]) == (8, "4")


def test_accelerate(run: Run) -> None:
    from accelerate import Accelerator

    from runstream.integrations.accelerate import RunstreamTracker

    accelerator = Accelerator(cpu=True, log_with=RunstreamTracker(run=run))
    accelerator.init_trackers("project", config={"lr": 0.1})
    for step in range(3):
        accelerator.log({"loss": 1 / (step + 1), "note": "x"}, step=step)
    accelerator.end_training()
    assert run.get_params() == {"lr": 0.1}
    assert run.get_metrics()["loss"] == [1, 1 / 2, 1 / 3]
    assert accelerator.get_tracker("runstream", unwrap=True) is run


def test_catboost(run: Run) -> None:
    import catboost

    from runstream.integrations.catboost import RunstreamCallback

    callback = RunstreamCallback(run)
    model = catboost.CatBoostClassifier(iterations=5, depth=2, verbose=False, allow_writing_files=False)
    model.fit(X, Y, eval_set=(X, Y), callbacks=[callback])
    callback.finish(model)
    assert len(run.get_metrics()["validation-Logloss"]) == 5  # type: ignore[arg-type]
    assert run.get_params()["depth"] == 2
    assert run.get_file_names() == ["model.cbm"]


def test_keras(run: Run) -> None:
    os.environ.setdefault("KERAS_BACKEND", "jax")
    import keras

    from runstream.integrations.keras import RunstreamCallback

    model = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(2, activation="softmax")])
    model.compile(optimizer="sgd", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(
        X, Y, epochs=3, validation_data=(X, Y), verbose=0, callbacks=[RunstreamCallback(run, every_batches=1)]
    )
    metrics = run.get_metrics()
    assert (len(metrics["val_loss"]), len(metrics["batch/loss"])) == (3, 6)  # type: ignore[arg-type]
    assert run.get_params()["epochs"] == 3
    assert "model.keras" in run.get_file_names()


def test_watch_of_runstream_wandb_records_gradients(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    import runstream.wandb as wandb

    monkeypatch.setenv("RUNSTREAM_WORKSPACE", workspace.name)
    with wandb.init(project="watch") as run:
        layer = torch.nn.Linear(4, 2)
        run.watch(layer, log="all", log_freq=1)
        for _ in range(2):
            loss = layer(torch.tensor(X)).sum()
            loss.backward()
            run.log({"loss": loss})
    recorded = Run.get(workspace, run.id)
    assert [histogram.step for histogram in recorded.get_histograms("gradients/weight")] == [0, 1]
    assert recorded.get_histograms("parameters/weight")[0].count == 8
    assert len(recorded.get_metrics()["loss"]) == 2  # type: ignore[arg-type]


def test_fastai(run: Run) -> None:
    import torch
    from fastai.basics import DataLoaders, Learner, accuracy

    from runstream.integrations.fastai import RunstreamCallback

    loaders = DataLoaders(loader(), loader())
    learner = Learner(loaders, torch.nn.Linear(4, 2), loss_func=torch.nn.CrossEntropyLoss(), metrics=accuracy)
    with learner.no_logging():
        learner.fit(2, cbs=RunstreamCallback(run))
    metrics = run.get_metrics()
    assert (len(metrics["train_loss"]), len(metrics["accuracy"]), len(metrics["valid_loss"])) == (8, 2, 2)  # type: ignore[arg-type]
    assert run.get_params()["n_epoch"] == 2


@pytest.mark.timeout(400)  # Ray starts servers of its own
def test_ray_tune(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNE_DISABLE_SIGINT_HANDLER", "1")  # it would keep Ctrl-C for good
    import ray
    from ray import tune

    from runstream.integrations.ray import RunstreamLoggerCallback

    def train(config: dict[str, Any]) -> None:
        for step in range(3):
            tune.report({"loss": config["lr"] / (step + 1)})

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        tuner = tune.Tuner(
            train,
            param_space={"lr": tune.grid_search([0.1, 0.2])},
            run_config=tune.RunConfig(
                storage_path=str(tmp_path), callbacks=[RunstreamLoggerCallback(run)], verbose=0
            ),
        )
        tuner.fit()
    finally:
        ray.shutdown()
    trials = sorted(run.get_children(), key=lambda trial: trial.get_params()["lr"])
    assert [trial.get_params()["lr"] for trial in trials] == [0.1, 0.2]
    assert [len(trial.get_metrics()["loss"]) for trial in trials] == [3, 3]  # type: ignore[arg-type]
    assert {trial.get_status() for trial in trials} == {"Completed"}


@pytest.mark.timeout(400)
def test_a_scan_goes_to_ray(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    import runstream

    monkeypatch.setattr("runstream.points_scan.PART_POINTS", 4)
    for step in range(6):
        run.log("loss", step / 2)
        run.log("other", 1)
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        scan = runstream.query.scan(run)
        dataset = scan.to_ray().materialize()
        assert dataset.num_blocks() == len(scan.parts) > 1
        rows = dataset.filter(lambda row: row["name"] == "loss").sort("step").take_all()
        assert [row["value"] for row in rows] == [0.0, 0.5, 1.0, 1.5, 2.0, 2.5]
        assert runstream.query.scan(run, "nothing").to_ray().count() == 0
    finally:
        ray.shutdown()
