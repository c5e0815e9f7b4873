"""Become another program that dies with its parent.

    python -I -S launch.py PARENT SIGNAL ACCOUNT [NEEDED...] -- PROGRAM [ARGUMENT...]

PARENT is the pid of whoever starts us; the kernel sends us SIGNAL when it dies, however it dies. (Linux
only: elsewhere the next start finds and stops what was left behind.) ACCOUNT is `-` to stay who we are, or
`uid:gid` to become when root starts a program that must not run as root. NEEDED are files that the account
has to read. Where it may not, in a checkout under /root for example, it keeps the one capability for it,
rather than that we open up directories which their owner has closed.

Only cheap modules of the standard library are imported: this runs before every child.
"""

import ctypes
import os
import signal
import sys
from typing import NoReturn

PR_SET_PDEATHSIG = 1
PR_SET_KEEPCAPS = 8
PR_SET_SECUREBITS = 28
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
SECBIT_NO_SETUID_FIXUP = 4
CAP_DAC_OVERRIDE = 1
CAP_SETPCAP = 8
CAPABILITY_VERSION_3 = 0x20080522

IS_LINUX = sys.platform.startswith("linux")


def main(arguments: list[str]) -> NoReturn:
    separator = arguments.index("--")
    (parent, death_signal, account), needed = arguments[:3], arguments[3:separator]
    program = arguments[separator + 1 :]
    try:
        if account != "-":
            become(account, needed)
    except OSError as error:
        sys.exit(f"{program[0]} must not run as root, and we may not become another user ({error.strerror}).")
    if IS_LINUX:
        die_with(int(parent), int(death_signal))
    for ignored_by_python in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(ignored_by_python, signal.SIG_DFL)
    try:
        os.execv(program[0], program)
    except OSError as error:
        sys.exit(f"{program[0]} cannot be run: {error.strerror}.")


def become(account: str, needed: list[str]) -> None:
    """Give up root for good, but for the right to reach what is needed and closed to the account."""
    uid, gid = (int(number) for number in account.split(":"))
    if IS_LINUX:
        prctl(PR_SET_KEEPCAPS, 1)
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)
    closed = [path for path in needed if not os.access(path, os.R_OK)]  # to the account, capabilities aside
    if closed:
        keep_file_access(closed[0])


def keep_file_access(path: str) -> None:
    """Drop every capability but the one that opens files, and let that one survive exec."""
    if not IS_LINUX or not (
        keep_capabilities(CAP_DAC_OVERRIDE, CAP_SETPCAP)
        # Without this bit access(), which PostgreSQL asks about its programs, goes on to ignore them.
        and prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP) == 0
        and keep_capabilities(CAP_DAC_OVERRIDE)
        and prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_DAC_OVERRIDE) == 0
    ):
        sys.exit(f"{path} is closed to every account but root, and this program must not run as root.")


def keep_capabilities(*capabilities: int) -> bool:
    """Drop all others; False when we do not have them."""
    mask = sum(1 << capability for capability in capabilities)
    header = CapabilityHeader(CAPABILITY_VERSION_3, 0)
    sets = (CapabilitySets * 2)(CapabilitySets(mask, mask, mask), CapabilitySets(0, 0, 0))
    return bool(ctypes.CDLL(None).capset(ctypes.byref(header), ctypes.byref(sets)) == 0)


class CapabilityHeader(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]


class CapabilitySets(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint32) for name in ("effective", "permitted", "inheritable")]


def die_with(parent: int, death_signal: int) -> None:
    """Ask the kernel for the signal; after the change of account, which would clear it."""
    prctl(PR_SET_PDEATHSIG, death_signal)
    if os.getppid() != parent:  # it died before we could ask
        sys.exit("The process that started this one is gone.")


def prctl(option: int, *arguments: int) -> int:
    padded = [*arguments, 0, 0, 0, 0][:4]
    result: int = ctypes.CDLL(None).prctl(option, *(ctypes.c_ulong(argument) for argument in padded))
    return result


if __name__ == "__main__":
    main(sys.argv[1:])
