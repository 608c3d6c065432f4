"""What a target may be, and what is read of it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from poireau.errors import Failure
from poireau.native.binding import EMPTY
from poireau.reader import Trace, open_trace
from poireau.reader.merging import Merged
from poireau.tables import EVERY, Loss
from tests.columns import Event, events_of
from tests.conftest import clean_environment
from tests.trace_writer import write_trace

Write = Callable[..., Path]


@pytest.fixture
def write(compile_c: Callable[..., Path], tmp_path: Path) -> Write:
    def at(where: str | bytes, process: int = 1, events: int = 50) -> Path:
        directory = Path(os.fsdecode(os.path.join(os.fsencode(tmp_path), os.fsencode(where))))
        directory.parent.mkdir(parents=True, exist_ok=True)
        return write_trace(compile_c, directory, events, stacks=20, frames=4, process=process, seed=process)

    return at


def read(trace: Trace) -> list[Event]:
    return [event for batch in trace.batches() for event in events_of(batch, trace.tables())]


def processes(*targets: Path | str) -> list[int]:
    trace = open_trace(targets)
    assert read(trace)
    return list(trace.tables().process_ids)


def test_a_target_is_a_process_a_run_or_a_root_or_several(write: Write, tmp_path: Path) -> None:
    first, second, third = write("root/run1/a", 1), write("root/run1/b", 2), write("root/run2/c", 3)
    assert processes(first) == [1]
    assert processes(tmp_path / "root" / "run1") == [1, 2]
    assert processes(str(tmp_path)) == [1, 2, 3]
    assert processes(third, second) == [3, 2]
    assert processes(third, tmp_path) == [3, 1, 2]  # none twice


def test_what_is_hidden_is_none_and_links_may_lead_in_circles(write: Write, tmp_path: Path) -> None:
    write("root/run/a", 1), write("root/.hidden/b", 2), write("elsewhere/c", 3)
    (tmp_path / "root" / "run" / "up").symlink_to("..")
    (tmp_path / "root" / "self").symlink_to("self")
    (tmp_path / "root" / "other").symlink_to(tmp_path / "elsewhere")
    assert sorted(processes(tmp_path / "root")) == [1, 3]


def test_paths_of_any_bytes_work_and_are_told(write: Write, tmp_path: Path) -> None:
    path = write(b"run/caf\xe9 \xff")
    trace = open_trace([tmp_path / "run"])
    assert len(read(trace)) == 50
    assert list(trace.tables().sources) == [str(path)]
    assert os.fsencode(trace.tables().sources[0]).endswith(b"caf\xe9 \xff")


def test_what_is_no_trace_is_said_in_one_line(write: Write, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("text")
    write("run/a")

    def complaint(*targets: Path) -> str:
        with pytest.raises(Failure) as failure:
            open_trace(targets)
        assert "\n" not in str(failure.value)
        return str(failure.value)

    assert complaint() == "no trace is named"
    assert complaint(tmp_path / "gone") == f"{tmp_path}/gone is not there"
    assert complaint(tmp_path / "empty").startswith(f"{tmp_path}/empty holds no trace")
    assert complaint(tmp_path / "run", tmp_path / "file").startswith(f"{tmp_path}/file is neither a pack nor a dir")
    assert complaint(tmp_path / "run/a/metadata").endswith(f"its trace is {tmp_path}/run/a")


def test_a_trace_without_metadata_is_a_loss_and_the_others_are_read(write: Write, tmp_path: Path) -> None:
    (write("root/a", 1) / "metadata").unlink()
    write("root/b", 2)
    trace = open_trace([tmp_path / "root"])
    assert len(read(trace)) == 50
    assert trace.tables().losses == [Loss(0, "its metadata is missing, or of another layout", 1)]


def test_batches_begin_again_and_progress_comes_to_its_end(write: Write, tmp_path: Path) -> None:
    write("root/a", 1, 3000), write("root/b", 2, 10)
    trace = open_trace([tmp_path / "root"])
    assert trace.progress()[0] == 0 < trace.progress()[1]
    events = read(trace)
    assert len(events) == 3010 and read(trace) == events
    done, everything = trace.progress()
    assert done == everything == sum(path.stat().st_size for path in tmp_path.glob("root/*/*_*"))
    trace.close()
    trace.close()


def test_who_follows_a_root_finds_who_comes_later(write: Write, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("poireau.reader.native._LOOK_AROUND", 0.0)
    write("root/a", 1)
    trace = open_trace([tmp_path / "root"], follow=True)
    batches = trace.batches()

    def catch_up() -> int:
        count = 0
        while (batch := next(batches)) is not EMPTY:
            count += len(events_of(batch, trace.tables()))
        return count

    assert catch_up() == 50 and catch_up() == 0
    write("root/b", 2, 70)
    assert catch_up() + catch_up() == 70
    assert list(trace.tables().process_ids) == [1, 2]


def test_readers_together_give_one_numbering(write: Write, tmp_path: Path) -> None:
    paths = [write("a", 1, 2000), write("b", 2, 1000), write("c", 1, 2000)]
    (paths[1] / "samples_1").unlink()
    (paths[1] / "samples_2").write_bytes(b"\0" * 70_000)
    together = Merged([open_trace([path]) for path in paths])
    apart = open_trace(paths)
    by_place = [sorted(read(trace), key=str) for trace in (together, apart)]
    assert by_place[0] == by_place[1]
    ours, theirs = together.tables(), apart.tables()
    assert ours.process_ids == tuple(theirs.process_ids) and list(ours.sources) == list(theirs.sources)
    assert len(ours.stack_ends) == len(theirs.stack_ends) and len(ours.frame_address) == len(theirs.frame_address)
    assert set(ours.modules) == set(theirs.modules) and len(ours.strings) == len(set(ours.strings))
    assert list(ours.losses) == list(theirs.losses) and {loss.process for loss in ours.losses} == {1}
    assert sorted(read(together), key=str) == by_place[0]


def test_our_own_layout_and_another_are_read_together(write: Write, tmp_path: Path) -> None:
    ours, other = write("root/a", 1), write("root/b", 2)
    text = (other / "metadata").read_text()
    (other / "metadata").write_text(text + "\n")  # another version's, say
    trace = open_trace([tmp_path / "root"])
    events = read(trace)
    alone = read(open_trace([ours]))
    assert len(events) == 100 and events[:50] == alone
    assert {loss.process for loss in trace.tables().losses} <= {EVERY}
    assert sorted(trace.tables().process_ids) == [1, 2]


def test_one_reader_that_fails_is_a_loss_unless_nothing_else_is_there(write: Write, tmp_path: Path) -> None:
    write("root/a", 1)
    bad = write("root/b", 2) / "metadata"
    bad.write_text(bad.read_text()[:900])
    trace = open_trace([tmp_path / "root"])
    for _ in range(2):
        assert len(read(trace)) == 50
        (loss,) = trace.tables().losses
        assert loss.process == EVERY and str(bad.parent) in loss.cause
    with pytest.raises(Failure, match=str(bad.parent)):
        read(open_trace([bad.parent]))


def test_each_process_of_a_family_is_read(run_preloaded, tmp_path: Path) -> None:
    program = "import os; [os.fork() for _ in range(3)]; x = [bytearray(100) for _ in range(2000)]"
    run_preloaded(["/usr/bin/python3", "-c", program], {"POIREAU_SAMPLE_PERIOD": "4K", "POIREAU_TRACE": str(tmp_path)})
    trace = open_trace([tmp_path])
    events = read(trace)
    who = [event for event in events if event["event"] == "process"]
    assert len(who) == 8 == len(trace.tables().process_ids)
    assert sorted(event["pid"] for event in who) == sorted(trace.tables().process_ids)
    assert sorted(event["generation"] for event in who) == [0, 1, 1, 1, 2, 2, 2, 3]
    assert list(trace.tables().losses) == []


def test_a_root_of_many_is_read_with_few_descriptors(write: Write, tmp_path: Path) -> None:
    first = write("root/0", 1, 20)
    for each in range(1, 300):
        shutil.copytree(first, tmp_path / "root" / str(each))
    script = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))\n"
        "from poireau.reader import open_trace\n"
        "for follow in False, True:\n"
        "    trace = open_trace([sys.argv[1]], follow)\n"
        "    batches, events = trace.batches(), 0\n"
        "    while (batch := next(batches, None)) and (new := sum(len(each['order']) for each in batch.values())):\n"
        "        events += new\n"
        "    print(events, trace.tables().losses)\n"
    )
    command = ["/usr/bin/env", "--", os.sys.executable, "-c", script, tmp_path / "root"]
    environment = clean_environment(PYTHONPATH=os.getcwd())
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100)
    assert done.stdout.splitlines() == ["6000 []"] * 2, done.stderr
