"""The benchmarks' own logic: what is read from other processes, how tables are written, and that a fall is noticed."""

from __future__ import annotations

import importlib
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from bench import growth, load, profiles, quick
from bench.__main__ import MODULES, PAGE, _section
from bench.peers import compare, environments
from bench.result import Result, comparison, table

PEERS = Path(compare.__file__).parent

FILE_LOGGER = """
import sys
sys.path.insert(0, {peers!r})
import measure
from pathlib import Path

IMPORTS, PACKAGES = ("json",), ("pytest",)

def prepare(home): pass

def open_run(home, name):
    file = open(home / name, "w", buffering={buffering})
    def one(step, value): file.write(f"{{step}} {{value}}\\n")
    def ten(step, values): [file.write(f"{{step}} {{value}}\\n") for value in values.values()]
    return measure.Writer(one, ten, file.close)

def read(home, name): return (home / name).read_text().count("\\n")

def list_runs(home): return len(list(home.glob("run_*")))

def disk(home): return measure.allocated(home)

print("noise that a library prints")
measure.main(sys.modules[__name__])
"""


@pytest.fixture
def adapters(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, ModuleType]]:
    """The adapters as modules: what they import at the top is in every Python."""
    monkeypatch.syspath_prepend(str(PEERS))
    names = [f"adapter_{name}" for name in compare.SYSTEMS]
    yield {name: importlib.import_module(name) for name in names}
    for name in (*names, "measure"):
        sys.modules.pop(name, None)


