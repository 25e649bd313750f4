"""Jobs in forked processes, for `benchmarks.hostile`: with limits of time, and killed where they hang."""

import contextlib
import gc
import json
import os
import pathlib
import select
import signal
import sys
import time

import psutil

_WAITING = 60.0  # seconds after which a process that computes nothing hangs
_FIRST = 30.0  # seconds that the first job of a process may take to import and load what it needs


class Worker:
    """A forked process that does one job after the other, and is started again if it hangs or dies.

    Args:
        jobs: `{name: function}`; the functions take strings and return dicts.
        seconds: float, processor time after which a job hangs.
    """

    def __init__(self, jobs, seconds):
        self.jobs, self.seconds, self.process = jobs, seconds, None
        self.is_fresh = True

    def ask(self, job, *arguments):
        """Returns what the function of the name `job` returns; a dict with the kind "hang" or "crash" otherwise."""
        if self.process is None:
            self._start()
        self.requests.write(json.dumps([job, [str(each) for each in arguments]]) + "\n")
        self.requests.flush()
        begun, spent = time.monotonic(), self._spent()
        limit, self.is_fresh = self.seconds + _FIRST * self.is_fresh, False
        while not select.select([self.answers], [], [], 0.2)[0]:
            if self._spent() - spent > limit or time.monotonic() - begun > _WAITING:
                self.stop()
                return {"kind": "hang", "why": "", "bytes": 0, "seconds": self.seconds}
        answer = self.answers.readline()
        if not answer:
            status = self.stop()
            return {"kind": "crash", "why": f"wait status {status}", "bytes": 0, "seconds": 0.0}
        return json.loads(answer)

    def _spent(self):
        try:
            times = psutil.Process(self.process).cpu_times()
        except psutil.Error:  # it died, which the pipe will tell
            return 0.0
        return times.user + times.system

    def _start(self):
        (jobs, requests), (answers, done) = os.pipe(), os.pipe()
        self.process = fork()
        if not self.process:
            os.close(requests)
            os.close(answers)
            with os.fdopen(jobs) as lines, os.fdopen(done, "w") as out:
                for line in lines:
                    job, arguments = json.loads(line)
                    out.write(json.dumps(self.jobs[job](*arguments)) + "\n")
                    out.flush()
            os._exit(0)
        os.close(jobs)
        os.close(done)
        self.requests, self.answers = os.fdopen(requests, "w"), os.fdopen(answers)

    def stop(self):
        """Kills the process; returns its wait status, None without one."""
        if self.process is None:
            return None
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.process, signal.SIGKILL)
        _, status = os.waitpid(self.process, 0)
        self.process, self.is_fresh = None, True
        self.answers.close()
        with contextlib.suppress(OSError):
            self.requests.close()
        return status


def fork():
    """Forks; the child prints nothing, and its garbage collector leaves the parent's objects alone."""
    sys.stdout.flush()
    sys.stderr.flush()
    gc.freeze()
    process = os.fork()
    if not process:
        for stream in (1, 2):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
    return process


def start(function, *arguments):
    """Calls a function, with one that reports values, in a forked process; returns its id and a file of the values."""
    reader, writer = os.pipe()
    process = fork()
    if process:
        os.close(writer)
        return process, os.fdopen(reader)
    try:
        with os.fdopen(writer, "w") as out:

            def report(value):
                out.write(json.dumps(value) + "\n")
                out.flush()

            try:
                function(report, *arguments)
            except BaseException as error:
                report({"kind": "traceback", "why": f"{type(error).__name__}: {str(error)[:300]}"})
    finally:
        os._exit(0)


def run(function, *arguments):
    """Returns the list of values that a function reports in a forked process."""
    process, values = start(function, *arguments)
    with values:
        found = [json.loads(line) for line in values]
    os.waitpid(process, 0)
    return found


def _status(name):
    for line in pathlib.Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return 1024 * int(line.split()[1])
    raise KeyError(name)


def reset_peak():
    """Returns the memory of this process, and forgets its peak so far."""
    with contextlib.suppress(OSError):  # otherwise the peak is that of the process so far, which is no less
        pathlib.Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def peak():
    """Returns the most memory that this process has had since `reset_peak`."""
    return _status("VmHWM")
