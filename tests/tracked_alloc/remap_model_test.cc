#include <gtest/gtest.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <iterator>
#include <map>
#include <mutex>
#include <shared_mutex>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "preload/base/random.h"
#include "tracked_alloc/marks.h"
#include "tracked_alloc/remap.h"

namespace poireau::tracked_alloc {
namespace {

using remap::Block;
using remap::Engine;

constexpr uintptr_t kPageMask = region::kPage - 1;
constexpr uint64_t kNotes = (uint64_t{1} << remap::kNoteBits) - 1;

bool soak() {
  const char* const value = std::getenv("POIREAU_SOAK");
  return value != nullptr && std::string(value) != "0";
}

uint64_t seed_of_run() {
  const char* const value = std::getenv("POIREAU_SEED");
  return value == nullptr ? 1 : std::strtoull(value, nullptr, 0);
}

uintptr_t address_of(const void* ptr) { return reinterpret_cast<uintptr_t>(ptr); }
uintptr_t first_page(uintptr_t address) { return address & ~kPageMask; }
uintptr_t end_of_pages(uintptr_t address, size_t size) {
  return (address + std::max<size_t>(size, 1) + kPageMask) & ~kPageMask;
}

/// Whether the kernel may read the byte for us: where it may, so may everybody.
bool readable(uintptr_t address) {
  char byte = 0;
  const iovec to{&byte, 1}, from{reinterpret_cast<void*>(address), 1};
  return process_vm_readv(getpid(), &to, 1, &from, 1, 0) == 1;
}

/// What is true of the blocks, whoever made and freed them; the threads' common knowledge.
class Model {
 public:
  struct Alive {
    size_t size;
    uint64_t born;
  };
  struct Dead {
    size_t size;
    uint64_t born, died;
    bool recyclable = false;  // a sweep has found nothing that points at it
    bool shown = false;       // to the last one
  };

  void born(uintptr_t address, size_t size, uint64_t note) {
    const std::lock_guard held(lock_);
    const uintptr_t begin = first_page(address), end = end_of_pages(address, size);
    const auto after = live_.lower_bound(begin);
    if (after != live_.end()) {
      ASSERT_LE(end, first_page(after->first)) << "two live blocks have a page in common";
    }
    if (after != live_.begin()) {
      const auto before = std::prev(after);
      ASSERT_LE(end_of_pages(before->first, before->second.size), begin) << "two live blocks have a page in common";
    }
    for (auto dead = dead_.lower_bound(begin > region::kPage * 17 ? begin - region::kPage * 17 : 0);
         dead != dead_.end() && dead->first < end;) {
      if (end_of_pages(dead->first, dead->second.size) <= begin) {
        ++dead;
        continue;
      }
      ASSERT_TRUE(dead->second.recyclable) << "addresses are used again, though nothing has shown them to be free";
      dead = dead_.erase(dead);
      ++used_again;
    }
    live_.emplace(address, Alive{size, note});
  }

  void died(uintptr_t address, uint64_t note) {
    const std::lock_guard held(lock_);
    const auto found = live_.find(address);
    ASSERT_NE(found, live_.end());
    dead_.emplace(address, Dead{found->second.size, found->second.born, note});
    live_.erase(found);
    if (recent_.size() < 1024)
      recent_.push_back(address);
    else
      recent_[deaths_ % recent_.size()] = address;
    ++deaths_;
  }

  void resized(uintptr_t address, size_t size, uint64_t note) {
    const std::lock_guard held(lock_);
    live_.at(address) = {size, note};
  }

  /// A block that died and whose addresses can't have been given out again; false: none is at hand.
  bool some_dead(uint64_t random, uintptr_t& address, Dead& out) {
    const std::lock_guard held(lock_);
    if (recent_.empty()) return false;
    const auto found = dead_.find(recent_[random % recent_.size()]);
    if (found == dead_.end() || found->second.recyclable) return false;
    address = found->first, out = found->second;
    return true;
  }

