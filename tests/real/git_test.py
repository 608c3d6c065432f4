"""git: the same commands make the same objects and the same output."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from tests.conftest import SOAK, Exercised

from .conftest import Setting, in_every_home, in_every_setting, run, samples_said

ENVIRONMENT = {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_PAGER": "cat", "TZ": "UTC"}
ENVIRONMENT |= {
    f"GIT_{who}_{what}": value
    for who in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "A U Thor"), ("EMAIL", "author@example.com"), ("DATE", "1700000000 +0000"))
}

SCRIPT = r"""
set -u
git init -q -b main project && cd project
for round in $(seq 1 __ROUNDS__); do
  for file in $(seq 1 25); do
    mkdir -p "d$((file % 5))"
    awk -v r="$round" -v f="$file" 'BEGIN {
      for (i = 0; i < 120; ++i) print "line", i, (i * f * 7919 + (i % 13 == r % 13) * r) % 10007
    }' > "d$((file % 5))/f$file"
  done
  git add -A && git commit -q -m "round $round" -m "$(seq 1 "$round" | tr '\n' ' ')"
done
git checkout -q -b side HEAD~2 && sed -i 's/^line 5 .*/line five/' d1/* && git commit -q -am side
git checkout -q main && git merge -m merged side || { git checkout --theirs . && git commit -q -am merged; }
git log --graph --stat --format='%H %T %s' | tail -n 400
git log -p -M --format=%H -3 | cksum
git blame d1/f6 | cksum
git diff --word-diff HEAD~3 | cksum
git grep -n -e 'five' | head -20
git -c pack.threads=2 gc -q --aggressive --prune=now
git fsck --full --strict
git cat-file --batch-all-objects --batch-check
git archive --format=tar HEAD | cksum
cd .. && git clone -q --no-local project clone && cd clone
git rev-parse HEAD HEAD^{tree} origin/side && git status --short --branch
git rebase -q --onto HEAD~4 HEAD~2 && git rev-parse HEAD; git status | head -5
git stash list; git format-patch -q -2 --stdout HEAD | grep -v '^[0-9.]*$' | cksum
git fsck --full; git no-such-command
"""


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., tuple[str, ...]]:
    directory = tmp_path_factory.mktemp("git")
    script = SCRIPT.replace("__ROUNDS__", str(4 + (40 if SOAK else 2)))

    @cache
    def of(setting: Setting) -> tuple[str, ...]:
        place = directory / str(setting)
        place.mkdir()
        done = run(["bash", "-c", script], setting, {**ENVIRONMENT, "HOME": str(place)}, cwd=place)
        return str(done.returncode), done.stdout, done.stderr

    return of


@pytest.mark.slow
@in_every_setting([Setting("tcmalloc", "512K"), Setting("jemalloc", "1000")])
def test_git_makes_the_same_history(
    setting: Setting, history: Callable[..., tuple[str, ...]], exercised: Exercised
) -> None:
    bare = history(setting.bare)
    assert " commit " in bare[1] and " blob " in bare[1], bare
    assert history(setting) == bare
    exercised.add("real programs", "git")


@pytest.mark.slow
def test_git_is_sampled_meanwhile(tmp_path: Path) -> None:
    script = SCRIPT.replace("__ROUNDS__", "3")
    done = run(["bash", "-c", script], Setting(period="1000"), {**ENVIRONMENT, "POIREAU_LOG": "debug"}, cwd=tmp_path)
    assert samples_said(done.stderr)["git"] > 10_000, done.stderr


@pytest.mark.slow
@in_every_home("glibc-1000-userfaultfd-all", "glibc-1000-markers-all-filter from outside")
def test_git_makes_it_so_from_every_home(
    setting: Setting, history: Callable[..., tuple[str, ...]], confine: Callable[..., Setting], exercised: Exercised
) -> None:
    setting = confine(setting, "git", history)
    assert history(setting) == history(setting.bare)
    exercised.count("programs at home", "git")
