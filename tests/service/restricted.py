"""Runs a command as a container would: `python restricted.py RESTRICTION[,...] COMMAND ...` (as root; Linux).

no-namespaces   unshare(2) is refused, as by Docker's seccomp profile
no-setuid       the capability SETUID is gone for good, as with --cap-drop
no-ptrace       so is SYS_PTRACE: what processes of other users have open cannot be seen (Docker's default)
user=UID:GID    another user, who may search closed directories: this Python may lie below one
"""

from __future__ import annotations

import ctypes
import os
import platform
import sys

CAP_SETUID, CAP_DAC_READ_SEARCH, CAP_SYS_PTRACE = 7, 2, 19
PR_SET_KEEPCAPS, PR_SET_SECCOMP, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 8, 22, 24, 38
PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE = 47, 2
LIBC = ctypes.CDLL(None, use_errno=True)


class _Instruction(ctypes.Structure):
    _fields_ = [
        ("code", ctypes.c_ushort),
        ("jt", ctypes.c_ubyte),
        ("jf", ctypes.c_ubyte),
        ("k", ctypes.c_uint),
    ]


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.POINTER(_Instruction))]


class _Header(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]


class _Sets(ctypes.Structure):
    _fields_ = [
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    ]


def check(result: int) -> None:
    if result:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def refuse_unshare() -> None:
    number = {"x86_64": 272, "aarch64": 97}[platform.machine()]
    program = (_Instruction * 4)(
        (0x20, 0, 0, 0),  # load the call's number
        (0x15, 0, 1, number),
        (0x06, 0, 0, 0x00050001),  # EPERM
        (0x06, 0, 0, 0x7FFF0000),  # allowed
    )
    check(LIBC.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    check(LIBC.prctl(PR_SET_SECCOMP, 2, ctypes.byref(_Program(4, program)), 0, 0))


def become(user: int, group: int) -> None:
    check(LIBC.prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0))
    os.setgroups([])
    os.setgid(group)
    os.setuid(user)
    bits = 1 << CAP_DAC_READ_SEARCH
    sets = (_Sets * 2)(_Sets(bits, bits, bits), _Sets(0, 0, 0))
    check(LIBC.capset(ctypes.byref(_Header(0x20080522, 0)), sets))
    check(LIBC.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_DAC_READ_SEARCH, 0, 0))


def main() -> None:
    for restriction in filter(None, sys.argv[1].split(",")):
        name, _, value = restriction.partition("=")
        if name == "no-namespaces":
            refuse_unshare()
        elif name == "no-setuid":
            check(LIBC.prctl(PR_CAPBSET_DROP, CAP_SETUID, 0, 0, 0))
        elif name == "no-ptrace":
            check(LIBC.prctl(PR_CAPBSET_DROP, CAP_SYS_PTRACE, 0, 0, 0))
        else:
            become(*map(int, value.split(":")))
    os.execv(sys.argv[2], sys.argv[2:])


if __name__ == "__main__":
    main()
