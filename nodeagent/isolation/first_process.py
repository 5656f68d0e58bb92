"""Makes a process namespace for the containers of a pod, and its first process. Run as a program of its own.

The first process of a namespace has to be there before its containers and after them, and to take in what they leave
behind; Kubernetes' pause container does that. Here it is a program of a few instructions that only waits: the kernel
buries the dead by itself where SIGCHLD is ignored. What containers see of it gives them nothing: it has an empty file
system, no capabilities, a user of its own and two system calls.

Only a process without threads can enter the namespace of a pod's users, so this is neither done by the agent nor with
more of Python than it takes. Arguments: the pins of the pod's user and network namespace, empty for the node's, and the
file for pid and start time; it is written here, so that an agent that dies meanwhile loses no process.
"""

from __future__ import annotations

import ctypes
import os
import platform
import signal
import struct
import sys

_NEWNS, _NEWUTS, _NEWIPC, _NEWUSER, _NEWPID, _NEWNET = (
    0x20000,
    0x4000000,
    0x8000000,
    0x10000000,
    0x20000000,
    0x40000000,
)
_RDONLY, _NOSUID, _NODEV, _REMOUNT, _BIND, _REC, _PRIVATE = 1, 2, 4, 32, 4096, 16384, 1 << 18
_DETACH = 2
_SET_SECCOMP, _FILTER, _SET_NO_NEW_PRIVS = 22, 2, 38
_NOBODY = 65535
_OOM_SCORE = "-998"
_PLACE = "/tmp"  # any directory that everybody can pass into; it is only mounted over in the new namespace

# Wait for a signal, for ever: machine code, and the number of its system call and of execve.
_ARM = (0xD2800000, 0xD2800001, 0xD2800002, 0xD2800003, 0xD2800004, 0xD2800928, 0xD4000001, 0x17FFFFF9)
_PROGRAMS = {
    "x86_64": (62, bytes.fromhex("b8220000000f05ebf7"), 34, 59),
    "aarch64": (183, struct.pack("<8I", *_ARM), 73, 221),
}


def program(machine: str) -> bytes:
    """An ELF executable with one segment. KeyError for a machine whose code is not known."""
    number, code, _, _ = _PROGRAMS[machine]
    base, size = 0x400000, 64 + 56 + len(code)
    header = b"\x7fELF\2\1\1" + bytes(9)
    header += struct.pack("<HHIQQQIHHHHHH", 2, number, 1, base + 120, 64, 0, 0, 64, 56, 1, 64, 0, 0)
    header += struct.pack("<IIQQQQQQ", 1, 5, 0, base, base, size, size, 0x1000)
    return header + code


def system_call_filter(machine: str) -> bytes:
    """The BPF program that lets through what :func:`program` needs, and nothing else."""
    _, _, wait, execve = _PROGRAMS[machine]
    load, equal, give = 0x20, 0x15, 0x06
    refuse, allow = 0x50001, 0x7FFF0000
    steps = [(load, 0, 0, 0), (equal, 2, 0, wait), (equal, 1, 0, execve), (give, 0, 0, refuse), (give, 0, 0, allow)]
    return b"".join(struct.pack("<HBBI", *step) for step in steps)


class _FilterProgram(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("steps", ctypes.c_char_p))


_libc = ctypes.CDLL(None, use_errno=True)
_libc.mount.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p)


def _checked(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def _enter(path: str, kind: int) -> None:
    if path:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        _checked(_libc.setns(descriptor, kind), path)
        os.close(descriptor)


def _leave_files(machine: str) -> None:
    """Exchange the node's files for an empty file system with nothing but the program."""
    _checked(_libc.mount(None, b"/", None, _REC | _PRIVATE, None), "propagation")
    place = _PLACE.encode()
    _checked(_libc.mount(b"tmpfs", place, b"tmpfs", _NOSUID | _NODEV, b"size=64k,mode=755"), "tmpfs")
    os.chdir(place)
    descriptor = os.open("pause", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o755)
    os.write(descriptor, program(machine))
    os.close(descriptor)
    _checked(_libc.pivot_root(b".", b"."), "pivot_root")
    _checked(_libc.umount2(b".", _DETACH), "umount")
    os.chdir("/")
    _checked(_libc.mount(None, b"/", None, _REMOUNT | _BIND | _RDONLY | _NOSUID | _NODEV, None), "read-only")


def _become_program(machine: str) -> None:
    """Give everything up, and wait."""
    os.setsid()
    os.setresgid(_NOBODY, _NOBODY, _NOBODY)
    os.setresuid(_NOBODY, _NOBODY, _NOBODY)
    for number in (1, 2):
        os.dup2(0, number)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    _checked(_libc.prctl(_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")
    steps = system_call_filter(machine)
    filtering = _FilterProgram(len(steps) // 8, steps)
    _checked(_libc.prctl(_SET_SECCOMP, _FILTER, ctypes.byref(filtering), 0, 0), "seccomp")
    os.execve("/pause", ["pause"], {})


def main(users: str, network: str, note: str) -> None:
    """Make the namespaces and the process, and note which it is. Raises OSError."""
    machine = platform.machine()
    noting = os.open(note, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    processes = os.open("/proc", os.O_PATH | os.O_CLOEXEC)
    try:
        with open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:  # noqa: PTH123
            file.write(_OOM_SCORE)
    except OSError:
        pass
    network_pin = os.open(network, os.O_RDONLY | os.O_CLOEXEC) if network else -1
    _enter(users, _NEWUSER)
    if users:
        os.setgroups([])
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)
    if network_pin >= 0:
        _checked(_libc.setns(network_pin, _NEWNET), network)
    _checked(_libc.unshare(_NEWNS | _NEWUTS | _NEWIPC | _NEWPID), "unshare")
    _leave_files(machine)
    pid = os.fork()
    if pid == 0:
        _become_program(machine)
    status = os.open(f"{pid}/stat", os.O_RDONLY | os.O_CLOEXEC, dir_fd=processes)
    started = os.read(status, 4096).rpartition(b")")[2].split()[19]
    os.write(noting, b"%d %s" % (pid, started))


if __name__ == "__main__":
    try:
        main(*sys.argv[1:4])
    except (OSError, KeyError) as error:
        sys.exit(f"{error}")
