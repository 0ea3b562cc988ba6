"""`SummaryWriter`: the calls of torch's, into a run and into event files that TensorBoard reads."""

from __future__ import annotations

import inspect
import io
import subprocess
import sys
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorboard.plugins.custom_scalar.layout_pb2 import Layout
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from tensorboard.util import tensor_util

from runstream.core import Experiment, Run
from runstream.exceptions import UserErrorException
from runstream.tensorboard import SummaryWriter
from tests.producers.tensorboard.oracle import accumulated, oracle_scalars

SIGNATURES = {
    "add_hparams": "hparam_dict metric_dict hparam_domain_discrete=None run_name=None global_step=None",
    "add_scalar": "tag scalar_value global_step=None walltime=None new_style=False double_precision=False",
    "add_scalars": "main_tag tag_scalar_dict global_step=None walltime=None",
    "add_tensor": "tag tensor global_step=None walltime=None",
    "add_histogram": "tag values global_step=None bins='tensorflow' walltime=None max_bins=None",
    "add_histogram_raw": (
        "tag min max num sum sum_squares bucket_limits bucket_counts global_step=None walltime=None"
    ),
    "add_image": "tag img_tensor global_step=None walltime=None dataformats='CHW'",
    "add_images": "tag img_tensor global_step=None walltime=None dataformats='NCHW'",
    "add_image_with_boxes": (
        "tag img_tensor box_tensor global_step=None walltime=None rescale=1 dataformats='CHW' labels=None"
    ),
    "add_figure": "tag figure global_step=None close=True walltime=None",
    "add_video": "tag vid_tensor global_step=None fps=4 walltime=None",
    "add_audio": "tag snd_tensor global_step=None sample_rate=44100 walltime=None",
    "add_text": "tag text_string global_step=None walltime=None",
    "add_onnx_graph": "prototxt",
    "add_graph": "model input_to_model=None verbose=False use_strict_trace=True",
    "add_embedding": "mat metadata=None label_img=None global_step=None tag='default' metadata_header=None",
    "add_pr_curve": "tag labels predictions global_step=None num_thresholds=127 weights=None walltime=None",
    "add_pr_curve_raw": (
        "tag true_positive_counts false_positive_counts true_negative_counts false_negative_counts precision recall "
        "global_step=None num_thresholds=127 weights=None walltime=None"
    ),
    "add_custom_scalars_multilinechart": "tags category='default' title='untitled'",
    "add_custom_scalars_marginchart": "tags category='default' title='untitled'",
    "add_custom_scalars": "layout",
    "add_mesh": "tag vertices colors=None faces=None config_dict=None global_step=None walltime=None",
    "get_logdir": "",
    "flush": "",
    "close": "",
}
"""Public methods of torch 2's `SummaryWriter`, and what they take."""


class Tensor:
    """What torch's tensors have."""

    def __init__(self, array: Any) -> None:
        self._array = np.asarray(array)

    def detach(self) -> Tensor:
        return self

    def cpu(self) -> Tensor:
        return self

    def numpy(self) -> Any:
        return self._array

    def item(self) -> Any:
        return self._array.item()


@pytest.mark.parametrize("name", SIGNATURES)
def test_it_takes_what_torchs_takes(name: str) -> None:
    parameters = list(inspect.signature(getattr(SummaryWriter, name)).parameters.values())[1:]
    taken = [
        parameter.name
        if parameter.default is inspect.Parameter.empty
        else f"{parameter.name}={parameter.default!r}"
        for parameter in parameters
    ]
    assert " ".join(taken) == SIGNATURES[name]


def test_the_constructor_takes_what_torchs_takes() -> None:
    parameters = list(inspect.signature(SummaryWriter).parameters.values())
    taken = [
        f"{parameter.name}={parameter.default!r}"
        for parameter in parameters
        if parameter.kind is not parameter.KEYWORD_ONLY
    ]
    assert " ".join(taken) == (
        "log_dir=None comment='' purge_step=None max_queue=10 flush_secs=120 filename_suffix=''"
    )


