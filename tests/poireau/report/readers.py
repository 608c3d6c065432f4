"""What exports are for: programs that nobody here wrote read them."""

from __future__ import annotations

import gzip
import json
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from tests.conftest import ROOT, clean_environment

_FIELD = descriptor_pb2.FieldDescriptorProto
# Of profile.proto: message -> field -> (number, type); a capital is a message, * is repeated.
_MESSAGES: Mapping[str, Mapping[str, tuple[int, str]]] = {
    "ValueType": {"type": (1, "int64"), "unit": (2, "int64")},
    "Label": {"key": (1, "int64"), "str": (2, "int64"), "num": (3, "int64"), "num_unit": (4, "int64")},
    "Sample": {"location_id": (1, "uint64*"), "value": (2, "int64*"), "label": (3, "Label*")},
    "Mapping": {
        "id": (1, "uint64"),
        "memory_start": (2, "uint64"),
        "memory_limit": (3, "uint64"),
        "file_offset": (4, "uint64"),
        "filename": (5, "int64"),
        "build_id": (6, "int64"),
        "has_functions": (7, "bool"),
        "has_filenames": (8, "bool"),
        "has_line_numbers": (9, "bool"),
        "has_inline_frames": (10, "bool"),
    },
    "Line": {"function_id": (1, "uint64"), "line": (2, "int64")},
    "Location": {"id": (1, "uint64"), "mapping_id": (2, "uint64"), "address": (3, "uint64"), "line": (4, "Line*")},
    "Function": {
        "id": (1, "uint64"),
        "name": (2, "int64"),
        "system_name": (3, "int64"),
        "filename": (4, "int64"),
        "start_line": (5, "int64"),
    },
    "Profile": {
        "sample_type": (1, "ValueType*"),
        "sample": (2, "Sample*"),
        "mapping": (3, "Mapping*"),
        "location": (4, "Location*"),
        "function": (5, "Function*"),
        "string_table": (6, "string*"),
        "time_nanos": (9, "int64"),
        "duration_nanos": (10, "int64"),
        "period_type": (11, "ValueType"),
        "period": (12, "int64"),
        "comment": (13, "int64*"),
        "default_sample_type": (14, "int64"),
    },
}


@cache
def _message(name: str) -> Any:
    file = descriptor_pb2.FileDescriptorProto(name="profile.proto", package="profiles", syntax="proto3")
    for message, fields in _MESSAGES.items():
        described = file.message_type.add(name=message)
        for field, (number, kind) in fields.items():
            repeated, kind = kind.endswith("*"), kind.rstrip("*")
            label = _FIELD.LABEL_REPEATED if repeated else _FIELD.LABEL_OPTIONAL
            added = described.field.add(name=field, number=number, label=label)
            if kind[0].isupper():
                added.type, added.type_name = _FIELD.TYPE_MESSAGE, f".profiles.{kind}"
            else:
                added.type = getattr(_FIELD, f"TYPE_{kind.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"profiles.{name}"))


def protobuf(content: bytes) -> Any:
    """The profile; whatever it holds that profile.proto doesn't is an error."""
    profile = _message("Profile")()
    profile.ParseFromString(gzip.decompress(content))
    known = profile.SerializeToString()
    profile.DiscardUnknownFields()
    assert profile.SerializeToString() == known
    return profile


def go_pprof(*arguments: str | Path, **more: Any) -> str:
    """What `go tool pprof` prints."""
    environment = {
        **clean_environment(),
        "PPROF_BINARY_PATH": "/nowhere",
        "PPROF_TMPDIR": str(ROOT / "build" / "pprof"),
    }
    return _run([_go_pprof(), "-symbolize=none", *arguments], env=environment, **more).stdout


@cache
def _go_pprof() -> str:
    """New Go builds it when it is first asked for, and says where it is."""
    go = shutil.which("go")
    assert go is not None, "go is not installed: run `make setup`"
    _run([go, "tool", "pprof", "-h"], check=False)
    return _run([go, "tool", "-n", "pprof"]).stdout.strip()


def google_pprof(*arguments: str | Path) -> str:
    """The predecessor of that, in Perl."""
    return _run(["google-pprof", *arguments]).stdout


def speedscope(file: Path) -> list[dict[str, Any]]:
    """Profiles: name, unit, total, and stacks: [[[function, file], ...], own weight]."""
    done = _run(["node", Path(__file__).with_name("speedscope.js"), ROOT / "flamegraph", file])
    profiles: list[dict[str, Any]] = json.loads(done.stdout)
    return profiles


def _run(command: Sequence[str | Path], check: bool = True, **more: Any) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, **more)
    said = f"{' '.join(map(str, command))}\n{done.stdout[-2000:]}{done.stderr[-4000:]}"
    assert done.returncode == 0 or not check, said
    return done