  std::map<uintptr_t, Alive> live_;
  std::map<uintptr_t, Dead> dead_;
  uint64_t used_again = 0;

 private:
  std::mutex lock_;
  std::vector<uintptr_t> recent_;
  uint64_t deaths_ = 0;
};

/// A live block, as the thread that owns it knows it.
struct Own {
  char* at;
  size_t size;
  uint64_t pattern;
  bool points;  // its first word is an address of a dead block
};

/// Never a word that looks like an address of ours.
char content(uint64_t pattern, size_t place) { return static_cast<char>(scramble(pattern + place / 8) >> 9 | 0x80); }

void fill(const Own& own) {
  for (size_t i = 0; i < own.size; ++i) own.at[i] = content(own.pattern, i);
}
bool filled(const Own& own) {
  for (size_t i = own.points ? 8 : 0; i < own.size; ++i)
    if (own.at[i] != content(own.pattern, i)) return false;
  return true;
}

constexpr size_t kThreads = 2;

/// Two threads, their blocks, and what holds them both at times.
class World {
 public:
  World(Engine engine, uint64_t seed) : engine_(engine), seed_(seed) {}

  void run(uint64_t operations, int forks, int sweeps) {
    std::vector<std::thread> threads;
    for (size_t n = 0; n < kThreads; ++n) threads.emplace_back([=, this] { work(n, operations / kThreads); });
    // The third one only forks and sweeps, spread over the others' work.
    const int events = forks + sweeps;
    for (int event = 1; event <= events && !testing::Test::HasFailure(); ++event) {
      const uint64_t until = operations * static_cast<uint64_t>(event) / static_cast<uint64_t>(events + 1);
      while (done_ < until && !testing::Test::HasFailure()) std::this_thread::yield();
      const std::unique_lock stop(gate_);
      if (event * forks / events != (event - 1) * forks / events)
        fork_once();
      else
        sweep();
    }
    for (std::thread& thread : threads) thread.join();
    if (testing::Test::HasFatalFailure()) return;
    EXPECT_LT(refused_, operations / 10) << "hardly ever is a block refused";
    release_all();
    EXPECT_EQ(remap::standing().live, 0u);
  }

  Model model;
  std::atomic<uint64_t> refused_ = 0, checked_closed_ = 0, closed_at_once_ = 0;
  uint64_t kept_ = 0, freed_ = 0;
  int children_ = 0;

 private:
  int generation_ = 0;

  void work(size_t n, uint64_t operations) {
    Random random{scramble(seed_ * 64 + n + 1)};
    for (uint64_t i = 0; i < operations && !testing::Test::HasFailure(); ++i) {
      const std::shared_lock go(gate_);
      step(n, random);
      done_.fetch_add(1, std::memory_order_relaxed);
    }
    if (testing::Test::HasFailure()) done_ = UINT64_MAX / 2;
  }

  void step(size_t n, Random& random) {
    std::vector<Own>& mine = blocks_[n];
    const size_t most = 500 + (done_ / 8192 * 997) % 3000;  // comes and goes
    const uint64_t what = random.next() % 64;
    if (what < 2) return look_at_a_dead_one(random);
    if (what < 4) return misuse(mine, random);
    if (what < 6 && !mine.empty()) return resize(mine[random.next() % mine.size()], random);
    if (what < 8 && !mine.empty()) return ask_about(mine[random.next() % mine.size()], random);
    if (mine.size() < most / 4 || (mine.size() < most && (random.next() & 1) != 0)) return make(n, mine, random);
    const size_t which = random.next() % mine.size();
    const Own own = mine[which];
    mine[which] = mine.back();
    mine.pop_back();
    release(own, random);
  }

  static size_t some_size(Random& random) {
    constexpr size_t kFrequent[] = {16, 24, 64, 100};
    const uint64_t kind = random.next() % 256;
    if (kind < 160) return kFrequent[kind % std::size(kFrequent)];
    if (kind < 254) return random.next() >> (55 + random.next() % 9);
    return random.next() % remap::kMost + 1;
  }