def test_scalars_go_to_a_run_of_its_own_and_to_event_files(experiment: Experiment, tmp_path: Path) -> None:
    with SummaryWriter(tmp_path / "logs" / "a", experiment=experiment, event_files=True) as writer:
        for step in range(30):
            writer.add_scalar("loss", step / 7, step, walltime=1e9 + step)
            writer.add_scalar("whole", step, Tensor(step))
            writer.add_scalar("tensor", Tensor([step / 3]), step)
            writer.add_scalar("numpy", np.float32(step / 3), np.int64(step))
            writer.add_scalar("double", step / 3, step, new_style=True, double_precision=True)
            writer.add_scalars("both", {"a": step, "b": -step}, step)
    scalars = oracle_scalars(tmp_path / "logs" / "a")
    assert scalars["loss"] == [(step, 1e9 + step, float(np.float32(step / 7))) for step in range(30)]
    assert [value for _, _, value in scalars["double"]] == [step / 3 for step in range(30)]
    assert [step for step, _, _ in scalars["whole"]] == list(range(30))
    assert [value for _, _, value in oracle_scalars(tmp_path / "logs" / "a" / "both_b")["both"]] == [
        -step for step in range(30)
    ]
    run = Run.get(experiment.workspace, writer.run.id)
    assert (run.status, run.name) == ("Completed", "a")
    metrics = run.get_metrics()
    assert metrics["loss"] == metrics["double"][:0] + [step / 7 for step in range(30)]
    assert metrics["double"] == [step / 3 for step in range(30)]
    assert metrics["tensor"] == [step / 3 for step in range(30)]
    assert (metrics["whole"], metrics["both/b"]) == (list(range(30)), [-step for step in range(30)])


