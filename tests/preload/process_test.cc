#include "preload/process.h"

#include <gtest/gtest.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <set>
#include <vector>

#include "config/options.h"
#include "preload/base/fault.h"
#include "preload/sandbox.h"

namespace poireau {
namespace {

template <typename Body>
int in_child(pid_t child, Body&& body) {
  if (child == 0) _exit(body());
  int status = 0;
  waitpid(child, &status, 0);
  return WEXITSTATUS(status);
}

bool same(process::RunId a, process::RunId b) { return a.high == b.high && a.low == b.low; }

TEST(Process, ARawForkIsNoticedAndTakesAnIdentityOfItsOwn) {
  process::begin();
  const process::RunId mine = process::run_id();
  EXPECT_FALSE(process::is_new_child());
  const auto child_of = [&] {
    if (!process::is_new_child()) return 1;
    if (!process::forked() || process::forked()) return 5;
    if (process::is_new_child()) return 2;
    if (same(process::run_id(), mine)) return 3;
    return process::generation() == 1 ? 0 : 4;
  };
  EXPECT_EQ(in_child(static_cast<pid_t>(syscall(SYS_fork)), child_of), 0);
  EXPECT_EQ(in_child(fork(), child_of), 0);
  EXPECT_TRUE(same(process::run_id(), mine));
  EXPECT_FALSE(process::is_new_child());
}

TEST(Process, AVforkChildIsTheSameProcess) {
  process::begin();
  const pid_t child = vfork();
  if (child == 0) _exit(process::is_new_child());
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

TEST(Process, SeedsDifferAndAreRepeatedOnRequest) {
  process::begin();
  std::set<uint64_t> seeds;
  for (int i = 0; i < 1000; ++i) seeds.insert(process::next_seed());
  EXPECT_EQ(seeds.size(), 1000u);
  auto first = [] {
    options.seed.store(42);
    process::begin();
    return process::next_seed();
  };
  EXPECT_EQ(first(), first());
  options.seed.store(0);
}

TEST(Process, WithASeedEachOfAFamilyHasItsOwnDrawsAndTheSameEachTime) {
  options.seed.store(42);
  // A process, two children of it, and two children of each: what the n-th of them draws.
  const auto family = [] {
    std::vector<uint64_t> draws(7);
    int pipes[2];
    EXPECT_EQ(pipe(pipes), 0);
    const auto tell = [&](size_t place) {
      const uint64_t said[] = {place, process::next_seed()};
      return write(pipes[1], said, sizeof said) == sizeof said;
    };
    const auto two_children = [](auto&& each) {
      const auto child = [&](size_t which) {
        process::about_to_fork();
        return in_child(fork(), [&] { return process::forked() && each(which) ? 0 : 1; }) == 0;
      };
      return child(0) && child(1);
    };
    const auto all = [&] {
      process::begin();
      return tell(0) && two_children([&](size_t child) {
               return tell(1 + child) && two_children([&](size_t of_it) { return tell(3 + 2 * child + of_it); });
             });
    };
    EXPECT_EQ(in_child(fork(), [&] { return all() ? 0 : 1; }), 0);
    close(pipes[1]);
    for (uint64_t said[2]; read(pipes[0], said, sizeof said) == sizeof said;) draws[said[0]] = said[1];
    close(pipes[0]);
    return draws;
  };
  const std::vector<uint64_t> draws = family();
  EXPECT_EQ(std::set<uint64_t>(draws.begin(), draws.end()).size(), 7u);
  EXPECT_EQ(family(), draws);
  options.seed.store(0);
}

TEST(Process, HasAnIdentityWhateverFailsAndWithoutAnySystemCall) {
  std::set<uint64_t> ids;
  auto begin = [&](sandbox::State state) {
    sandbox::enter(state);
    process::begin();
    EXPECT_TRUE(ids.insert(process::run_id().low).second);
    static_cast<void>(process::is_new_child());
  };
  EXPECT_EQ(fault::for_each_fault([&] { begin(sandbox::State::open); }), 3);
  EXPECT_EQ(fault::for_each_fault([&] { begin(sandbox::State::filtered); }), 0);
  sandbox::leave(sandbox::State::open);
}

TEST(Process, KnowsItsProgram) {
  process::begin();
  EXPECT_EQ(process::program(), "process_test");
  EXPECT_EQ(process::called_as(), "process_test");
}

}  // namespace
}  // namespace poireau
