"""C++ programs see the operators they would see without us, and what they promise."""

from __future__ import annotations

import pytest

from .conftest import under

PERIODS = ["1", "1000"]


@pytest.mark.parametrize("period", PERIODS)
def test_new_keeps_its_promises_in_a_cxx_program(program, same_as_bare, allocator, period):
    binary = program("cxx_behaviour.cc", "-DPROGRAM")
    done = same_as_bare([binary], {"POIREAU_SAMPLE_PERIOD": period}, preload=under(allocator))
    assert "bad_alloc" in done.stdout or allocator == "mimalloc"


@pytest.mark.parametrize("period", PERIODS)
@pytest.mark.parametrize("runtime", ["libstdc++.so", "static libstdc++", "static hidden libstdc++"])
def test_new_keeps_its_promises_in_a_plugin_of_a_c_program(program, same_as_bare, runtime, period):
    static = [] if runtime == "libstdc++.so" else ["-static-libstdc++", "-static-libgcc"]
    hidden = ["-Wl,--exclude-libs,ALL"] if "hidden" in runtime else []
    plugin = program("cxx_behaviour.cc", "-shared", *static, *hidden)
    done = same_as_bare([program("plugin_host.c"), plugin, plugin], {"POIREAU_SAMPLE_PERIOD": period})
    assert "new: bad_alloc, 3 handler calls" in done.stdout
    assert "counted" not in done.stdout


SETS = ["NEW DELETE", "NEW", "ARRAY", "NOTHROW", "ALIGNED", "DELETE", "NEW ARRAY NOTHROW ALIGNED DELETE"]


@pytest.mark.parametrize("period", ["1", pytest.param("512KiB", marks=pytest.mark.soak)])
@pytest.mark.parametrize("replaced", SETS)
@pytest.mark.parametrize("by", ["program", "library"])
def test_replaced_operators_serve_exactly_what_they_do_bare(program, same_as_bare, replaced, by, period):
    chosen = [f"-D{name}" for name in replaced.split()]
    if replaced in ("NEW", "ARRAY", "NOTHROW"):
        chosen.append("-DDELETE")  # the pool's blocks must come back to it
    if by == "program":
        binary = program("replaced_operators.cc", "-DPROGRAM", *chosen)
    else:
        pool = program("replaced_operators.cc", "-shared", "-Wl,-z,undefs", *chosen)
        binary = program("replaced_operators.cc", "-DPROGRAM", "-rdynamic", "-Wl,--no-as-needed", pool)
    done = same_as_bare([binary], {"POIREAU_SAMPLE_PERIOD": period})
    assert "1 news" in done.stdout or replaced == "DELETE"


@pytest.mark.parametrize("kind", ["program", "plugin"])
def test_a_request_that_the_new_handler_rescues_is_counted_once(program, same_as_bare, kind):
    plugin = ["-shared"] if kind == "plugin" else ["-DPROGRAM"]
    built = program("rescued_new.cc", *plugin)
    argv = [program("plugin_host.c"), built] if kind == "plugin" else [built]
    assert "memory, 1 handler calls" in same_as_bare(argv, {"POIREAU_SAMPLE_PERIOD": "1"}).stdout
