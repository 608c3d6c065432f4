"""A program that runs to its end beside us, its parent, as it would without us: its input and output are its own, it
gets our signals, stops and goes on with us (and we with it: a shell sees a job like any other), and ends as it likes.

What a terminal sends goes to its whole foreground group, so the program has it already, as it has what it sends to its
own group. What anybody else sends to us is for the program; who sends it to all processes of a job or a service, as
timeout(1) does, sends it twice. If we are killed, it is, too. Who is PID 1, of a container, buries whatever it is left.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import stat
import sys
import time
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from poireau import launch

_OWN = (
    {signal.SIGKILL, signal.SIGSTOP, signal.SIGCONT}  # nobody can hold them up
    | {signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGTRAP, signal.SIGABRT, signal.SIGSYS}
    | {signal.SIGPIPE, signal.SIGXFSZ, signal.SIGXCPU}
)  # ours, if they come
_WATCHED = signal.valid_signals() - _OWN
_OF_TERMINALS = {signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU, signal.SIGWINCH}
_SET_PDEATHSIG, _SET_DUMPABLE = 1, 4  # <linux/prctl.h>
_NAP = 0.05  # seconds


@dataclass(frozen=True)
class Started:
    """It runs, and what comes for it waits until `follow` passes it on."""

    process: int
    blocked: AbstractSet[int]  # signals, before

    def follow(self) -> int:
        """To its end; returns what os.waitpid says of it."""
        while True:
            ended, status = os.waitpid(-1, os.WNOHANG | os.WUNTRACED)
            if ended == self.process and os.WIFSTOPPED(status):
                _stop_too(self.process, os.WSTOPSIG(status))
            elif ended == self.process:
                while signal.sigtimedwait(_WATCHED, 0) is not None:
                    pass  # it came for the program
                signal.signal(signal.SIGTTOU, signal.SIG_IGN)  # we may say something from the background
                signal.pthread_sigmask(signal.SIG_SETMASK, self.blocked)
                return status
            elif ended == 0:
                came = signal.sigwaitinfo(_WATCHED)
                if self._is_for_it(came):
                    with contextlib.suppress(PermissionError):  # it has become a program of root's
                        os.kill(self.process, came.si_signo)

    def _is_for_it(self, came: signal.struct_siginfo) -> bool:
        if came.si_code <= 0:
            return came.si_signo != signal.SIGCHLD and came.si_pid != self.process
        # Of a terminal that hangs up, the kernel tells nobody but the leader of its session; an alarm that was set
        # before us has to be passed on.
        leads = os.getsid(0) == os.getpid()
        return leads if came.si_signo == signal.SIGHUP else came.si_signo not in _OF_TERMINALS | {signal.SIGCHLD}


def start(plan: launch.Launch) -> Started:
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, _WATCHED)
    # Who was started with it ignored would never be told that a child has ended.
    handled = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        _prctl(_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # too late
            os.kill(os.getpid(), signal.SIGKILL)
        signal.signal(signal.SIGCHLD, handled)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        launch.become(plan)
    _let_go_of_what_is_its_own()
    return Started(child, blocked)


def leave(status: int) -> int:
    """An exit status like that; or dies as that did."""
    if not os.WIFSIGNALED(status):
        return os.waitstatus_to_exitcode(status)
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    _prctl(_SET_DUMPABLE, 0)  # a program that is given all cores asks for no limit
    number = os.WTERMSIG(status)
    if number != signal.SIGKILL:
        signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
    sys.stderr.flush()
    os.kill(os.getpid(), number)
    return 128 + number


def _prctl(option: int, value: int) -> None:
    ctypes.CDLL(None).prctl(option, value)


def _let_go_of_what_is_its_own() -> None:
    """Who reads what the program writes is to see its end when the program closes it. Only standard error is ours, too;
    and files remain open: who lets go of one has no locks on it any more."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1):
        os.dup2(nothing, number)
    for number in {nothing, *map(int, os.listdir("/proc/self/fd"))} - {0, 1, 2}:
        with contextlib.suppress(OSError):  # listing took one
            if not stat.S_ISREG(os.fstat(number).st_mode):
                os.close(number)


def _stop_too(child: int, number: int) -> None:
    """Until somebody has us go on, and the program as well."""
    watch = _watch(child)
    usual = number != signal.SIGSTOP and signal.getsignal(number) == signal.SIG_DFL
    os.kill(os.getpid(), number if usual else signal.SIGSTOP)  # one with what the terminal sent, which is still held up
    if usual:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
        signal.pthread_sigmask(signal.SIG_BLOCK, {number})
    os.kill(watch, signal.SIGKILL)
    os.waitpid(watch, 0)
    # A shell wakes the whole job, others may know us alone; and it may have been stopped again by now.
    if _is_stopped(child) and os.waitid(os.P_PID, child, os.WSTOPPED | os.WNOHANG | os.WNOWAIT) is None:
        os.kill(child, signal.SIGCONT)


def _watch(child: int) -> int:
    """A process that has us go on should somebody have the program go on, or kill it, and not us."""
    parent = os.getpid()
    watch = os.fork()
    if watch == 0:
        _prctl(_SET_PDEATHSIG, signal.SIGKILL)
        os.setpgid(0, 0)  # not of the job
        os.close(2)
        while os.getppid() == parent:
            time.sleep(_NAP)
            if not _is_stopped(child):
                os.kill(parent, signal.SIGCONT)
        os._exit(0)
    return watch


def _is_stopped(process: int) -> bool:
    try:
        with open(f"/proc/{process}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[:1] == [b"T"]
    except OSError:
        return False