@pytest.fixture
def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Asks a logger into plain files, as a peer is asked."""
    monkeypatch.setattr(compare, "HERE", tmp_path)

    def asked(what: str, *, buffering: int = 1) -> dict[str, object]:
        (tmp_path / "adapter_files.py").write_text(FILE_LOGGER.format(peers=str(PEERS), buffering=buffering))
        home = tmp_path / "home"
        home.mkdir(exist_ok=True)
        return compare.ask(compare.System("files", Path(sys.executable)), what, home, 0.02)

    return asked


def test_calls_are_measured_in_a_process_of_its_own(ask) -> None:
    answer = ask("calls")
    assert 0 <= answer["one"]["p50"] <= answer["one"]["p99"]
    assert answer["points"] >= 2 * 40 + 2 * 400
    assert 0 < answer["bytes"] < 4096
    assert ask("read")["points"] == answer["one"]["calls"]


def test_what_a_kill_loses_is_counted(ask) -> None:
    assert ask("kill") == {}
    kept = ask("survivors")
    assert kept["found"] == kept["logged"] >= 40
    ask("kill", buffering=1 << 30)
    lost = ask("survivors", buffering=1 << 30)
    assert lost["logged"] >= 40
    assert lost["found"] == 0


def test_too_slow_is_a_reason_not_a_hang(ask, tmp_path: Path) -> None:
    ask("import")
    with pytest.raises(compare.FailedError, match=r"took more than 0\.01 s"):
        compare.ask(
            compare.System("files", Path(sys.executable)), "calls", tmp_path / "home", 5.0, timeout=0.01
        )


def test_the_answer_is_the_last_line() -> None:
    assert compare.parse("read", 0, 'Uploading...\n{"other": 1}\n\n{"points": 3}\n', "") == {"points": 3}
    for code, output in (
        (0, "no answer\n"),
        (0, ""),
        (0, "[1]"),
        (1, '{"points": 3}'),
        (-9, '{"points": 3}'),
    ):
        with pytest.raises(compare.FailedError):
            compare.parse("read", code, output, "Traceback\nValueError: x")


def test_every_system_has_an_adapter_and_pins(adapters: dict[str, ModuleType]) -> None:
    assert {path.stem for path in PEERS.glob("adapter_*.py")} == set(adapters)
    for name, adapter in adapters.items():
        needed = ["prepare", "open_run", "read", "disk"]
        needed += [] if (name.removeprefix("adapter_"), "list") in compare.CANNOT else ["list_runs"]
        assert [what for what in needed if not callable(getattr(adapter, what, None))] == [], name
    for name in [*compare.SYSTEMS, "chdb"]:
        if name != "runstream":
            pins = (environments.PINS / f"{name}.txt").read_text().splitlines()
            assert all(re.fullmatch(r"[\w.-]+(\[[\w,-]+\])?==[\w.]+( ;.*)?", pin) for pin in pins), name


def test_records_of_a_log_in_blocks_are_read_up_to_a_torn_end(adapters: dict[str, ModuleType]) -> None:
    wandb = adapters["adapter_wandb"]
    records = [b"a" * 10, b"b" * 70_000, b"c" * 5, b"d" * 32_000, b""]
    data = bytearray(b":W&B\xd2\xbe\x00")
    for record in records:
        rest, first = record, True
        while first or rest:
            room = wandb.BLOCK - len(data) % wandb.BLOCK
            if room < wandb.HEADER:
                data += bytes(room)
                continue
            piece, rest = rest[: room - wandb.HEADER], rest[room - wandb.HEADER :]
            kind = (1 if not rest else 2) if first else (4 if not rest else 3)
            data += bytes(4) + len(piece).to_bytes(2, "little") + bytes([kind]) + piece
            first = False
    assert wandb._records(bytes(data)) == records
    assert wandb._records(bytes(data[: 7 + 17 + 40_000])) == records[:1]


def test_a_cell_is_a_figure_or_a_dash_and_why() -> None:
    fast = compare.System("runstream", answers={"read": [{"seconds": 0.5, "points": 1_000_000}] * 3})
    slow = compare.System("aim", answers={"read": [{"seconds": 1.0, "points": 10_000}]})
    unable = compare.System("wandb", reasons={"read": compare.OFFLINE})
    text = comparison(
        [row for row in compare.rows([fast, slow, unable]) if row.name == "read 1 M points back"]
    )
    assert text.splitlines() == [
        "| what | unit | runstream | Aim | W&B offline |",
        "|---|---|---:|---:|---:|",
        "| read 1 M points back | s | 0.5 (0.5 to 0.5) | 100 <sup>1</sup> | — <sup>2</sup> |",
        "",
        f"1: scaled from 10,000 points; 2: {compare.OFFLINE}.",
    ]


def test_a_table_of_one_system_is_as_before() -> None:
    text = table([Result("x", [1.0, 3.0], "us", must=2.5)])
    assert text.splitlines()[-1] == "| x | 2 us | 1 to 3 | 2.5 |  | yes |"


def test_why_an_installation_failed_holds_no_path() -> None:
    assert (
        environments.last_line("Collecting\nerror: no wheel in /elsewhere/x for y\n\n")
        == "error: no wheel in for y"
    )
    with pytest.raises(environments.NoEnvironmentError, match="could not be installed"):
        raise environments.NoEnvironmentError(f"could not be installed: {environments.last_line(None)}")


@pytest.mark.parametrize(
    ("share", "failed"), [(1.0, False), (0.51, False), (0.49, True), (float("nan"), True)]
)
def test_a_ratio_that_fell_by_half_fails(share: float, failed: bool) -> None:
    baseline = json.loads(quick.BASELINE.read_text())
    slowed = next(iter(baseline))
    lines, slower = quick.compare({**baseline, slowed: baseline[slowed] * share}, baseline)
    assert slower == ([slowed] if failed else [])
    assert len(lines) == len(baseline) + 1


def test_a_ratio_that_is_gone_or_new_fails() -> None:
    assert quick.compare({"a": 1.0}, {"b": 1.0})[1] == ["a", "b"]


def test_slower_work_lowers_its_ratio() -> None:
    work = [
        quick.Ratio("same", _count, _count),
        quick.Ratio("slow", lambda: [_count() for _ in range(8)], _count),
    ]
    measured = quick.measure(work, rounds=5)
    assert measured["slow"] < measured["same"] / 2


def _count() -> int:
    return sum(range(20_000))


def test_levels_that_would_take_too_long_are_left_out() -> None:
    now = [0.0]

    def measure(level: int) -> None:
        now[0] += level / 100

    curve = growth.Growth("runs")
    growth.climb(curve, (100, 1_000, 10_000, 100_000), 60.0, measure, clock=lambda: now[0])
    assert curve.left_out == [10_000, 100_000]


def test_growth_is_reported_with_its_change_and_a_plot() -> None:
    curve = growth.Growth("points")
    for level, cost in ((10, 5.0), (100, 2.0), (1_000, 4.0), (10_000, 3.0)):
        curve.add("log()", "us a point", level, [cost])
    measured = growth.report([curve])
    assert curve.last_change("log()") == 1.5
    assert "log(): 1.5 times" in measured.notes[1]
    drawing = measured.plots["growth_points.svg"]
    assert drawing == growth.plot(curve)
    assert "log() (us a point)" in drawing


def test_plots_are_linked_and_written_only_when_asked() -> None:
    measured = {"results": [], "notes": ["said"], "plots": {"growth_x.svg": "<svg/>"}}
    assert "said\n\n![growth x](plots/growth_x.svg)" in _section("growth", measured, write=False)
    assert not (PAGE.parent / "plots" / "growth_x.svg").exists()


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("/x/bin/python -P -m runstream up --foreground", "the service, all roles"),
        ("/x/bin/python -m runstream consumer", "consumer"),
        ("postgres: io worker 2", "Postgres"),
        ("/x/bin/postgres -D /tmp/runstream/postgres", "Postgres"),
        ("java -cp x kafka.Kafka server.properties", "Kafka"),
        ("/x/bin/python -m bench.writers --runs 8", "writers"),
        ("/x/bin/python -I -S -c import os", "other"),
    ],
)
def test_processes_are_told_apart(line: str, name: str) -> None:
    assert load.role(line) == name


def test_stacks_become_shares_without_paths() -> None:
    stacks = (
        "<module> (runstream/__main__.py:3);collect (/a/runstream/spool/collecting/collector.py:10);dumps (/lib/x.py:2) 30\n"
        "<module> (runstream/__main__.py:3);collect (/a/runstream/spool/collecting/collector.py:10) 10\nnot a stack\n"
    )
    profile = profiles.parse("agent", stacks)
    assert profile.samples == 40
    assert profile.own["runstream.spool.collecting.collector.collect"] == 10
    assert profile.total["runstream.spool.collecting.collector.collect"] == 40
    text = profiles.table(profile, 1.0)
    assert "busy for 20% of the time" in text
    assert "| `x.dumps` | 75.0 % | 75.0 % |" in text
    assert "/" not in text


def test_every_measurement_is_explained() -> None:
    page = PAGE.read_text()
    assert [
        name for name in MODULES if not re.search(rf"^\| {name} \| \[bench/{name}", page, re.MULTILINE)
    ] == []
