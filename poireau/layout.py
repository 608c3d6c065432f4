"""Where our own files are: in a checkout, or below the prefix we were installed to."""

from __future__ import annotations

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
    """The library to preload. The extension libraries lie beside it."""
    checkout = _checkout(package)
    if checkout is not None:
        candidates = [checkout / "build" / preset / LIBRARY for preset in ("release", "dev")]
        remedy = "run `make build`"
    else:
        # <prefix>/lib/poireau/python/poireau is the package; the library is in lib, lib64 or lib/<multiarch>.
        prefix = package.parents[3]
        candidates = [
            prefix / "lib" / LIBRARY,
            *sorted((prefix / "lib").glob(f"*-linux-gnu*/{LIBRARY}")),
            prefix / "lib64" / LIBRARY,
        ]
        remedy = "run `make install` again"
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    raise Failure(f"{LIBRARY} is not there (looked for {', '.join(map(str, candidates))}): {remedy}")


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


def _checkout(package: Path) -> Path | None:
    root = package.parent
    return root if (root / "CMakeLists.txt").is_file() or (root / "poireau.py").is_file() else None
