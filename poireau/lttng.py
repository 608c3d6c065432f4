"""Recording sessions of LTTng for our events, by LTTng's own tools: their daemons are started where none runs yet, for
this user alone, and listen on this machine alone."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

from poireau import layout
from poireau.errors import OUR_FAILURE, REFUSED, Failure

NAME = "poireau"
CHANNEL = "poireau"
EVENTS = "poireau:*"
CONTEXTS = ("vpid", "vtid")  # who it was: reading needs the first
PROVIDER = "libpoireau-lttng.so"
_BUFFERS = ("--buffers-uid", "--subbuf-size=1M", "--num-subbuf=4")
_LOOPBACK = "127.0.0.1"
_CONTROL, _DATA, _LIVE = 5342, 5343, 5344  # a relay daemon's usual ports
_WAIT = 60  # seconds, for one of them to answer


def start(name: str, output: str | None, url: str | None, live: bool) -> str:
    """Begins a session. `output`: the directory of its trace; `url`: of the relay daemon that is to have it, instead.
    `live`: that of this machine, and it can be read while it is written. Returns where, for people. Raises Failure."""
    provider = layout.library().parent / PROVIDER
    if not provider.is_file():
        raise Failure(f"{provider} is not there: install liblttng-ust-dev and build again")
    _daemon()
    if live:
        _relay(output)
        where = ["--live", f"--set-url=net://{_LOOPBACK}"]
    elif url is not None:
        where = [f"--set-url={url}"]
    else:
        where = [f"--output={_directory(name, output)}"]
    if name in sessions():
        raise Failure(
            f"there is a session {name} already: `poireau lttng stop` ends it, and --name is for another", REFUSED
        )
    _lttng("create", name, *where)
    in_session = ("--userspace", f"--session={name}")
    try:
        _lttng("enable-channel", *in_session, *_BUFFERS, CHANNEL)
        _lttng("enable-event", *in_session, f"--channel={CHANNEL}", EVENTS)
        _lttng("add-context", *in_session, f"--channel={CHANNEL}", *(f"--type={each}" for each in CONTEXTS))
        _lttng("start", name)
    except Failure:
        _run("destroy", name)
        raise
    return f"net://{_LOOPBACK}/host/{os.uname().nodename}/{name}" if live else sessions()[name]


def stop(name: str) -> str:
    """Ends it, once all is written; returns where its trace is. Raises Failure."""
    found = sessions()
    if name not in found:
        known = f"; there is {', '.join(found)}" if found else ""
        raise Failure(f"there is no session {name}{known}: `poireau lttng start` begins one", REFUSED)
    _run("stop", name)  # it may be stopped already
    _lttng("destroy", name)
    return found[name]


def sessions() -> Mapping[str, str]:
    """Where each has its trace, by name."""
    done = _run("list")
    if done.returncode != 0:
        return {}
    names = re.findall(r"^ *\d+\) (.*?)(?: \[.*\])?$", done.stdout, re.MULTILINE)
    return {name: _path(_run("list", name).stdout) for name in names}


def _path(described: str) -> str:
    found = re.search(r"^ *(?:Trace output|Trace path): (.*?)(?: \[.*\])?$", described, re.MULTILINE)
    return found[1] if found else ""


def _directory(name: str, output: str | None) -> str:
    if output is not None:
        return os.path.abspath(output)
    home = os.environ.get("LTTNG_HOME") or os.environ.get("HOME") or os.path.expanduser("~")
    return str(Path(home, "lttng-traces", f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"))


def _daemon() -> None:
    """Of sessions; one that runs already is as good."""
    if _run("list").returncode == 0:
        return
    _start_daemon("lttng-sessiond", "--no-kernel")
    until = time.monotonic() + _WAIT
    while (listed := _run("list")).returncode != 0:
        if time.monotonic() > until:
            raise Failure(f"lttng-sessiond does not answer: {_last(listed)}", OUR_FAILURE)
        time.sleep(0.05)


def _relay(output: str | None) -> None:
    with socket.socket() as probe:
        if probe.connect_ex((_LOOPBACK, _CONTROL)) == 0:
            return
    ports = zip(("--control-port", "--data-port", "--live-port"), (_CONTROL, _DATA, _LIVE))
    where = [] if output is None else [f"--output={os.path.abspath(output)}"]
    _start_daemon("lttng-relayd", *(f"{option}=tcp://{_LOOPBACK}:{port}" for option, port in ports), *where)


def _start_daemon(program: str, *options: str) -> None:
    done = _call(program, "--daemonize", *options)
    if done.returncode != 0:
        raise Failure(f"{program} does not start: {_last(done)}", OUR_FAILURE)


def _lttng(*words: str) -> None:
    done = _run(*words)
    if done.returncode != 0:
        raise Failure(f"lttng {words[0]}: {_last(done)}", REFUSED)


def _run(*words: str) -> subprocess.CompletedProcess[str]:
    return _call("lttng", "--no-sessiond", *words)


def _call(program: str, *words: str) -> subprocess.CompletedProcess[str]:
    if shutil.which(program) is None:
        raise Failure(f"{program} is not installed: it comes with LTTng (apt install lttng-tools)")
    environment = {**os.environ, "LC_ALL": "C"}
    # A daemon keeps what it is given: files, not pipes whose end would be waited for.
    import tempfile

    with tempfile.TemporaryFile("w+", errors="replace") as out, tempfile.TemporaryFile("w+", errors="replace") as err:
        try:
            done = subprocess.run(
                [program, *words], env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=err, timeout=_WAIT
            )
        except subprocess.TimeoutExpired:
            raise Failure(f"{program} {' '.join(words)}: no answer in {_WAIT} s", OUR_FAILURE) from None
        out.seek(0)
        err.seek(0)
        return subprocess.CompletedProcess(done.args, done.returncode, out.read(), err.read())


def _last(done: subprocess.CompletedProcess[str]) -> str:
    """Of its complaints the one that counts."""
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    errors = [line.removeprefix("Error: ") for line in lines if line.startswith("Error: ")]
    return (errors or lines or [f"status {done.returncode}"])[0]
