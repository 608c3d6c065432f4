"""`sample_period = auto`: exact at first, then 1024 samples of each period, then as usual; and estimates stay true."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter

import poireau
from poireau import launch
from tests.conftest import ROOT, clean_environment

LONGEST, OF_EACH = 512 << 10, 1024
SOURCE = """
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
enum { kKept = 500 };
#define ASKER(name, most)                                                \\
  __attribute__((noinline)) size_t name(char** at, unsigned random) {    \\
    const size_t size = random % most + 1;                               \\
    *at = malloc(size);                                                  \\
    **at = 1;                                                            \\
    return size;                                                         \\
  }
ASKER(ask_small, 100)
ASKER(ask_medium, 5000)
ASKER(ask_large, 300000)
struct part { unsigned seed; int rounds; unsigned long sum[3], left[3]; };
static void* work(void* given) {
  struct part* part = given;
  size_t (*const ask[])(char**, unsigned) = {ask_small, ask_medium, ask_large};
  char* kept[3][kKept] = {0};
  unsigned long size[3][kKept] = {0};
  unsigned random = part->seed;
  for (int i = 0; i < part->rounds; ++i)
    for (int j = 0; j < (i % 64 == 0 ? 3 : 2); ++j) {
      random = random * 1664525 + 1013904223;
      const int at = random % kKept;
      if (j < 2 || i % 128 != 0) free(kept[j][at]), part->left[j] -= size[j][at];  // the third is lost now and then
      size[j][at] = ask[j](&kept[j][at], random >> 8);
      part->sum[j] += size[j][at];
      part->left[j] += size[j][at];
    }
  return NULL;
}
int main(int count, char** words) {
  const int threads = atoi(words[1]), rounds = atoi(words[2]);
  struct part part[8] = {0};
  pthread_t thread[8];
  for (int i = 1; i < threads; ++i) {
    part[i].seed = 77 + i, part[i].rounds = rounds;
    pthread_create(&thread[i], NULL, work, &part[i]);
  }
  part[0].seed = 5, part[0].rounds = rounds;
  work(&part[0]);
  for (int i = 1; i < threads; ++i) pthread_join(thread[i], NULL);
  for (int j = 0; j < 3; ++j) {
    unsigned long allocated = 0, alive = 0;
    for (int i = 0; i < threads; ++i) allocated += part[i].sum[j], alive += part[i].left[j];
    printf("%lu %lu\\n", allocated, alive);
  }
  fflush(stdout);
  if (count > 3 && fork() == 0) {
    if (count > 4) execl(words[0], words[0], "1", "100", (char*)NULL);
    for (int i = 0; i < 10000; ++i) *(char* volatile*)&words[0] = malloc(1000);
    _exit(0);
  }
  while (wait(NULL) > 0) {}
  return 0;
}
"""
NAMES = ("ask_small", "ask_medium", "ask_large")
FLAGS = ["-fno-builtin", "-pthread", "-O1"]


def recorded(compile_c, run_preloaded, traces, *words, **more):
    env = {"SAMPLE_PERIOD": "auto", "TRACE": str(traces), "OVERHEAD_BUDGET": "off", "TRACE_LIMIT": "128M", **more}
    done = run_preloaded([compile_c(SOURCE, FLAGS), *words], {f"POIREAU_{name}": value for name, value in env.items()})
    assert (done.returncode, done.stderr) == (0, "")
    return [tuple(map(int, line.split())) for line in done.stdout.splitlines()]


def periods(heap, process):
    """Of its samples, in the order of time."""
    births = [lives[(lives["process"] == process)][["born", "period"]] for lives in heap.lives()]
    return [int(period) for part in births for period in part.sort_values("born", kind="stable")["period"]]


def test_there_are_1024_samples_of_each_period_up_to_the_longest(compile_c, run_preloaded, tmp_path):
    recorded(compile_c, run_preloaded, tmp_path, "1", "250000")
    heap = poireau.open(tmp_path)
    found = sorted(periods(heap, 0))
    expected = Counter({1 << doubling: OF_EACH for doubling in range(19)})
    counts = Counter(found)
    assert counts.pop(LONGEST) > 100
    assert counts == expected
    told = heap.options["value"].tolist()
    assert told[:3] == ["2", "4", "8"] and told[-1] == "512KiB" and len(told) == 19


def test_totals_are_true_whatever_the_periods(compile_c, run_preloaded, tmp_path, exercised):
    truth = recorded(compile_c, run_preloaded, tmp_path, "3", "100000")
    for column, what in enumerate(("allocated", "in-use")):
        top = subprocess.run(
            [sys.executable, ROOT / "poireau.py", "top", "--what", what, "--json", tmp_path],
            env=clean_environment(),
            capture_output=True,
            text=True,
            check=True,
        )
        rows = {row["function"]: row["bytes"] for row in json.loads(top.stdout)["rows"]}
        for name, figures in zip(NAMES, truth):
            if name not in rows:
                assert figures[column] < 3 * LONGEST
                continue
            low, high = rows[name]["ci95"]
            off = (rows[name]["value"] - figures[column]) / ((high - low) / 3.92)
            exercised.add(f"{what} under auto", f"{name} {off:+.1f} sigma")
            assert abs(off) < 6, (what, name, rows[name], figures)


def test_a_fork_child_goes_on_where_its_parent_was_and_exec_begins_anew(compile_c, run_preloaded, tmp_path):
    for more, first in ((["fork"], None), (["fork", "exec"], 1)):
        traces = tmp_path / str(len(more))
        recorded(compile_c, run_preloaded, traces, "1", "3000", *more)
        heap = poireau.open(traces)
        parent, child = heap.processes.sort_values("begin").index
        before, after = periods(heap, parent), periods(heap, child)
        assert before[0] == 1 and before[-1] > 8
        assert after[0] == (first or before[-1]), (before[-1], after[0])


def test_later_processes_of_a_run_have_fewer_samples_of_each_period(compile_c, run_preloaded, tmp_path):
    run = launch.run_name("it", 1, 1e9, "12345678")
    for _ in range(5):
        recorded(compile_c, run_preloaded, tmp_path, "1", "20000", RUN=run)
    heap = poireau.open(tmp_path / run)
    processes = heap.processes.sort_values("begin").index
    for process, of_each in zip(processes, (1024, 512, 256, 256, 128), strict=True):
        counts = Counter(periods(heap, process))
        assert [counts[1 << doubling] for doubling in range(10)] == [of_each] * 10, (process, counts)
