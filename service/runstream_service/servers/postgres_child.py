"""Becomes a program of Postgres: with an identity Postgres accepts, and dying when the service dies.

Run as a script (`python -I -S postgres_child.py PLAN`, PLAN being JSON), not imported: what it does has to happen between
fork and exec, and running Python code there in a process with threads can hang.

Postgres refuses to run as root, and initdb refuses a user without a name. So a root (or nameless) caller becomes another
user in one of two ways. *namespace*: a user namespace of one user, in which our own user has another number; files stay
ours. *drop*: really another user, to whom the files are given, and who gets the data's directory opened where it could not
reach it. Neither creates users nor changes modes of directories above the data.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import signal
import sys
from collections.abc import Sequence

CANNOT_UNSHARE = 97
"""Exit status: user namespaces are not allowed here."""
CANNOT_DROP = 98
"""Exit status: this root may not become another user."""

CANNOT_EXECUTE = 96
"""Exit status: the program cannot be executed by the user we became."""

CLONE_NEWUSER = 0x10000000
PR_SET_PDEATHSIG = 1


def main(plan: dict[str, object]) -> None:
    """Follow the plan: {identity, user, group, argv, lifeline?, parent}. Does not return."""
    signal.signal(
        signal.SIGINT, signal.SIG_DFL
    )  # a service started by `sh … &` ignores it, and would hand that on
    signal.pthread_sigmask(signal.SIG_SETMASK, set())
    argv = [str(word) for word in _words(plan["argv"])]
    if plan["identity"] == "namespace":
        enter_namespace(int(str(plan["user"])))
    elif plan["identity"] == "drop":
        drop_to(int(str(plan["user"])), int(str(plan["group"])))
    lifeline = plan.get("lifeline")
    if lifeline is not None:
        watch_lifeline(int(str(lifeline)))
    elif sys.platform == "linux":
        # After the change of identity, which clears it. SIGINT is Postgres' fast shutdown: clients off, checkpoint, end.
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGINT, 0, 0, 0)
        if os.getppid() != plan["parent"]:
            sys.exit("the service is gone already")
    try:
        os.execv(argv[0], argv)
    except OSError as error:
        print(f"{argv[0]}: {error.strerror}", file=sys.stderr)
        sys.exit(CANNOT_EXECUTE)


def _words(value: object) -> Sequence[object]:
    return value if isinstance(value, list) else []


def enter_namespace(user: int) -> None:
    """Enter a user namespace where the caller has the number `user`; exit with CANNOT_UNSHARE when not allowed."""
    caller = os.geteuid()
    libc = ctypes.CDLL(None, use_errno=True)
    if sys.platform != "linux" or libc.unshare(CLONE_NEWUSER):
        sys.exit(CANNOT_UNSHARE)
    try:
        with open("/proc/self/uid_map", "w") as map_file:
            map_file.write(f"{user} {caller} 1\n")
    except OSError:
        sys.exit(CANNOT_UNSHARE)
    if os.geteuid() != user:
        sys.exit(CANNOT_UNSHARE)


def drop_to(user: int, group: int) -> None:
    """Become another user, without any rights of root; exit with CANNOT_DROP when that is not possible."""
    try:
        os.setgroups([])
        os.setgid(group)
        os.setuid(user)
    except OSError:
        sys.exit(CANNOT_DROP)


def watch_lifeline(descriptor: int) -> None:
    """Leave a watcher behind that ends this process when the other end of the pipe `descriptor` closes.

    For systems without a signal at the parent's death. The watcher is no child of Postgres, which would wonder about it.
    """
    server = os.getpid()
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        os.close(descriptor)
        return
    if os.fork():
        os._exit(0)
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(null, standard)
    with contextlib.suppress(ProcessLookupError):
        while True:
            readable, _, _ = select.select([descriptor], [], [], 1.0)
            if readable and not os.read(descriptor, 1):
                os.kill(server, signal.SIGINT)
                break
            os.kill(server, 0)
    os._exit(0)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
