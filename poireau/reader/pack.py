"""A pack: one file with all events of a trace, and what its frames are called, so that who has it needs neither the
trace nor the binaries.

It is a zip file. `manifest.json` says which version it is, what was lost, and how many batches there are; every other
member is a column, in numpy's format:

    tables/NAME.npy, names/NAME.npy      tables.Tables and tables.Names
    events/BATCH/KIND/COLUMN.npy         a batch; kinds and columns without rows are not there

Texts are two columns: their UTF-8 bytes, and where each ends.

It may come from a stranger. Nothing in it is code, sizes are looked at before anything is unpacked, and numbers before
they are used: what is wrong with it is a Failure.
"""

from __future__ import annotations

import json
import os
import re
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from poireau.errors import REFUSED, Failure
from poireau.events import KINDS
from poireau.native.binding import DTYPE, EMPTY, Batch
from poireau.tables import EVERY, Loss, Module, Names, Tables
from poireau.version import __version__

SCHEMA, VERSION = "poireau.pack", 1
MOST_TIMES, MOST_ANYWAY = 200, 64 << 20  # what is unpacked may be so many times what is packed, or so many bytes
MOST_MANIFEST = 16 << 20
MOST_ROWS = 1 << 20  # of a batch
_LEVEL = 3
_HEADER = re.compile(rb"\{'descr': '([^']*)', 'fortran_order': False, 'shape': \((\d{1,18}),\), \} *\n?")  # numpy's own
_TABLES = {
    "string_ends": "u8",
    "string_bytes": "u1",
    "module_path": "u4",
    "module_build_id": "u4",
    "frame_module": "u4",
    "frame_process": "u4",
    "frame_address": "u8",
    "stack_ends": "u8",
    "stack_frames": "u4",
    "source": "u4",
    "process_id": "u4",
}
_NAMES = {
    "ends": "u8",
    "function": "u4",
    "file": "u4",
    "line": "u4",
    "inlined": "?",
    "function_ends": "u8",
    "function_bytes": "u1",
    "file_ends": "u8",
    "file_bytes": "u1",
}
Column = NDArray[Any]


def write(
    batches: Iterator[Batch], tables: Callable[[], Tables], names: Callable[[], Names | None], out: BinaryIO
) -> None:
    """`tables` and `names` are asked once all batches are through: they grow with them."""
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=_LEVEL) as file:
        count = 0
        for batch in batches:
            for part in _parts(batch):
                for kind, columns in part.items():
                    for name, dtype in DTYPE[kind].items():
                        _put(file, f"events/{count}/{kind}/{name}", columns[name], dtype)
                count += 1
        known, called = tables(), names()
        for name, column in _columns_of(known).items():
            _put(file, f"tables/{name}", column, _TABLES[name])
        for name, column in (_columns_of_names(called) if called is not None else {}).items():
            _put(file, f"names/{name}", column, _NAMES[name])
        losses, missing = known.losses, called.missing if called is not None else ()
        manifest = {
            "schema": SCHEMA,
            "version": VERSION,
            "poireau": __version__,
            "batches": count,
            "named": called is not None,
            "losses": [[each.process, each.cause, each.count] for each in losses],
            "missing": [[each.process, each.cause, each.count] for each in missing],
        }
        with _member(file, "manifest.json") as member:
            member.write(json.dumps(manifest).encode())


def is_pack(path: str | os.PathLike[str]) -> bool:
    try:
        with zipfile.ZipFile(path) as file:
            return "manifest.json" in file.NameToInfo
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError):
        return False


def open_pack(path: str | os.PathLike[str]) -> Pack:
    """Raises Failure: it is none, or damaged."""
    return Pack(os.fspath(path))


