"""The pytest plugin on a C extension: errors and what tests leave behind fail them, and nothing else does."""

from __future__ import annotations

import re
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import ROOT, clean_environment

EXTENSION = """
#define PY_SSIZE_T_CLEAN
#include <Python.h>
static void* volatile kept[1000];
static int count;
static PyObject* lose(PyObject* self, PyObject* size) {
  char* volatile block = malloc(PyLong_AsSize_t(size));
  *block = 1;
  block = 0;
  Py_RETURN_NONE;
}
static PyObject* keep(PyObject* self, PyObject* size) {
  kept[count++] = malloc(PyLong_AsSize_t(size));
  Py_RETURN_NONE;
}
static PyObject* cached(PyObject* self, PyObject* size) {
  static void* cache;
  if (cache == NULL) cache = malloc(PyLong_AsSize_t(size));
  Py_RETURN_NONE;
}
static PyObject* read_freed(PyObject* self, PyObject* size) {
  char* volatile block = malloc(PyLong_AsSize_t(size));
  *block = 7;
  free(block);
  return PyLong_FromLong(*block);
}
static PyObject* lose_as_known(PyObject* self, PyObject* size) {
  return lose(self, size);
}
static PyMethodDef methods[] = {
    {"lose", lose, METH_O}, {"lose_as_known", lose_as_known, METH_O}, {"keep", keep, METH_O},
    {"cached", cached, METH_O}, {"read_freed", read_freed, METH_O}, {0}};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "leaky", 0, -1, methods};
PyMODINIT_FUNC PyInit_leaky(void) { return PyModule_Create(&module); }
"""
TESTS = """
import leaky, pytest

@pytest.mark.limit_leaks("1KB")
def test_loses(): leaky.lose(5000)

@pytest.mark.limit_leaks("1KB")
def test_loses_what_is_known(): leaky.lose_as_known(5000)

@pytest.mark.limit_leaks("10KB", runs=2)
def test_loses_within_its_limit(): leaky.lose(5000)

@pytest.mark.limit_leaks("1KB", runs=3)
def test_keeps(): leaky.keep(3000)

@pytest.mark.limit_leaks("0")
def test_fills_a_cache(): leaky.cached(100000)

@pytest.mark.limit_leaks("0")
def test_reads_freed_memory(): leaky.read_freed(24)

@pytest.mark.limit_leaks("much")
def test_with_a_limit_that_is_none(): pass

def test_fails_by_itself(): assert False

def test_of_nothing(): pass
"""


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory, compile_c: Callable[..., Path]) -> Path:
    directory = tmp_path_factory.mktemp("suite")
    flags = [
        "-shared",
        "-fPIC",
        "-O1",
        "-fno-inline",
        "-fno-optimize-sibling-calls",
        "-w",
        f"-I{sysconfig.get_path('include')}",
    ]
    (directory / "leaky.so").write_bytes(compile_c(EXTENSION, flags).read_bytes())
    (directory / "test_leaky.py").write_text(TESTS)
    return directory


def ran(suite: Path, *options: str) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "pytest", "-p", "poireau.pytest_plugin", "-p", "no:cacheprovider", "-v", *options]
    environment = clean_environment(PYTHONPATH=f"{ROOT}:{suite}")
    return subprocess.run(words, cwd=suite, env=environment, capture_output=True, text=True, timeout=300)


def outcomes(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    return dict(re.findall(r"test_leaky\.py::test_(\w+) (PASSED|FAILED)", done.stdout))


@pytest.mark.slow
def test_what_tests_leave_behind_and_errors_fail_them(suite: Path) -> None:
    (suite / "known").write_text("leak:^lose_as_known$\n")
    done = ran(suite, "--poireau", "--poireau-suppressions", "known")
    assert outcomes(done) == {
        "loses": "FAILED",
        "loses_what_is_known": "PASSED",
        "loses_within_its_limit": "PASSED",
        "keeps": "FAILED",
        "fills_a_cache": "PASSED",
        "reads_freed_memory": "FAILED",
        "with_a_limit_that_is_none": "FAILED",
        "fails_by_itself": "FAILED",
        "of_nothing": "PASSED",
    }, done.stdout + done.stderr
    assert re.search(r"4\.88KiB left behind a run, 1000B allowed \(in 5 runs after the first\)", done.stdout)
    assert re.search(r"allocated in 5 of 5 runs, and nothing points at [45] of 5 any more:\n    lose ", done.stdout)
    assert re.search(r"allocated in 3 of 3 runs, and nothing points at 0 of 3 any more:\n    keep ", done.stdout)
    assert re.search(r"use after free: 0 bytes into a freed 24-byte block from malloc\n", done.stdout)
    assert "limit_leaks: much is no size" in done.stdout and "Traceback" not in done.stderr


def test_without_the_option_marks_mean_nothing(suite: Path) -> None:
    assert list(outcomes(ran(suite)).values()).count("FAILED") == 1