def test_everything_else_goes_to_both(experiment: Experiment, tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    pixels = np.linspace(0, 1, 3 * 4 * 5).reshape(3, 4, 5)
    values = np.random.default_rng(1).normal(size=400)
    labels, chances = values > 0, np.clip(values / 4 + 0.5, 0, 1)
    with SummaryWriter(logs, experiment=experiment, event_files=True, max_queue=1) as writer:
        writer.add_text("note", "# ☃", 1)
        writer.add_image("image", Tensor(pixels), 1)
        writer.add_images("many", np.zeros((9, 1, 2, 3), np.uint8), 1)
        writer.add_image_with_boxes("boxes", pixels, np.array([[0, 0, 2, 2]]), 1, labels=["cat"])
        writer.add_video("video", np.zeros((1, 3, 3, 4, 5), np.uint8), 1)
        writer.add_audio("sound", values / 10, 1, 8000)
        writer.add_histogram("weights", values, 1)
        writer.add_pr_curve("pr", labels, chances, 1, num_thresholds=11)
        writer.add_custom_scalars({"all": {"a": ["Multiline", ["x", "y"]], "b": ["Margin", ["x", "y", "z"]]}})
        writer.add_hparams({"lr": 0.1, "name": "x", "on": True}, {"acc": 0.5}, run_name="h")
        writer.add_embedding(values.reshape(100, 4), list(range(100)), global_step=1)
        writer.add_mesh("mesh", np.zeros((1, 3, 3)), faces=np.array([[[0, 1, 2]]]), global_step=1)
        writer.add_graph(object())
    read = accumulated(logs)
    assert read.Tensors("note/text_summary")[0].tensor_proto.string_val == ["# ☃".encode()]
    image = read.Images("image")[0]
    assert (image.width, image.height) == (5, 4)
    histogram = read.Histograms("weights")[0].histogram_value
    assert (histogram.num, histogram.min, histogram.max) == (400, values.min(), values.max())
    assert histogram.sum == pytest.approx(values.sum())
    curve = tensor_util.make_ndarray(read.Tensors("pr")[0].tensor_proto)
    assert curve[0][0] == labels.sum()
    assert curve[0].tolist() == [(labels & (np.floor(chances * 10) >= n)).sum() for n in range(11)]
    assert curve[3].tolist() == [labels.sum() - positives for positives in curve[0]]
    sound = read.Audio("sound")[0]
    assert (sound.sample_rate, sound.length_frames) == (8000.0, 400)
    layout = Layout.FromString(read.Tensors("custom_scalars__config__")[0].tensor_proto.string_val[0])
    assert list(layout.category[0].chart[0].multiline.tag) == ["x", "y"]
    assert layout.category[0].chart[1].margin.series[0].lower == "y"
    metadata = accumulated(logs / "h").SummaryMetadata("_hparams_/session_start_info")
    started = HParamsPluginData.FromString(metadata.plugin_data.content).session_start_info
    assert {name: getattr(value, value.WhichOneof("kind")) for name, value in started.hparams.items()} == {
        "lr": 0.1,
        "name": "x",
        "on": True,
    }

    run = Run.get(experiment.workspace, writer.run.id)
    metrics = run.get_metrics()
    assert (metrics["note"], metrics["acc"], metrics["boxes/labels"]) == ("# ☃", 0.5, "cat")
    assert metrics["pr"]["true_positives"] == curve[0].tolist()
    (weights,) = run.get_histograms("weights")
    assert (weights.count, weights.min, weights.step) == (400, values.min(), 1)  # type: ignore[union-attr]
    assert run.get_params() == {"lr": 0.1, "name": "x", "on": True}
    media = run.get_media()
    assert isinstance(media, dict)
    assert {name: (kept[0].type, kept[0].step) for name, kept in media.items()} == {
        "image": ("image", 1),
        "many": ("image", 1),
        "boxes": ("image", 1),
        "video": ("image", 1),
        "sound": ("audio", 1),
        "mesh": ("object3d", 1),
    }
    assert media["image"][0].read() == image.encoded_image_string
    with wave.open(io.BytesIO(media["sound"][0].read())) as file:
        assert (file.getframerate(), file.getnframes()) == (8000, 400)
    assert {name.rpartition("_")[2] for name in run.get_file_names() if "embeddings" in name} == {
        "tensors.tsv",
        "metadata.tsv",
    }


def test_pictures_are_what_pillow_reads(tmp_path: Path) -> None:
    from PIL import Image

    from runstream.tensorboard.pictures import animated_png, png, to_pixels

    pixels = np.random.default_rng(0).integers(0, 255, (7, 5, 3), dtype=np.uint8)
    assert (np.asarray(Image.open(io.BytesIO(png(pixels)))) == pixels).all()
    frames = np.random.default_rng(0).integers(0, 255, (4, 7, 5, 3), dtype=np.uint8)
    moving = Image.open(io.BytesIO(animated_png(frames, 4)))
    assert (moving.n_frames, moving.info["duration"]) == (4, 250.0)  # type: ignore[attr-defined]
    for number, frame in enumerate(frames):
        moving.seek(number)
        assert (np.asarray(moving.convert("RGB")) == frame).all()
    grid = to_pixels(np.arange(10, dtype=np.uint8).reshape(10, 1, 1, 1), "NCHW")
    assert grid[:, :, 0].tolist() == [[0, 1, 2, 3, 4, 5, 6, 7], [8, 9, 0, 0, 0, 0, 0, 0]]


def test_purge_step_makes_void_what_was_before(experiment: Experiment, tmp_path: Path) -> None:
    for start, purge in ((0, None), (5, 5)):
        with SummaryWriter(
            tmp_path, purge_step=purge, experiment=experiment, event_files=True, filename_suffix=f".{start}"
        ) as writer:
            for step in range(start, 10):
                writer.add_scalar("loss", float(step + start), step)
    assert [value for _, _, value in oracle_scalars(tmp_path)["loss"]] == [0, 1, 2, 3, 4, 10, 11, 12, 13, 14]


def test_what_is_refused(experiment: Experiment, tmp_path: Path) -> None:
    with SummaryWriter(tmp_path, experiment=experiment) as writer:
        for value in ([1.0, 2.0], "high", object(), np.zeros(3)):
            with pytest.raises(UserErrorException):
                writer.add_scalar("loss", value)
        with pytest.raises(UserErrorException, match="dataformats"):
            writer.add_image("image", np.zeros((2, 2)))
        with pytest.raises(UserErrorException, match="labels"):
            writer.add_pr_curve("pr", [1, 0], [0.5])
        with pytest.raises(UserErrorException, match="probabilities"):
            writer.add_pr_curve("pr", [1], [2.0])
    assert not (tmp_path / "events").exists()
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_was_given_goes_on_after_close(experiment: Experiment, tmp_path: Path) -> None:
    run = experiment.start_logging(outputs=False, snapshot_directory=None)
    with SummaryWriter(tmp_path, run=run) as writer:
        writer.add_scalar("loss", 1.0)
        writer.add_scalar("loss", 2.0)
    assert run.status == "Running"
    assert run.get_metrics() == {"loss": [1.0, 2.0]}
    run.complete()


def test_an_error_fails_the_run_it_started(experiment: Experiment, tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), SummaryWriter(tmp_path, experiment=experiment) as writer:
        writer.add_scalar("loss", 1 / 0)
    assert Run.get(experiment.workspace, writer.run.id).status == "Failed"


def test_importing_runstream_loads_none_of_it() -> None:
    script = (
        "import sys, runstream; from runstream.core import Run; "
        "print([name for name in sys.modules if 'tensorboard' in name or 'importers' in name])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