  void make(size_t n, std::vector<Own>& mine, Random& random) {
    const size_t size = some_size(random);
    const size_t alignment = random.next() % 16 != 0 ? 16 : size_t{16} << random.next() % 9;
    const uint64_t note = random.next() & kNotes;
    const bool zeroed = random.next() % 8 == 0;
    void* const got = remap::allocate({size, alignment, note, zeroed}, static_cast<unsigned>(n));
    if (got == nullptr) {
      ++refused_;
      return;
    }
    ASSERT_TRUE(remap::owns(address_of(got)));
    ASSERT_EQ(address_of(got) % alignment, 0u);
    model.born(address_of(got), size, note);
    if (testing::Test::HasFatalFailure()) return;
    Own own{static_cast<char*>(got), size, random.next(), false};
    if (zeroed) {
      ASSERT_EQ(std::count(own.at, own.at + size, 0), static_cast<ptrdiff_t>(size));
    }
    fill(own);
    mine.push_back(own);
  }

  void release(const Own& own, Random& random) {
    ASSERT_TRUE(filled(own)) << "somebody else wrote into a live block of " << own.size;
    const uintptr_t address = address_of(own.at);
    const size_t room = remap::room_of(own.at);
    ASSERT_GE(room, own.size);
    const bool smash = random.next() % 64 == 0;
    if (smash) own.at[own.size] = 0;
    const uint64_t note = random.next() & kNotes;
    const remap::Death death = remap::release(own.at, note, {random.next() % 4 == 0, random.next() % 8 == 0});
    ASSERT_EQ(death.found, remap::Death::Found::done);
    ASSERT_EQ(death.block.address, address);
    ASSERT_EQ(death.block.size, own.size);
    ASSERT_EQ(death.damage.first, smash ? address + own.size : 0);
    model.died(address, note);  // others may ask for it from here on
    if (!death.closed) return;
    ++closed_at_once_;
    expect_closed(address, own.size, random);
  }

  /// Under the shared gate no sweep goes on: what is closed stays so.
  void expect_closed(uintptr_t address, size_t size, Random& random) {
    ASSERT_FALSE(readable(address)) << "a closed page can be read";
    ASSERT_FALSE(readable(address + (size == 0 ? 0 : random.next() % size)));
    ++checked_closed_;
  }

  /// So long ago that nothing is known but that there was one.
  static bool is_forgotten(const Block& block) { return block.born == 0; }

  static void expect_size_of_dead(const Block& block, const Model::Dead& dead) {
    ASSERT_TRUE(is_forgotten(block) ? block.size >= dead.size && !block.open : block.size == dead.size)
        << block.size << " of " << dead.size;
  }

  void look_at_a_dead_one(Random& random) {
    uintptr_t address = 0;
    Model::Dead dead{};
    if (!model.some_dead(random.next(), address, dead)) return;
    const size_t inside = dead.size == 0 ? 0 : random.next() % dead.size;
    const remap::Answer answer = remap::find(address + inside);
    ASSERT_EQ(answer.found, remap::Answer::Found::dead);
    ASSERT_EQ(answer.offset, static_cast<ptrdiff_t>(inside));
    ASSERT_EQ(answer.block.address, address);
    expect_size_of_dead(answer.block, dead);
    if (!is_forgotten(answer.block)) {
      ASSERT_EQ(answer.block.born, dead.born);
    }
    ASSERT_FALSE(answer.block.live);
    if (!answer.block.open) expect_closed(address, dead.size, random);
  }

