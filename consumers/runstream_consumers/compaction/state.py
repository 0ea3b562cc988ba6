"""What a compactor counts, for Prometheus."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING

from runstream_schemas.metrics import counter, gauge

from .hot_to_parquet import Report
from .merge import MergeReport

if TYPE_CHECKING:
    from prometheus_client import Metric

COUNTED = {
    "rounds": "Rounds done",
    "failures": "Rounds that failed and were tried again",
    "runs": "Runs moved to Parquet",
    "points": "Points moved to Parquet",
    "files": "Files they became",
    "bytes": "Bytes of these files",
    "seconds": "Seconds this took",
    "merged_files": "Small files merged into larger ones",
    "lost_claims": "Files given up because another compactor made them",
    "summaries_corrected": "Summaries that differed from their points",
    "snapshots": "Snapshots of Iceberg tables published",
}


@dataclass(slots=True, eq=False)
class CompactorState:
    """What a compactor did since it started; `COUNTED` says what each is."""

    rounds: int = 0
    failures: int = 0
    runs: int = 0
    points: int = 0
    files: int = 0
    bytes: int = 0
    seconds: float = 0.0
    merged_files: int = 0
    lost_claims: int = 0
    summaries_corrected: int = 0
    snapshots: int = 0
    last_round: float = 0.0
    left: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Runs and points in the hot tier by state, as `role.what_is_left` has them."""

    def add(self, report: Report) -> None:
        """Something was compacted."""
        for name in {item.name for item in fields(self)} & {item.name for item in fields(report)}:
            setattr(self, name, getattr(self, name) + getattr(report, name))

    def add_merged(self, report: MergeReport) -> None:
        """Something was merged."""
        self.merged_files += report.files
        self.lost_claims += report.lost_claims

    def ended_round(self) -> None:
        """A round was done without a failure."""
        self.rounds += 1
        self.last_round = time.time()

    def collect(self) -> Iterator[Metric]:
        """See `runstream_schemas.metrics.Collected`."""
        for name, meaning in COUNTED.items():
            yield counter(f"compactor_{name}", meaning, getattr(self, name))
        for at, what in enumerate(("runs", "points")):
            yield gauge(
                f"compactor_hot_{what}",
                f"{what.capitalize()} in the hot tier at the last look: being moved, ended, running",
                {(state,): numbers[at] for state, numbers in self.left.items()},
                "state",
            )
        yield gauge(
            "compactor_last_round_time_seconds", "When the last round ended, since the epoch", self.last_round
        )