class Pack:
    """A trace, and its own symbolizer."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._done = 0
        with self._checked():
            self._file = zipfile.ZipFile(path)
            self._check_sizes()
            manifest = self._manifest()
            self._batches = int(manifest["batches"])
            self._tables = self._read_tables(_losses(manifest["losses"]))
            self._names = self._read_names(_losses(manifest["missing"])) if manifest["named"] else None

    def batches(self) -> Iterator[Batch]:
        members: dict[int, list[str]] = {}
        for name in self._file.NameToInfo:
            parts = name.split("/")
            if parts[0] == "events" and len(parts) == 4 and parts[1].isdecimal():
                members.setdefault(int(parts[1]), []).append(name)
        self._done = 0
        for number in range(self._batches):
            with self._checked():
                batch = self._batch(members.get(number, []))
            self._done = number + 1
            yield batch

    def tables(self) -> Tables:
        return self._tables

    def names(self, tables: Tables | None = None, frames: Column | None = None) -> Names | None:
        """Of all its frames, whichever are asked for; but what is missing is of the modules of those."""
        known = self._names
        if known is None or frames is None:
            return known
        paths = [module.path for module in self._tables.modules]
        asked = {paths[module] for module in np.unique(self._tables.frame_module[frames]).tolist()}
        others = set(paths) - asked
        return replace(known, missing=[loss for loss in known.missing if loss.cause.partition(": ")[0] not in others])

    def progress(self) -> tuple[int, int]:
        return self._done, self._batches

    def close(self) -> None:
        self._file.close()

    def _checked(self) -> _Checked:
        return _Checked(self._path)

    def _check_sizes(self) -> None:
        packed = os.path.getsize(self._path)
        whole = sum(info.file_size for info in self._file.infolist())
        if whole > max(MOST_ANYWAY, MOST_TIMES * packed):
            raise ValueError(f"it would unpack to {whole >> 20} MiB")

    def _manifest(self) -> Mapping[str, Any]:
        if self._file.getinfo("manifest.json").file_size > MOST_MANIFEST:
            raise ValueError("its manifest is too large")
        manifest = json.loads(self._file.read("manifest.json"))
        if not isinstance(manifest, dict) or manifest.get("schema") != SCHEMA:
            raise ValueError("it is another kind of zip file")
        if manifest.get("version") != VERSION:
            raise ValueError(f"it has version {manifest.get('version')}, and this is for version {VERSION}")
        if not 0 <= int(manifest["batches"]) <= len(self._file.NameToInfo):
            raise ValueError("its manifest counts what is not there")
        return manifest

    def _column(self, name: str, dtype: np.dtype[Any]) -> Column:
        content = self._file.read(f"{name}.npy")
        begin = 10 + int.from_bytes(content[8:10], "little")
        header = _HEADER.fullmatch(content[10:begin])
        if not content.startswith(b"\x93NUMPY\x01\x00") or header is None:
            raise ValueError(f"{name} is no column")
        if header[1] != dtype.str.encode() or int(header[2]) * dtype.itemsize != len(content) - begin:
            raise ValueError(f"{name} is not the column that it should be")
        return np.frombuffer(content, dtype, offset=begin)

    def _batch(self, members: Sequence[str]) -> Batch:
        batch: dict[str, dict[str, Column]] = {kind: dict(columns) for kind, columns in EMPTY.items()}
        found: dict[str, dict[str, Column]] = {}
        for member in members:
            _, _, kind, name = member.removesuffix(".npy").split("/")
            if name in DTYPE.get(kind, {}):
                found.setdefault(kind, {})[name] = self._column(member.removesuffix(".npy"), DTYPE[kind][name])
        for kind, columns in found.items():
            lengths = {len(column) for column in columns.values()}
            if columns.keys() != DTYPE[kind].keys() or len(lengths) != 1 or max(lengths) > MOST_ROWS:
                raise ValueError(f"columns of {kind} are missing, or don't fit together")
            self._check_batch(kind, columns)
            batch[kind] = columns
        return batch

    def _check_batch(self, kind: str, columns: Mapping[str, Column]) -> None:
        tables = self._tables
        most = {"text": len(tables.strings), "bytes": len(tables.strings), "frames": len(tables.stack_ends)}
        _below(columns["process"], len(tables.sources), f"a process of {kind}")
        for name, type_ in KINDS[kind].items():
            if type_ in most:
                _below(columns[name], most[type_], f"{kind} {name}")

    def _read_tables(self, losses: Sequence[Loss]) -> Tables:
        column = {name: self._column(f"tables/{name}", np.dtype(dtype)) for name, dtype in _TABLES.items()}
        strings = _texts(column["string_ends"], column["string_bytes"])
        _same_length(column, "module_path", "module_build_id")
        _same_length(column, "frame_module", "frame_process", "frame_address")
        _same_length(column, "source", "process_id")
        for name in ("module_path", "module_build_id", "source"):
            _below(column[name], len(strings), name)
        _below(column["frame_module"], len(column["module_path"]), "a frame's module")
        _ends(column["stack_ends"], len(column["stack_frames"]))
        _below(column["stack_frames"], len(column["frame_module"]), "a stack's frame")
        if not (len(column["stack_ends"]) and len(strings) and len(column["module_path"])) or column["stack_ends"][0]:
            raise ValueError("its tables don't begin with nothing")
        named = zip(column["module_path"].tolist(), column["module_build_id"].tolist())
        return Tables(
            strings=strings,
            modules=[Module(strings[path], strings[build_id]) for path, build_id in named],
            frame_module=column["frame_module"],
            frame_process=column["frame_process"],
            frame_address=column["frame_address"],
            stack_ends=column["stack_ends"],
            stack_frames=column["stack_frames"],
            sources=[strings[source] for source in column["source"].tolist()],
            process_ids=column["process_id"].tolist(),
            losses=losses,
        )

    def _read_names(self, missing: Sequence[Loss]) -> Names:
        column = {name: self._column(f"names/{name}", np.dtype(dtype)) for name, dtype in _NAMES.items()}
        functions = _texts(column["function_ends"], column["function_bytes"])
        files = _texts(column["file_ends"], column["file_bytes"])
        _same_length(column, "function", "file", "line", "inlined")
        _ends(column["ends"], len(column["function"]))
        if len(column["ends"]) != len(self._tables.frame_module):
            raise ValueError("its names are those of other frames")
        _below(column["function"], len(functions), "a function")
        _below(column["file"], len(files), "a file")
        ends, function, file, line, inlined = list(column.values())[:5]
        return Names(ends, function, file, line, inlined, functions, files, missing)


class _Checked:
    """What may be wrong with such a file, as one line."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        expected = (
            zipfile.BadZipFile,
            zlib.error,
            OSError,
            ValueError,
            KeyError,
            TypeError,
            EOFError,
            NotImplementedError,
            RuntimeError,
            RecursionError,
            OverflowError,
        )
        if isinstance(error, expected):
            why = str(error) if not isinstance(error, KeyError) else f"{error} is missing"
            raise Failure(f"{self._path}: not a pack, or damaged: {why}", REFUSED) from None


