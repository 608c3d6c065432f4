"""Command-line programs and the pipelines of shells: they print and end as they would without us."""

from __future__ import annotations

import shutil
from functools import cache
from pathlib import Path

import pytest

from tests.conftest import Exercised

from .conftest import OUR_LINE, Setting, in_every_setting, run, samples_said

SQLITE = r"""
sqlite3 :memory: <<'SQL'
create table t(id integer primary key, name text, blob_ blob);
with recursive n(i) as (select 1 union all select i + 1 from n where i < 20000)
  insert into t select i, printf('name-%d', i * 7919 % 20011), zeroblob(i % 300) from n;
create index by_name on t(name);
select count(*), sum(length(blob_)), min(name), max(name) from t;
select name, group_concat(id) from t group by substr(name, 1, 7) order by 1 limit 50;
delete from t where id % 3 = 0;
vacuum;
select count(*) from t a join t b on a.name < b.name and b.id = a.id + 1;
pragma integrity_check;
select nothing from nowhere;
SQL
echo "status $?"
"""

PERL = r"""
perl -e '
  my (%h, @a);
  for my $i (1 .. 40000) { my $k = ($i * 7919) % 10007; $h{$k} .= chr(65 + $i % 26); push @a, "x$k" x ($i % 5); }
  my $n = 0; for (sort { $a <=> $b } keys %h) { $n += length $h{$_}; print "$_ $h{$_}\n" if $_ % 500 == 0 }
  my $t = join ",", @a; $t =~ s/x(\d)(\d+)/$2-$1/g; print length $t, " $n ", unpack("%32C*", $t), "\n";
  my $pid = fork; if (!$pid) { print "child\n"; exit 3 } waitpid $pid, 0; print $? >> 8, "\n"; die "as it should\n"'
echo "status $?"
"""

PIPELINES = r"""
set -o pipefail
seq 1 60000 | awk '{ print ($1 * 7919) % 60013, "line", $1 }' > lines
sort --parallel=2 -S 1M -n lines | tee sorted | cksum
sort -R --random-source=lines lines | sort -k1,1n -s | cmp - sorted && echo same
mkdir -p tree/a/b && split -l 5000 lines tree/a/b/part. && cp sorted tree/a
tar --sort=name --owner=0 --group=0 --mtime=@0 --mode=a+rX,go-w -cf - tree > tree.tar
cksum tree.tar
xz -T2 -1 -c tree.tar > tree.tar.xz && gzip -9n -c tree.tar > tree.tar.gz && cksum tree.tar.xz tree.tar.gz
xz -dc tree.tar.xz | cmp - tree.tar && gzip -dc tree.tar.gz | cmp - tree.tar && echo whole
tar -xJf tree.tar.xz --one-top-level=again && diff -r tree again/tree && echo equal
grep -c '7 line' lines; sed -n 's/^\([0-9]*\)3 line \(.*\)5$/\2 \1/p' lines | cksum; uniq -c -w 2 sorted | tail -3
find . -type f | LC_ALL=C sort | xargs -n 3 wc -c
(sleep 0; exit 7) | cat; echo "${PIPESTATUS[@]}"
yes | head -n 3; kill -TERM $$
"""

BASH = r"""
declare -A map; for ((i = 0; i < 1000; ++i)); do map[key$((i * 37 % 1009))]+=$i,; done
text=$(for key in "${!map[@]}"; do echo "$key ${map[$key]}"; done | sort | cksum); echo "$text"
fib() { (( $1 < 2 )) && { echo "$1"; return; }; echo $(( $(fib $(($1 - 1))) + $(fib $(($1 - 2))) )); }; fib 4
long=$(printf 'word%d ' {1..6000}); set -- $long; echo $# "${#long}" "${long//word/w}" | cksum
coproc CAT { cat; }; echo through >&"${CAT[1]}"; read -r line <&"${CAT[0]}"; echo "$line"
trap 'echo at exit' EXIT; (exec 3<&0 1>&2; ulimit -n 20; exit 5); echo $?; exec 0<&-; exit 9
"""

SCRIPTS = {"sqlite3": SQLITE, "perl": PERL, "pipelines": PIPELINES, "bash": BASH}
SCRIPTS["tclsh"] = r"""
tclsh <<'TCL'
for {set i 0} {$i < 20000} {incr i} { lappend d([expr {$i * 37 % 101}]) "v$i" }
foreach k [lsort -integer [array names d]] { append all [join $d($k) -] }
puts "[string length $all] [regsub -all {v(\d)} $all {\1v} out] [string length $out]"
exit 4
TCL
echo "status $?"
"""
SCRIPTS["node"] = r"""
node -e '
  const a = []; for (let i = 0; i < 50000; ++i) a.push({ i, s: "x".repeat(i % 50), b: Buffer.alloc(i % 700, i) });
  const z = require("zlib"), t = JSON.stringify(a.map(({ i, s }) => [i, s]));
  console.log(t.length, z.inflateSync(z.deflateSync(t)).toString() === t, a.reduce((n, { b }) => n + b.length, 0));
  const { Worker } = require("worker_threads");
  new Worker("require(\"worker_threads\").parentPort.postMessage([1, 2, 3])", { eval: true })
    .on("message", (m) => { console.log(m); process.exitCode = 6; });'
echo "status $?"
"""


@cache
def outcome(script: str, setting: Setting, directory: Path) -> tuple[int, str, str]:
    place = directory / f"{script}-{setting}"
    place.mkdir()
    done = run(["bash", "-c", SCRIPTS[script]], setting, cwd=place)
    return done.returncode, done.stdout, done.stderr


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tools")


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS)
@in_every_setting([Setting(period="1"), Setting(period="512K"), Setting("mimalloc", "1000")])
def test_scripts_do_what_they_do_without_us(
    script: str, setting: Setting, directory: Path, exercised: Exercised
) -> None:
    if script == "tclsh" and shutil.which(script) is None:
        pytest.skip(f"{script} is not installed")
    bare = outcome(script, setting.bare, directory)
    assert bare[1], bare
    assert outcome(script, setting, directory) == bare
    exercised.add("real programs", script)


@pytest.mark.parametrize("script", ["perl", "sqlite3"])
def test_the_programs_of_a_script_are_sampled_meanwhile(script: str, tmp_path: Path) -> None:
    """Or the other tests would prove nothing."""
    done = run(["bash", "-c", SCRIPTS[script]], Setting(period="1000"), {"POIREAU_LOG": "debug"}, cwd=tmp_path)
    samples = samples_said(done.stderr)
    assert samples[script] > 1000 and samples["bash"] > 0, done.stderr
    assert OUR_LINE.sub("", done.stderr) == run(["bash", "-c", SCRIPTS[script]], Setting(), cwd=tmp_path).stderr
