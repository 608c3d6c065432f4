"""`lib`: where the library is, for LD_PRELOAD."""

from __future__ import annotations

import argparse

from poireau import layout

SCHEMA = "poireau.lib"


def add_to(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    verb = verbs.add_parser(
        "lib",
        help="print the library's path, for LD_PRELOAD",
        description="Prints the path of libpoireau.so: LD_PRELOAD=$(poireau lib) ./server, or in a service file. It is "
        "to come first; a program that uses jemalloc, tcmalloc, mimalloc or dlmalloc is seen better under `run`, which "
        "adds their own library.",
    )
    verb.add_argument("--json", action="store_true", help="with the libraries of allocators, for a program to read")
    verb.set_defaults(act=_act)


def _act(parsed: argparse.Namespace) -> int:
    library = layout.library()
    if not parsed.json:
        print(library)
        return 0
    import json

    beside = {family: library.parent / layout.extension(family) for family in layout.FAMILIES}
    extensions = {family: str(path) for family, path in beside.items() if path.is_file()}
    print(json.dumps({"schema": SCHEMA, "version": 1, "library": str(library), "extensions": extensions}, indent=1))
    return 0
