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
