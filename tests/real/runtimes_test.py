"""Go and Java have ideas of their own about memory and signals: there we step aside, and say so where asked."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.conftest import Exercised

from .conftest import OUR_LINE, Setting, run

JAVA = r"""
public class Hello {
  public static void main(String[] arguments) throws Exception {
    java.util.ArrayList<byte[]> kept = new java.util.ArrayList<>();
    Thread[] threads = new Thread[4];
    for (int t = 0; t < threads.length; ++t) {
      (threads[t] = new Thread(() -> {
        for (int i = 0; i < 2000; ++i) synchronized (kept) { kept.add(new byte[i]); }
      })).start();
    }
    for (Thread thread : threads) thread.join();
    String none = null;
    try { none.length(); } catch (NullPointerException e) { System.out.println("null"); }
    System.gc();
    System.out.println(kept.size());
    System.exit(5);
  }
}
"""
GO = r"""
package main

// #include <stdlib.h>
import "C"
import ("fmt"; "os")

func main() {
	kept := map[int]string{}
	for i := 0; i < 20000; i++ { kept[i*37%1009] += fmt.Sprint(i); C.free(C.malloc(C.size_t(i))) }
	defer func() { fmt.Println(recover() != nil, len(kept)); os.Exit(6) }()
	var none *int
	fmt.Println(*none)
}
"""


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("java") is None, reason="java is not installed")
@pytest.mark.parametrize("period", ["1", "512K"])
def test_java_is_left_alone(period: str, tmp_path: Path, exercised: Exercised) -> None:
    source = tmp_path / "Hello.java"
    source.write_text(JAVA)
    bare = run(["java", source], Setting())
    assert (bare.returncode, bare.stdout) == (5, "null\n8000\n"), bare
    done = run(["java", source], Setting(period=period), {"POIREAU_LOG": "info"})
    assert "not sampling: this is Java" in done.stderr
    done.stderr = OUR_LINE.sub("", done.stderr)
    assert (done.returncode, done.stdout, done.stderr) == (bare.returncode, bare.stdout, bare.stderr)
    exercised.add("real programs", "java (left alone)")


@pytest.mark.soak  # it builds Go's runtime/cgo first
@pytest.mark.parametrize("period", ["1", "512K"])
def test_go_is_left_alone(period: str, tmp_path: Path, exercised: Exercised) -> None:
    (tmp_path / "main.go").write_text(GO)
    build = {"GOCACHE": str(tmp_path / "cache"), "CGO_ENABLED": "1", "GOFLAGS": "-mod=mod", "GO111MODULE": "off"}
    built = run(["go", "build", "-o", "program", "main.go"], Setting(), build, cwd=tmp_path)
    if built.returncode != 0:
        pytest.skip(f"this go can't build with cgo: {built.stderr.splitlines()[:1]}")
    bare = run([tmp_path / "program"], Setting())
    assert bare.returncode == 6 and bare.stdout.startswith("true 1009"), bare
    done = run([tmp_path / "program"], Setting(period=period), {"POIREAU_LOG": "info"})
    assert "not sampling: the program is written in Go" in done.stderr
    assert (done.returncode, done.stdout) == (bare.returncode, bare.stdout)
    exercised.add("real programs", "go (left alone)")
