"""gcc and g++: the same objects, byte for byte, and programs that run."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import cache

import pytest

from tests.conftest import Exercised

from .conftest import Setting, in_every_home, in_every_setting, run, samples_said

BUILD = r"""
set -e
flags="-g -O2 -Wall -frandom-seed=1 -fdebug-prefix-map=$PWD=/build"
for source in *[0-9].c; do gcc $flags -c $source; done
for source in *[0-9].cc; do g++ $flags -std=c++17 -c $source; done
gcc $flags -flto -c plain1.c -o lto.o
gcc $flags main.c plain*.o -o c.out && ./c.out
g++ $flags templates*.o -o cc.out && ./cc.out
g++ $flags -flto=2 lto.o main.c -DFEW -o lto.out && ./lto.out
gcc -O2 -E plain1.c | cksum
ar rcsD all.a *.o && nm -C all.a | cksum && strip -g -o small c.out && objdump -d small | cksum
cksum *.o *.out
gcc -Wall -c broken.c
"""


def sources(units: int) -> dict[str, str]:
    made = {"broken.c": "int f(void) { return x + ; }\nstruct s { int a }; int g(int unused) { char* p = 3.0; }\n"}
    for n in range(1, units + 1):
        body = "".join(
            f"struct s{i} {{ int a[{i % 7 + 1}]; double d; struct s{max(i - 1, 0)}* next; }};\n"
            f"int f{n}_{i}(int x, struct s{i}* s) {{\n"
            f"  for (int j = 0; j < {i % 7 + 1}; ++j) x += s->a[j] * {i} ^ (x >> {i % 5 + 1});\n"
            f"  switch (x & 7) {{ case 1: return x * {n}; case 3: s->d /= x + {i}.5; break;\n"
            f"    default: x -= (int)s->d; }}\n"
            f"  return x;\n}}\n"
            for i in range(80)
        )
        calls = "".join(f"  {{ static struct s{i} s; x = f{n}_{i}(x, &s); }}\n" for i in range(80))
        made[f"plain{n}.c"] = (
            f"#include <stdio.h>\n#include <string.h>\n{body}int unit{n}(int x) {{\n{calls}  return x;\n}}\n"
        )
        made[f"templates{n}.cc"] = (
            "#include <algorithm>\n#include <functional>\n#include <iostream>\n#include <map>\n"
            "#include <string>\n#include <unordered_map>\n#include <vector>\n"
            "template <int N> struct fib { static constexpr long value = fib<N - 1>::value + fib<N - 2>::value; };\n"
            "template <> struct fib<0> { static constexpr long value = 0; };\n"
            "template <> struct fib<1> { static constexpr long value = 1; };\n"
            f"long unit{n}() {{\n  std::map<std::string, std::vector<std::function<int(int)>>> m;\n"
            f"  for (int i = 0; i < {n + 5}; ++i) m[std::to_string(i % 4)].push_back([i](int x) {{ return x * i; }});\n"
            f"  long sum = fib<{60 + n}>::value % 1000003;\n"
            "  for (auto& [k, v] : m) for (auto& f : v) sum += f((int)k.size());\n"
            "  return sum;\n}\n"
        )
    units_c = "\n".join(f"#if !defined(FEW) || {n} == 1\nUNIT({n})\n#endif" for n in range(1, units + 1))
    made["main.c"] = (
        '#include <stdio.h>\n#ifdef __cplusplus\n#define C extern "C"\n#else\n#define C\n#endif\n'
        f"#define UNIT(n) C int unit##n(int);\n{units_c}\n#undef UNIT\n#define UNIT(n) x = unit##n(x);\n"
        f'int main(void) {{ int x = 1;\n{units_c}\nprintf("%d\\n", x); return 0; }}\n'
    )
    declare = "".join(f"long unit{n}();\n" for n in range(1, units + 1))
    made["templates0.cc"] = (
        f"#include <cstdio>\n{declare}int main() {{ long x = 0;\n"
        + "".join(f"x = x * 31 + unit{n}();\n" for n in range(1, units + 1))
        + 'std::printf("%ld\\n", x); }\n'
    )
    return made


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, scale: Callable[[int], int]) -> Callable[..., tuple[object, ...]]:
    directory = tmp_path_factory.mktemp("compilers")
    units = scale(10)

    @cache
    def of(setting: Setting, log: str = "error") -> tuple[object, ...]:
        place = directory / "build"  # always the same: objects for link-time optimisation tell it
        place.mkdir()
        for name, text in sources(units).items():
            (place / name).write_text(text)
        done = run(["bash", "-c", BUILD], setting, {"POIREAU_LOG": log}, cwd=place)
        objects = {path.name: path.read_bytes() for path in sorted(place.glob("*.o"))}
        shutil.rmtree(place)
        return done.returncode, done.stdout, done.stderr, objects

    return of


@pytest.mark.slow
@in_every_setting([Setting(period="1000")])
def test_compilers_make_the_same_objects(
    setting: Setting, built: Callable[..., tuple[object, ...]], exercised: Exercised
) -> None:
    bare = built(setting.bare)
    assert bare[0] == 1 and "broken.c" in str(bare[2]) and bare[3], bare[:3]
    status, output, errors, objects = built(setting)
    assert (status, output, errors) == bare[:3]
    assert objects == bare[3], "objects differ"
    exercised.add("real programs", "gcc, g++")


@pytest.mark.soak
def test_compilers_are_sampled_meanwhile(built: Callable[..., tuple[object, ...]]) -> None:
    said = samples_said(str(built(Setting(period="1000"), "debug")[2]))
    least = {"cc1": 1000, "cc1plus": 1000, "lto1": 100, "as": 50}
    assert all(sum(n for name, n in said.items() if name.endswith(end)) > few for end, few in least.items()), said


@pytest.mark.slow
@in_every_home("glibc-1000-mprotect-all")
def test_compilers_make_them_so_from_every_home(
    setting: Setting, built: Callable[..., tuple[object, ...]], confine: Callable[..., Setting], exercised: Exercised
) -> None:
    setting = confine(setting, "gcc", built)
    bare, ours = built(setting.bare), built(setting)
    assert ours[:3] == bare[:3]
    assert ours[3] == bare[3], "objects differ"
    exercised.count("programs at home", "gcc, g++")