  void misuse(const std::vector<Own>& mine, Random& random) {
    uintptr_t address = 0;
    Model::Dead dead{};
    if (random.next() % 2 == 0 && model.some_dead(random.next(), address, dead)) {
      const remap::Death twice = remap::release(reinterpret_cast<void*>(address), 1, {});
      ASSERT_EQ(twice.found, remap::Death::Found::freed);
      ASSERT_EQ(twice.block.address, address);
      expect_size_of_dead(twice.block, dead);
    } else if (!mine.empty()) {
      const Own& own = mine[random.next() % mine.size()];
      if (own.size < 2) return;
      const size_t inside = 1 + random.next() % (own.size - 1);
      const remap::Death death = remap::release(own.at + inside, 1, {});
      ASSERT_EQ(death.found, remap::Death::Found::inside);
      ASSERT_EQ(death.block.address, address_of(own.at));
      ASSERT_TRUE(filled(own));
    }
  }

  void resize(Own& own, Random& random) {
    const size_t size = some_size(random);
    const uint64_t note = random.next() & kNotes;
    if (own.points || !remap::resize(own.at, size, note)) return;
    model.resized(address_of(own.at), size, note);
    const Own kept{own.at, std::min(own.size, size), own.pattern, false};
    ASSERT_TRUE(filled(kept));
    own.size = size;
    fill(own);
  }

  static void ask_about(const Own& own, Random& random) {
    const size_t inside = own.size == 0 ? 0 : random.next() % own.size;
    const remap::Answer answer = remap::find(address_of(own.at) + inside);
    ASSERT_EQ(answer.found, remap::Answer::Found::live);
    ASSERT_EQ(answer.offset, static_cast<ptrdiff_t>(inside));
    ASSERT_EQ(answer.block.address, address_of(own.at));
    ASSERT_EQ(answer.block.size, own.size);
    ASSERT_TRUE(answer.block.live && answer.block.open);
    ASSERT_EQ(remap::inspect(address_of(own.at)).first, 0u);
  }

  /// Nobody else runs. A third of the dead is shown: as words, as an array, from within live blocks.
  void sweep() {
    if (!marks::begin()) return;
    Random random{scramble(seed_ + done_)};
    std::vector<uint64_t> words;
    std::vector<Own*> holders;
    for (std::vector<Own>& mine : blocks_)
      for (Own& own : mine)
        if (own.size >= 8 && address_of(own.at) % 8 == 0) holders.push_back(&own);
    for (auto& [address, dead] : model.dead_) {
      dead.shown = random.next() % 3 == 0;
      if (!dead.shown) continue;
      const uint64_t word = address + (dead.size == 0 ? 0 : random.next() % dead.size);
      switch (random.next() % 3) {
        case 0:
          marks::see(word);
          break;
        case 1:
          words.push_back(word);
          break;
        default:
          if (holders.empty()) {
            words.push_back(word);
            break;
          }
          memcpy(holders.back()->at, &word, sizeof word);
          holders.back()->points = true;
          holders.pop_back();
      }
    }
    marks::see_all(std::as_bytes(std::span(words)));
    static_cast<void>(marks::see_live_blocks());
    const bool bounded = random.next() % 4 == 0;
    const uint64_t most = bounded ? random.next() % 100'000 : UINT64_MAX;
    for (const auto& [address, dead] : model.dead_)
      ASSERT_TRUE(!dead.shown || marks::marked(address, std::max<size_t>(dead.size, 1)));
    const marks::Outcome outcome = marks::end({most, true});
    EXPECT_TRUE(!bounded || outcome.freed_bytes <= most + remap::kMost) << outcome.freed_bytes;
    freed_ += outcome.freed, kept_ += outcome.kept;
    for (auto& [address, dead] : model.dead_) {
      if (!dead.shown) dead.recyclable = true;
      if (dead.recyclable || engine_ == Engine::none) continue;
      const remap::Answer answer = remap::find(address);
      ASSERT_EQ(answer.found, remap::Answer::Found::dead);
      ASSERT_FALSE(answer.block.open) << "what is pointed at is to be closed";
      if (random.next() % 16 == 0) expect_closed(address, dead.size, random);
    }
  }

