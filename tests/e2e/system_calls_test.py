"""The kernel, given a block that is no more, fails where the program would have faulted: with syscall_check that is
reported like a fault, and the call goes on as it would have gone without us."""

from __future__ import annotations

import re

import pytest

CHECK = {"POIREAU_SAMPLE_PERIOD": "1", "POIREAU_GUARD": "all", "POIREAU_SYSCALL_CHECK": "on"}
MECHANISMS = ["markers", "userfaultfd", "mprotect"]
SAID = ["13, eleven bytes"]
SENT = {  # case -> the lines it prints, the size of the block it is reported for
    "write": (SAID, 13),
    "write twice": (SAID * 2, 13),
    "pwrite": (SAID, 13),
    "writev": (SAID, 13),
    "writev array": (SAID, 16),
    "send": (SAID, 13),
    "sendto": (SAID, 13),
    "sendto name": (["-1, ECONNREFUSED"], 16),
    "sendmsg": (SAID, 13),
    "sendmsg header": (SAID, 56),
    "sendmsg control": (SAID, 24),
    "sendmmsg": (["2, eleven bytes"], 13),
    "recvmmsg array": (["1, eleven bytes"], 32),  # which is read
}
RECEIVED = {
    "read": (SAID, 13),
    "read checked": (SAID, 13),
    "pread": (SAID, 13),
    "pread checked": (SAID, 13),
    "readv": (["13,  bytes"], 13),
    "recv": (SAID, 13),
    "recv checked": (SAID, 13),
    "recvfrom": (SAID, 13),
    "recvfrom checked": (SAID, 13),
    "recvmsg": (SAID, 13),
    "recvfrom name": (["-1, EFAULT"], 4),
    "recv datagram": (["-1, EFAULT"], 13),
    "read event": (["-1, EFAULT"], 13),
}


def errors(text: str) -> list[str]:
    return re.findall(r"^poireau: [^:]+: (.+)", text, re.MULTILINE)


@pytest.mark.parametrize("mechanism", MECHANISMS)
@pytest.mark.parametrize("case", [*SENT, *RECEIVED])
def test_a_call_given_a_freed_block_is_reported_and_goes_on(program, run_preloaded, exercised, mechanism, case):
    done = run_preloaded([program("system_calls.c"), case], {**CHECK, "POIREAU_GUARD_MECHANISM": mechanism}, timeout=20)
    printed, size = (SENT | RECEIVED)[case]
    assert (done.stdout.splitlines(), done.returncode) == (printed, 0), done
    how = "read" if case in SENT else "write"
    name = case.split()[0]
    said = f"use after free: {how} at 0x[0-9a-f]+, 0 bytes into a freed {size}-byte block from malloc, in {name}"
    (line,) = errors(done.stderr)
    assert re.fullmatch(said, line)
    exercised.count("system calls given freed blocks", mechanism)


def test_reading_beyond_a_live_block_is_an_overflow(program, run_preloaded):
    done = run_preloaded([program("system_calls.c"), "write too much"], CHECK)
    assert done.returncode == 0
    # Which end of its page the block is at is drawn: at the other end, the guard lies behind the rest of the page.
    assert re.search(
        r"overflow: read at 0x[0-9a-f]+, \d+ bytes after a 13-byte block from malloc, in write$", done.stderr, re.M
    )


def test_every_bad_part_of_an_array_is_opened(program, run_preloaded):
    done = run_preloaded([program("system_calls.c"), "many parts"], CHECK)
    assert done.stdout.splitlines() == ["3900, eleven bytes"]
    assert len(errors(done.stderr)) == 1  # once a stack


@pytest.mark.parametrize("case", ["nowhere", "right", "interrupted"])
@pytest.mark.parametrize("check", ["on", "off"])
def test_what_is_not_about_our_blocks_is_as_without_us(program, same_as_bare, case, check):
    same_as_bare([program("system_calls.c"), case], {**CHECK, "POIREAU_SYSCALL_CHECK": check})


@pytest.mark.parametrize("case", ["write", "read", "writev", "sendmsg", "recvmsg"])
@pytest.mark.parametrize("environment", [{"POIREAU_SYSCALL_CHECK": "off"}, {"POIREAU_ON_ERROR": "report"}])
def test_without_the_check_or_with_report_the_kernels_answer_stands(program, run_preloaded, case, environment):
    done = run_preloaded([program("system_calls.c"), case], {**CHECK, **environment})
    assert (done.stdout.splitlines(), done.returncode) == (["-1, EFAULT"], 0), done
    assert len(errors(done.stderr)) == ("POIREAU_ON_ERROR" in environment)


def test_abort_ends_the_program(program, run_preloaded):
    done = run_preloaded([program("system_calls.c"), "write"], {**CHECK, "POIREAU_ON_ERROR": "abort"})
    assert (done.stdout, done.returncode) == ("", -6)
    assert len(errors(done.stderr)) == 1


@pytest.mark.parametrize("source", ["cancelled.c", "cancelled.cc"])
@pytest.mark.parametrize("call", ["read", "readv", "recv", "recvmsg", "write"])
@pytest.mark.parametrize("how", ["deferred", "asynchronous"])
def test_cancellation_passes_through(program, same_as_bare, source, call, how):
    for environment in (CHECK, {}):
        done = same_as_bare([program(source), call, how], environment)
        destroyed = "destroyed\n" if source.endswith(".cc") else ""
        assert done.stdout == destroyed + "cleaned up second\ncleaned up first\ncancelled\n"


@pytest.mark.parametrize("way", ["prctl", "tsync", "strict"])
def test_no_system_call_is_added(program, run_preloaded, way):
    """In a sandbox that kills for any other call than malloc's own."""
    done = run_preloaded([program("sandboxed.c"), way], CHECK)
    assert (done.returncode, done.stderr) == (0, ""), done
