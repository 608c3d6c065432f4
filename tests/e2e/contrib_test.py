"""What contrib/ tells others to put into their services works as it stands there."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.conftest import ROOT, clean_environment

SYSTEMD = ROOT / "contrib" / "systemd" / "poireau.conf"
KUBERNETES = ROOT / "contrib" / "kubernetes" / "poireau.yaml"
ASKS = "int main(void) { for (int i = 0; i < 4000; ++i) *(volatile char*)malloc(4096) = 1; }"


def of_systemd() -> dict[str, str]:
    """Those that are commented out as well."""
    lines = re.findall(r"^#?Environment=(.*)$", SYSTEMD.read_text(), re.MULTILINE)
    return dict(pair.split("=", 1) for line in lines for pair in line.replace("%%", "%").split())


def of_kubernetes() -> dict[str, str]:
    return dict(re.findall(r"- name: (\w+)\n +value: (.*)", KUBERNETES.read_text()))


@pytest.mark.parametrize("variables", [of_systemd(), of_kubernetes()], ids=["systemd", "kubernetes"])
def test_the_library_takes_what_is_set_there(
    variables: Mapping[str, str], library: Path, compile_c: Callable[..., Path], tmp_path: Path
) -> None:
    assert {"LD_PRELOAD", "POIREAU_TRACE", "POIREAU_CONTROL"} <= set(variables)
    assert Path(variables["LD_PRELOAD"]).name == library.name
    own = {
        "LD_PRELOAD": str(library),
        "POIREAU_TRACE": str(tmp_path),
        "POIREAU_ARMED": "on",
        "POIREAU_ONLY": "program*",
    }
    program = compile_c(f"#include <stdlib.h>\n{ASKS}")
    done = subprocess.run([program], env=clean_environment(**{**variables, **own}), capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(list(tmp_path.glob("*/*/metadata"))) == 1


CORE = r"""
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
struct node { struct node* next; char text[40]; }* head;
int main(int count, char** argument) {
  setrlimit(RLIMIT_CORE, &(struct rlimit){RLIM_INFINITY, RLIM_INFINITY});
  for (int i = 0; i < 20000; ++i) {
    struct node* node = malloc(sizeof *node);
    node->next = head, head = node;
    sprintf(node->text, "node %d", i);
    if (i % 3 == 0) head = node->next, free(node);
  }
  if (count > 1 && fork() != 0) return wait(NULL) < 0;
  strcpy(head->text, "the last");
  abort();
}
"""


@pytest.mark.parametrize("who", ["parent", "child"])
def test_a_core_has_blocks_once_and_mended_in_their_places(
    library: Path, compile_c: Callable[..., Path], tmp_path: Path, who: str
) -> None:
    pattern = Path("/proc/sys/kernel/core_pattern").read_text().strip()
    assert re.fullmatch("core(.%p)?", pattern), f"cores go to {pattern}: sysctl kernel.core_pattern=core"
    program = compile_c(CORE, ["-g", "-w", "-fno-builtin"])
    own = {"LD_PRELOAD": str(library), "POIREAU_PROTECT": "all", "POIREAU_SINK": "none", "POIREAU_CORE": "once"}
    subprocess.run([program, *["a child"] * (who == "child")], env=clean_environment(**own), cwd=tmp_path)
    (core,) = tmp_path.glob("core*")
    assert core.stat().st_blocks * 512 < 30 << 20  # it would be 53 MiB and more
    for shown in (r"parts of it are shown in their places", r": 0 parts"):
        mended = subprocess.run([ROOT / "contrib/core/mend", core], capture_output=True, text=True)
        assert re.search(shown, mended.stdout), mended
    asked = ["gdb", "-nx", "-batch", "-ex", "p head->text", "-ex", "p head->next->next->text", program, core]
    said = subprocess.run(asked, capture_output=True, text=True).stdout
    assert re.findall(r'= "([a-z0-9 ]*)', said) == ["the last", "node 19996"], said


CUT_OFF = (
    b"\x7fELF\x02\x01" + bytes(10) + b"\4" + bytes(15) + b"\x40" + bytes(23) + b"\1" + bytes(20)
)  # in its one segment


@pytest.mark.parametrize("content", [None, b"", b"text", CUT_OFF])
def test_what_is_no_core_is_called_so(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "core"
    if content is not None:
        file.write_bytes(content)
    done = subprocess.run([ROOT / "contrib/core/mend", file], capture_output=True, text=True)
    assert done.returncode == 1
    assert str(file) in done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