  /// Nobody else runs, in either process, until the child has its copy.
  void fork_once() {
    static int ready[2];
    ASSERT_EQ(pipe(ready), 0);
    fflush(stdout);
    ASSERT_TRUE(remap::before_fork());
    const pid_t child = fork();
    if (child == 0) {
      const bool ours = remap::after_fork_in_child(true, []() noexcept { EXPECT_EQ(write(ready[1], "", 1), 1); });
      EXPECT_TRUE(ours);
      close(ready[1]);
      if (ours) be_a_child();
      fflush(stdout);
      _exit(testing::Test::HasFailure() ? 1 : 0);
    }
    close(ready[1]);
    char byte = 0;
    EXPECT_EQ(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    remap::after_fork_in_parent();
    ++children_;
    // The parent writes at once what the child must not see.
    Random random{done_};
    for (const std::vector<Own>& mine : blocks_) ASSERT_TRUE(std::all_of(mine.begin(), mine.end(), filled));
    for (std::vector<Own>& mine : blocks_)
      for (Own& own : mine)
        if (!own.points && random.next() % 4 == 0) own.pattern = random.next(), fill(own);
    int status = -1;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    ASSERT_EQ(status, 0) << "the child of the fork after " << done_ << " operations";
  }

  void be_a_child() {
    for (const std::vector<Own>& mine : blocks_) ASSERT_TRUE(std::all_of(mine.begin(), mine.end(), filled));
    Random random{scramble(seed_ ^ done_)};
    for (int i = 0; i < 100; ++i) look_at_a_dead_one(random);
    for (int i = 0; i < 2000 && !testing::Test::HasFailure(); ++i) step(i % kThreads, random);
    if (testing::Test::HasFailure()) return;
    sweep();
    if (!testing::Test::HasFailure() && ++generation_ < 3) fork_once();
    for (int i = 0; i < 2000 && !testing::Test::HasFailure(); ++i) step(i % kThreads, random);
    for (const std::vector<Own>& mine : blocks_) ASSERT_TRUE(std::all_of(mine.begin(), mine.end(), filled));
  }

  void release_all() {
    Random random{seed_};
    for (std::vector<Own>& mine : blocks_) {
      for (const Own& own : mine) release(own, random);
      mine.clear();
    }
  }

  const Engine engine_;
  const uint64_t seed_;
  std::shared_mutex gate_;
  std::atomic<uint64_t> done_ = 0;
  std::array<std::vector<Own>, kThreads> blocks_;
};

/// Each test in a process of its own: homes are begun but once.
class RemapModel : public testing::TestWithParam<Engine> {
 protected:
  void alone(const remap::Settings& settings, const std::function<void()>& body) {
    fflush(stdout);
    const pid_t child = fork();
    if (child == 0) {
      noise::begin(settings.seed);
      if (!remap::begin(settings) || (settings.engine != Engine::none && remap::engine() != settings.engine)) _exit(77);
      body();
      fflush(stdout);
      _exit(testing::Test::HasFailure() ? 1 : 0);
    }
    int status = -1;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77) GTEST_SKIP() << "this engine doesn't work here";
    ASSERT_EQ(status, 0);
  }
};

TEST_P(RemapModel, BlocksNeverOverlapClosedPagesCantBeReadAndWhatIsPointedAtIsNotUsedAgain) {
  const uint64_t seed = seed_of_run();
  printf("seed: POIREAU_SEED=%llu\n", static_cast<unsigned long long>(seed));
  alone({.engine = GetParam(), .seed = seed}, [&] {
    World world(GetParam(), seed);
    const uint64_t operations = soak() ? 10'000'000 : GetParam() == Engine::markers ? 600'000 : 200'000;
    world.run(operations, soak() ? 100 : 4, soak() ? 400 : 30);
    if (testing::Test::HasFailure()) return;
    EXPECT_GT(world.model.used_again, 0u) << "nothing is ever used again";
    EXPECT_GT(world.checked_closed_, 100u);
    EXPECT_GT(world.kept_, 0u);
    EXPECT_GT(world.children_, 0);
    printf(
        "%llu operations, %d forks; %llu refused, %llu closed at once, %llu looked at, %llu freed by sweeps, %llu "
        "kept, %llu used again\n",
        static_cast<unsigned long long>(operations), world.children_, static_cast<unsigned long long>(world.refused_),
        static_cast<unsigned long long>(world.closed_at_once_), static_cast<unsigned long long>(world.checked_closed_),
        static_cast<unsigned long long>(world.freed_), static_cast<unsigned long long>(world.kept_),
        static_cast<unsigned long long>(world.model.used_again));
  });
}

TEST_P(RemapModel, OfThreadsThatFreeTheSameBlockOneSucceeds) {
  alone({.engine = GetParam(), .seed = seed_of_run()}, [] {
    constexpr size_t kBlocks = 20'000;
    std::vector<void*> blocks(kBlocks);
    for (void*& block : blocks) ASSERT_NE(block = remap::allocate({48, 16, 7, false}, 0), nullptr);
    std::atomic<size_t> done = 0, freed = 0, begun = 0;
    const auto free_all = [&] {
      for (++begun; begun < kThreads;) continue;
      for (size_t i = 0; i < kBlocks; ++i) {
        const remap::Death death = remap::release(blocks[i], i, {i % 2 == 0});
        ++(death.found == remap::Death::Found::done ? done : freed);
        ASSERT_TRUE(death.found == remap::Death::Found::done || death.found == remap::Death::Found::freed);
      }
    };
    std::thread other(free_all);
    free_all();
    other.join();
    EXPECT_EQ(done, kBlocks);
    EXPECT_EQ(freed, kBlocks);
  });
}

/// All addresses there are, in a window that holds but 16 thousand blocks.
TEST_P(RemapModel, AddressesThatRunOutAreRefusedUntilASweepFindsSomeFree) {
  alone({.engine = GetParam(), .seed = seed_of_run(), .addresses = 64 << 20}, [] {
    std::vector<uintptr_t> pointed_at, turn;
    for (int round = 0; round < 20; ++round) {
      turn.clear();
      void* got = nullptr;
      for (int refused = 0; turn.size() < 100'000 && refused < 100;) {
        got = remap::allocate({64, 16, 1, false}, 0);
        if (got == nullptr) {
          ++refused;
          continue;
        }
        const uintptr_t address = address_of(got);
        ASSERT_FALSE(std::binary_search(pointed_at.begin(), pointed_at.end(), first_page(address)));
        turn.push_back(address);
        ASSERT_EQ(remap::release(got, 2, {}).found, remap::Death::Found::done);
      }
      ASSERT_LT(turn.size(), 20'000u) << "more blocks than addresses";
      ASSERT_GT(turn.size(), 1000u) << "round " << round;
      std::sort(turn.begin(), turn.end());
      ASSERT_EQ(std::adjacent_find(turn.begin(), turn.end()), turn.end()) << "used again without a sweep";
      const uint64_t refused = remap::standing().refused[static_cast<size_t>(remap::Refusal::addresses)];
      ASSERT_GT(refused, 0u);
      // One of them is pointed at from now on, and all that were before.
      pointed_at.push_back(first_page(turn[turn.size() / 2]));
      std::sort(pointed_at.begin(), pointed_at.end());
      ASSERT_TRUE(marks::begin());
      for (const uintptr_t page : pointed_at) marks::see(page + 100);
      static_cast<void>(marks::end({}));
    }
  });
}

INSTANTIATE_TEST_SUITE_P(Engines, RemapModel, testing::Values(Engine::userfaultfd, Engine::markers, Engine::none),
                         [](const auto& info) {
                           return std::string(info.param == Engine::userfaultfd ? "userfaultfd"
                                              : info.param == Engine::markers   ? "markers"
                                                                                : "none");
                         });

}  // namespace
}  // namespace poireau::tracked_alloc
