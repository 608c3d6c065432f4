"""Where our own files are: in a checkout, or below the prefix we were installed to."""

from __future__ import annotations

import os
from pathlib import Path

from poireau.errors import Failure

LIBRARY = "libpoireau.so"
FAMILIES = {  # extension hooks -> a function by which an allocator of that family is known
    "jemalloc": "mallocx",
    "tcmalloc": "tc_malloc",
    "mimalloc": "mi_malloc",
    "dlmalloc": "independent_calloc",
}
PACKAGE = Path(__file__).resolve().parent


def extension(family: str) -> str:
    return f"libpoireau-{family}.so"


def library(package: Path = PACKAGE) -> Path:
    """The library to preload. The extension libraries lie beside it. A checkout's may be of POIREAUPY_NATIVE."""
    return _built(LIBRARY, package, [] if _checkout(package) is None else _named())


def native(name: str, package: Path = PACKAGE) -> Path:
    """What we load or start ourselves. POIREAUPY_NATIVE names the directory of another build."""
    return _built(name, package, _named())


def _named() -> list[Path]:
    return [Path(each) for each in [os.environ.get("POIREAUPY_NATIVE", "")] if each]


def _built(name: str, package: Path, first: list[Path]) -> Path:
    checkout = _checkout(package)
    if checkout is not None:
        directories = [checkout / "build" / preset for preset in ("release", "dev")]
        remedy = "run `make build`"
    else:
        # <prefix>/lib/poireau/python/poireau is the package; libraries are in lib, lib64 or lib/<multiarch>.
        prefix = package.parents[3]
        libraries = [prefix / "lib", *sorted((prefix / "lib").glob("*-linux-gnu*")), prefix / "lib64"]
        directories = [*libraries, *(each / "poireau" for each in libraries)]
        remedy = "run `make install` again"
    candidates = [directory / name for directory in (*first, *directories)]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    raise Failure(f"{name} is not there (looked for {', '.join(map(str, candidates))}): {remedy}")


def options_file(package: Path = PACKAGE) -> Path:
    """The commented poireau.toml with every option at its default."""
    checkout = _checkout(package)
    if checkout is not None:
        path, remedy = checkout / "config" / "poireau.toml", "run `make format`"
    else:
        path, remedy = package.parents[3] / "share" / "poireau" / "poireau.toml", "run `make install` again"
    if not path.is_file():
        raise Failure(f"{path} is not there: {remedy}")
    return path


def page(name: str, package: Path = PACKAGE) -> Path:
    """What a page is made of: a script or the look of all of them."""
    checkout = _checkout(package)
    if checkout is not None:
        path, remedy = checkout / "build" / "pages" / name, "run `make build`"
    else:
        path, remedy = package.parents[3] / "share" / "poireau" / "pages" / name, "run `make install` again"
    if not path.is_file():
        raise Failure(f"{path} is not there: {remedy}; -o with .svg, .png or .pdf does without")
    return path


def in_checkout() -> bool:
    return _checkout(PACKAGE) is not None


def _checkout(package: Path) -> Path | None:
    root = package.parent
    return root if (root / "CMakeLists.txt").is_file() or (root / "poireau.py").is_file() else None