def _parts(batch: Batch) -> Iterator[Batch]:
    """None with too many rows of a kind, and kinds without rows left out."""
    present = {kind: columns for kind, columns in batch.items() if len(columns["stamp"])}
    rows = max((len(columns["stamp"]) for columns in present.values()), default=0)
    for begin in range(0, rows, MOST_ROWS):
        part = slice(begin, begin + MOST_ROWS)
        cut = {kind: {name: column[part] for name, column in columns.items()} for kind, columns in present.items()}
        yield {kind: columns for kind, columns in cut.items() if len(columns["stamp"])}


def _member(file: zipfile.ZipFile, name: str) -> Any:
    info = zipfile.ZipInfo(name, time.gmtime(315532800)[:6])  # the same events make the same file
    info.compress_type = zipfile.ZIP_DEFLATED
    info._compresslevel = _LEVEL  # type: ignore[attr-defined]
    info.external_attr = 0o644 << 16
    return file.open(info, "w", force_zip64=True)


def _put(file: zipfile.ZipFile, name: str, column: Any, dtype: Any) -> None:
    with _member(file, f"{name}.npy") as member:
        np.lib.format.write_array(member, np.ascontiguousarray(column, dtype), version=(1, 0), allow_pickle=False)


def _columns_of(tables: Tables) -> dict[str, Any]:
    strings = _Numbered(tables.strings)
    columns = {
        "module_path": [strings(module.path) for module in tables.modules],
        "module_build_id": [strings(module.build_id) for module in tables.modules],
        "source": [strings(source) for source in tables.sources],
        "process_id": list(tables.process_ids),
        **{name: getattr(tables, name) for name in _TABLES if hasattr(tables, name)},
    }
    columns["string_ends"], columns["string_bytes"] = _encoded(strings.texts)
    return columns


def _columns_of_names(names: Names) -> dict[str, Any]:
    columns: dict[str, Any] = {name: getattr(names, name) for name in ("ends", "function", "file", "line", "inlined")}
    columns["function_ends"], columns["function_bytes"] = _encoded(names.functions)
    columns["file_ends"], columns["file_bytes"] = _encoded(names.files)
    return columns


class _Numbered:
    """Texts that have numbers, and more that get some."""

    def __init__(self, texts: Sequence[str]) -> None:
        self.texts = list(texts)
        self._numbers = {text: number for number, text in enumerate(self.texts)}

    def __call__(self, text: str) -> int:
        number = self._numbers.setdefault(text, len(self.texts))
        if number == len(self.texts):
            self.texts.append(text)
        return number


def _encoded(texts: Sequence[str]) -> tuple[Column, Column]:
    encoded = [text.encode("utf-8", "surrogatepass") for text in texts]
    ends = np.cumsum([len(each) for each in encoded], dtype=np.uint64)
    return ends, np.frombuffer(b"".join(encoded), np.uint8)


def _texts(ends: Column, content: Column) -> list[str]:
    _ends(ends, len(content))
    whole, begin, texts = content.tobytes(), 0, []
    for end in ends.tolist():
        texts.append(whole[begin:end].decode("utf-8", "surrogatepass"))
        begin = end
    return texts


def _losses(rows: Any) -> list[Loss]:
    losses = [Loss(int(process), str(cause), int(count)) for process, cause, count in rows]
    if any(not 0 <= loss.process <= EVERY or loss.count < 0 for loss in losses):
        raise ValueError("its losses are out of range")
    return losses


def _below(numbers: Column, count: int, what: str) -> None:
    if len(numbers) and int(numbers.max()) >= count:
        raise ValueError(f"{what} has number {numbers.max()} of {count}")


def _ends(ends: Column, count: int) -> None:
    if (len(ends) and (int(ends[-1]) != count or np.any(ends[1:] < ends[:-1]))) or (not len(ends) and count):
        raise ValueError("its parts don't end where they should")


def _same_length(columns: Mapping[str, Column], *names: str) -> None:
    if len({len(columns[name]) for name in names}) != 1:
        raise ValueError(f"{' and '.join(names)} differ in length")
