"""Who points at freed blocks, asked of a running program; and what is said of protection while it runs, and at its
end."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.conftest import clean_environment

from .conftest import ROOT

SOURCE = r"""
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
char* a_global;
static void** a_block;
static char* kept[64];
__attribute__((noinline)) void let_go(char** which) { free(*which); *which = 0; }
int main(void) {
  a_block = malloc(64);
  for (int i = 0; i < 64; ++i) kept[i] = malloc(40);
  a_global = kept[13];
  a_block[3] = kept[13] + 5;
  let_go(&kept[13]);
  let_go(&kept[40]); /* at which nothing points */
  puts("ready"), fflush(stdout);
  for (;;) free(malloc(100)), usleep(200);
}
"""


def poireau(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, ROOT / "poireau.py", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


@pytest.fixture
def running(compile_c, library) -> Iterator[subprocess.Popen[str]]:
    program = compile_c(SOURCE, ["-O1", "-g", "-fno-builtin"])
    # With samples now and then, since those are when it answers.
    settings = {"POIREAU_PROTECT": "all", "POIREAU_SAMPLE_PERIOD": "16K", "POIREAU_SWEEP": "on-demand"}
    environment = clean_environment(LD_PRELOAD=str(library), POIREAU_SINK="none", **settings)
    with subprocess.Popen([program], env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        yield process
        process.kill()


def test_who_points_at_a_freed_block_is_told_by_name(running):
    answer = json.loads(poireau("dangling", running.pid, "--json", "--wait", 20).stdout)
    (block,) = [each for each in answer["blocks"] if each["size"] == 40]
    assert (block["made_by"], block["freed"][0]) == ("malloc", "let_go")
    holders = {(each["where"].split(" in ")[0], each["offset"]) for each in block["holders"]}
    assert {("global a_global", 0), ("in a block of ours", 5)} <= holders
    text = poireau("dangling", running.pid, "--wait", 20).stdout
    assert re.search(r"^0x[0-9a-f]+: a freed 40-byte block from malloc, \d pointers at it$", text, re.MULTILINE), text


def test_stats_and_ps_tell_of_protection(running):
    stats = json.loads(poireau("ctl", "--json", "--wait", 20, running.pid, "stats").stdout)["answers"][0]
    said = stats["protection"]
    assert said["engine"] in ("markers", "userfaultfd", "runs")
    assert said["live"] >= 63 and said["placed"] >= said["live"] and said["allocations"] >= said["deallocations"] + 63
    assert said["of_2_mib"] == said["of_1_gib"] == said["sweeps_given_up"] == 0
    text = poireau("ctl", "--wait", 20, running.pid, "stats").stdout
    assert re.search(r"^protection:\n  engine: \w+$.*^  proportional: .+ of .+ resident$", text, re.MULTILINE | re.S)
    (row,) = [line for line in poireau("ps", "--wait", 20).stdout.splitlines() if f" {running.pid} " in f" {line} "]
    assert row.endswith(f"answers, every block protected ({said['engine']})")


def test_who_is_not_protected_has_nothing_to_tell(compile_c, library):
    program = compile_c(SOURCE, ["-O1", "-g", "-fno-builtin"])
    environment = clean_environment(LD_PRELOAD=str(library), POIREAU_SINK="none", POIREAU_SAMPLE_PERIOD="1")
    with subprocess.Popen([program], env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        done = poireau("dangling", process.pid, "--wait", 20)
        process.kill()
    assert (done.stdout, done.returncode) == ("", 1), done


def test_at_the_end_there_is_a_line_of_each(program, run_preloaded):
    done = run_preloaded([program("asks.c"), "blocks"], {"POIREAU_PROTECT": "all", "POIREAU_LOG": "info"})
    first, *others = (re.sub(r"^poireau: [^:]+: ", "", line) for line in done.stderr.splitlines())
    assert "protecting all by " in first
    assert [line.split(" ")[0] for line in others] == ["protected", "aliases:", "sweeps:"]
    assert re.match(r"protected [1-9]\d* allocations \(\d+\w*\), of them 0 in guarded homes, 0 of 2MiB", others[0])


def test_reports_say_that_every_block_was_protected(program, traced, traces_parent):
    for settings, said in (({"POIREAU_PROTECT": "all"}, True), ({}, False)):
        done = traced([program("asks.c"), "blocks"], {"POIREAU_SAMPLE_PERIOD": "1", **settings})
        assert done.returncode == 0, done
        newest = max(traces_parent.glob("*/*/metadata"), key=lambda path: path.stat().st_mtime_ns).parent
        assert ("every block protected" in poireau("top", newest).stdout) == said
