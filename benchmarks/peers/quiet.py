"""Runs programs when nobody else computes, and notes when somebody did."""

import os
import signal
import subprocess
import time
from dataclasses import dataclass

TICK = os.sysconf("SC_CLK_TCK")


def busy_seconds():
    """Seconds that all cores together have computed since the start of the system."""
    with open("/proc/stat") as file:
        user, nice, system, _, _, irq, softirq, *_ = map(int, file.readline().split()[1:])
    return (user + nice + system + irq + softirq) / TICK


def wait_for_idle(patience, window=0.5, allowed=0.1):
    """Waits until less than `allowed` cores are busy for `window` seconds; how many were at the end."""
    end = time.monotonic() + patience
    while True:
        before, start = busy_seconds(), time.monotonic()
        time.sleep(window)
        busy = (busy_seconds() - before) / (time.monotonic() - start)
        if busy < allowed or time.monotonic() >= end:
            return busy


@dataclass
class Ran:
    out: str
    err: str
    code: int
    seconds: float
    first_word: float  # seconds until something other than blanks came out, 0: nothing did
    peak_mb: float  # of memory
    others: float  # cores that other programs used meanwhile, in the mean


def run(args, patience=0.0, limit=900, env=None):
    """Runs a program alone, or after `patience` seconds not alone; ends it after `limit` seconds."""
    wait_for_idle(patience)
    busy, start = busy_seconds(), time.monotonic()
    # Standard error goes to a file, so that it can not fill a pipe that nobody reads.
    with open(os.path.join(os.environ.get("TMPDIR", "/tmp"), f"peers-{os.getpid()}.err"), "w+b") as err:
        os.unlink(err.name)
        process = subprocess.Popen(
            [str(a) for a in args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=err, bufsize=0,
            env={**os.environ, **(env or {})})  # fmt: skip
        out, first = b"", 0.0
        os.set_blocking(process.stdout.fileno(), False)
        while True:
            part = process.stdout.read(1 << 16)
            if part:
                if part.strip():
                    first = first or time.monotonic() - start
                out += part
            elif part == b"":
                break
            elif time.monotonic() - start > limit:
                os.kill(process.pid, signal.SIGKILL)  # kill() of Popen would take its status
                limit = float("inf")
            else:
                time.sleep(0.0005 if not first else 0.01)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.monotonic() - start
        err.seek(0)
        text = err.read().decode(errors="replace")
    own = usage.ru_utime + usage.ru_stime
    others = max(0.0, busy_seconds() - busy - own) / seconds
    return Ran(out.decode(errors="replace"), text, process.returncode, seconds, first, usage.ru_maxrss / 1000, others)


class Neighbours:
    """So many processes that do nothing but compute."""

    def __init__(self, count):
        self.count = count

    def __enter__(self):
        self.processes = [subprocess.Popen(["sh", "-c", "while :; do :; done"]) for _ in range(self.count)]
        time.sleep(0.3)
        return self

    def __exit__(self, *_):
        for process in self.processes:
            process.kill()
            process.wait()
