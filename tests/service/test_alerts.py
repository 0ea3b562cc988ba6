"""Alerts from a script to a receiver: rules made on the command line, a real service, a real HTTP server that takes them."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from .conftest import Shell


@contextmanager
def receiver() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Address of a web hook, and what it was sent."""
    taken: list[dict[str, Any]] = []

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            taken.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hook)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"json://127.0.0.1:{server.server_port}", taken
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


SCRIPT = """
from runstream.core import Experiment, Workspace
run = Experiment(Workspace(), "test").start_logging(run_id="r", outputs=False)
run.log("loss", 1.0)
run.log("loss", 99.0)
run.log("loss", float("nan"))
run.log("loss", 1.0)
run.alert("look", "at this", "WARN")
run.fail("out of memory")
"""


def test_what_a_script_logs_reaches_whom_the_rules_name(shell: Shell) -> None:
    with receiver() as (address, taken):
        shell.variables["RUNSTREAM_ALERT_RECEIVERS"] = f"hook={address}"
        shell.run("up")
        rule = ("alerts", "add")
        compared = ("--comparison", ">", "--threshold", "10")
        shell.run(*rule, "high", "--kind", "metric", "--metric", "loss", *compared, "--to", "hook")
        shell.run(*rule, "nan", "--kind", "nan", "--to", "hook")
        shell.run(*rule, "given", "--kind", "alert", "--to", "hook")
        shell.run(*rule, "bad", "--kind", "failed", "--to", "hook")
        shell.run(*rule, "quiet", "--kind", "silent", "--seconds", "60", "--to", "hook", "--off")
        assert [rule["name"] for rule in shell.json("alerts", "rules")] == [
            "bad",
            "given",
            "high",
            "nan",
            "quiet",
        ]
        assert shell.json("alerts", "test") == [{"name": "hook", "kind": "json"}]
        (send,) = shell.json("alerts", "test", "hook")
        assert (send["receiver"], send["state"]) == ("hook", "sent")
        shell.python(SCRIPT)
        shell.wait_until(lambda: len(taken) >= 5, what="all of them")
        assert sorted((document["title"], document["type"]) for document in taken) == [
            ("Test of runstream", "info"),
            ("bad: run failed", "failure"),
            ("high: loss > 10", "warning"),
            ("look", "warning"),
            ("nan: loss is not finite", "failure"),
        ]
        shown = {alert["title"]: alert for alert in shell.json("alerts", "list")}
        assert shown["bad: run failed"]["text"] == "UserError: out of memory"
        assert [alert["title"] for alert in shell.json("alerts", "list", "--rule", "high")] == [
            "high: loss > 10"
        ]
        assert len(shell.json("alerts", "list", "--run", "r")) == 4
        assert "hook: sent" in shell.run("alerts", "list").stdout
        shell.run("alerts", "remove", "high")
        refused = shell.run("alerts", "remove", "high", check=False)
        assert (refused.returncode, "has no alert rule 'high'" in refused.stderr) == (1, True)
        assert shell.run("alerts", "test", "bob", check=False).returncode == 1
        assert len(taken) == 5
