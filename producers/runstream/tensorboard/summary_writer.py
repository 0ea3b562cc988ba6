"""`SummaryWriter`: scripts written for torch's or tensorboardX's record into a run, and into event files if wanted."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from ..exceptions import RunEnvironmentException
from ..spool.values import check_text
from . import encoding
from .destinations import FileDestination, RunDestination, step_of
from .distributions import Distributions
from .event_writer import EventFileWriter
from .extras import Extras
from .given import number_of, parameter_of
from .names import experiment_name
from .pictures import as_array, png, to_pixels, with_boxes

if TYPE_CHECKING:
    from ..core.experiment import Experiment
    from ..core.run import Run


class SummaryWriter(Distributions, Extras):
    """Takes the calls of `torch.utils.tensorboard.SummaryWriter`, and needs neither torch nor TensorBoard.

    `add_scalar` is `Run.log` with nothing to speak of before it: no thread, no queue, and a `kill -9` loses nothing.

    Args:
        log_dir: names the run, and holds the event files; default `runs/<date>_<host><comment>`.
        comment: end of the default `log_dir`.
        purge_step: in event files, make void what was written before of this step and later ones.
        max_queue: in event files, records that wait at most.
        flush_secs: in event files, seconds a record waits at most.
        filename_suffix: the suffix of the names of event files.
        run: the run to record into; default: the run the script was submitted as, else a new one, which `close` completes.
        experiment: where a new run belongs: an `Experiment`, or a name; default: the directory that holds `log_dir`.
        event_files: write event files too.

    Attributes:
        log_dir: as given, or as made.
        run: what it records into.
    """

    def __init__(
        self,
        log_dir: str | Path | None = None,
        comment: str = "",
        purge_step: int | None = None,
        max_queue: int = 10,
        flush_secs: float = 120,
        filename_suffix: str = "",
        *,
        run: Run | None = None,
        experiment: Experiment | str | None = None,
        event_files: bool = False,
    ) -> None:
        self.log_dir = str(log_dir) if log_dir else _default_log_dir(comment)
        self._owns = False
        self.run = run if run is not None else self._find_or_start(experiment)
        self._to_run = RunDestination(self.run)
        self._to_files: FileDestination | None = None
        if event_files:
            self._to_files = FileDestination(
                Path(self.log_dir),
                lambda folder: EventFileWriter(folder, max_queue, flush_secs, filename_suffix),
            )
            if purge_step is not None:
                self._to_files.restart(purge_step)
        else:
            self.run._live()
            # Found before the method: a point costs a look at its type beside what `Run.log` does.
            self.__dict__["add_scalar"] = _quick_scalar(self.run.log, self.add_scalar)

    def _find_or_start(self, experiment: Experiment | str | None) -> Run:
        from ..core.experiment import Experiment
        from ..core.run import Run
        from ..core.workspace import Workspace

        if experiment is None:
            try:
                submitted: Run = Run.get_context(allow_offline=False)
                return submitted
            except RunEnvironmentException:
                experiment = experiment_name(Path(self.log_dir).absolute().parent)
        if isinstance(experiment, str):
            experiment = Experiment(Workspace.from_config(), experiment)
        self._owns = True
        return experiment.start_logging(name=Path(self.log_dir).name or None, outputs=False)

    def get_logdir(self) -> str:
        """The log directory."""
        return self.log_dir

    # --- numbers ---

    def add_scalar(
        self,
        tag: str,
        scalar_value: Any,
        global_step: Any = None,
        walltime: float | None = None,
        new_style: bool = False,
        double_precision: bool = False,
    ) -> None:
        """Record a number; some 0.4 µs.

        Args:
            tag: names the metric.
            scalar_value: a number, or an array or tensor of one.
            global_step: its step; default: the metric's next one (in event files 0).
            walltime: seconds since the epoch; default: now.
            new_style: in event files, as a tensor.
            double_precision: in event files, as a double; needs `new_style`.

        Raises:
            UserErrorException: no number, or a step that is no integer.
        """
        value, step = number_of(tag, scalar_value), step_of(tag, global_step)
        self._to_run.scalar(tag, value, step, walltime)
        if self._to_files is None:
            return
        if new_style:
            tensor = encoding.numbers_tensor(np.array(value, np.float64 if double_precision else np.float32))
            self._to_files.values([encoding.tensor_value(tag, "scalars", tensor)], step, walltime)
        else:
            self._to_files.scalar(tag, value, step, walltime)

    def add_scalars(
        self,
        main_tag: str,
        tag_scalar_dict: Mapping[str, Any],
        global_step: Any = None,
        walltime: float | None = None,
    ) -> None:
        """Record several numbers, as metrics `main_tag/<key>`; in event files in a directory each, as torch does."""
        step = step_of(main_tag, global_step)
        for key, given in tag_scalar_dict.items():
            value = number_of(f"{main_tag}/{key}", given)
            self._to_run.scalar(f"{main_tag}/{key}", value, step, walltime)
            if self._to_files is not None:
                folder = f"{main_tag.replace('/', '_')}_{key}"
                self._to_files.apart(folder, [encoding.scalar_value(main_tag, float(value))], step, walltime)

    def add_tensor(
        self, tag: str, tensor: Any, global_step: Any = None, walltime: float | None = None
    ) -> None:
        """Record a tensor: one number as a metric, more as an array file of numpy."""
        array, step = as_array(tensor), step_of(tag, global_step)
        if array.size == 1 and array.dtype.kind in "fiub":
            self._to_run.scalar(tag, array.reshape(-1)[0].item(), step, walltime)
        else:
            self._to_run.array_file(tag, array, step, walltime)
        if self._to_files is not None:
            self._to_files.values(
                [encoding.tensor_value(tag, "", encoding.numbers_tensor(array))], step, walltime
            )

    # --- texts, images, parameters ---

    def add_text(
        self, tag: str, text_string: str, global_step: Any = None, walltime: float | None = None
    ) -> None:
        """Record a text (Markdown)."""
        step, text = step_of(tag, global_step), check_text(f"text {tag!r:.60}", text_string)
        self._to_run.text(tag, text, step, walltime)
        if self._to_files is not None:
            self._to_files.values([encoding.text_value(f"{tag}/text_summary", text)], step, walltime)

    def add_image(
        self,
        tag: str,
        img_tensor: Any,
        global_step: Any = None,
        walltime: float | None = None,
        dataformats: str = "CHW",
    ) -> None:
        """Record an image.

        Args:
            img_tensor: numbers from 0 to 1, or of the type uint8 from 0 to 255.
            dataformats: what each dimension is, of the letters N, C, H and W; several images become a grid.
        """
        self._pixels(tag, to_pixels(img_tensor, dataformats), global_step, walltime)

    def add_images(
        self,
        tag: str,
        img_tensor: Any,
        global_step: Any = None,
        walltime: float | None = None,
        dataformats: str = "NCHW",
    ) -> None:
        """Record several images as a grid; as `add_image`."""
        self.add_image(tag, img_tensor, global_step, walltime, dataformats)

    def add_image_with_boxes(
        self,
        tag: str,
        img_tensor: Any,
        box_tensor: Any,
        global_step: Any = None,
        walltime: float | None = None,
        rescale: float = 1,
        dataformats: str = "CHW",
        labels: Sequence[str] | None = None,
    ) -> None:
        """Record an image with boxes around what was found in it; their labels go into a text `<tag>/labels`.

        Args:
            box_tensor: an array of shape (n, 4): left, top, right and bottom of each, in pixels.
            rescale: the factor for the image; only 1 is supported.
        """
        if rescale != 1:
            self._to_run.say("rescale", f"add_image_with_boxes({tag!r}): the image is kept in its own size")
        self._pixels(tag, with_boxes(to_pixels(img_tensor, dataformats), box_tensor), global_step, walltime)
        if labels is not None:
            self.add_text(f"{tag}/labels", ", ".join(map(str, labels)), global_step, walltime)

    def _pixels(self, tag: str, pixels: Any, global_step: Any, walltime: float | None) -> None:
        height, width, channels = pixels.shape
        self._image(tag, png(pixels), (height, width, channels), global_step, walltime)

    def add_hparams(
        self,
        hparam_dict: Mapping[str, Any],
        metric_dict: Mapping[str, Any],
        hparam_domain_discrete: Mapping[str, Sequence[Any]] | None = None,
        run_name: str | None = None,
        global_step: Any = None,
    ) -> None:
        """Record parameters, as the run's own, and metrics that tell how good they are.

        Args:
            hparam_domain_discrete: in event files, the values a parameter may have.
            run_name: in event files, the directory these are in; default: the time.
        """
        values = {name: parameter_of(value) for name, value in hparam_dict.items()}
        self._to_run.parameters(values)
        step = step_of("add_hparams", global_step)
        numbers = {tag: number_of(tag, value) for tag, value in metric_dict.items()}
        for tag, value in numbers.items():
            self._to_run.scalar(tag, value, step, None)
        if self._to_files is not None:
            folder = run_name or str(time.time())
            domains = hparam_domain_discrete or {}
            for value_of_file in encoding.hparams_values(values, list(numbers), domains):
                self._to_files.apart(folder, [value_of_file], None, None)
            for tag, value in numbers.items():
                self._to_files.apart(folder, [encoding.scalar_value(tag, float(value))], step, None)

    # --- its end ---

    def flush(self) -> None:
        """Write what waits for the event files. What goes to the run never waits."""
        if self._to_files is not None:
            self._to_files.flush()

    def close(self) -> None:
        """End the event files, and complete the run if it was started here."""
        if self._to_files is not None:
            self._to_files.close()
        if self._owns:
            self.run.complete()

    def __enter__(self) -> SummaryWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None and self._owns and not isinstance(error, SystemExit):
            self.run.fail(error)
        self.close()


def _quick_scalar(log: Callable[..., None], whole: Callable[..., None]) -> Callable[..., None]:
    """`add_scalar` for what is a number of Python's own, as it is in most calls."""

    def add_scalar(
        tag: str,
        scalar_value: Any,
        global_step: Any = None,
        walltime: float | None = None,
        new_style: bool = False,
        double_precision: bool = False,
    ) -> None:
        if walltime is None and (type(scalar_value) is float or type(scalar_value) is int):
            log(tag, scalar_value, "", global_step)
        else:
            whole(tag, scalar_value, global_step, walltime)

    return add_scalar


def _default_log_dir(comment: str) -> str:
    import socket
    from datetime import datetime

    moment = datetime.now().strftime("%b%d_%H-%M-%S")
    return str(Path("runs", f"{moment}_{socket.gethostname()}{comment}"))
