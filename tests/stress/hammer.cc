// Threads that call every function of the malloc family and every operator new and delete, pass blocks to each other,
// look after each block's contents, and keep an exact tally to hold against Poireau's.
//   hammer THREADS MILLISECONDS PERIOD SEED [no-pvalloc] [loose-alignment] [forks] [signals]
#include <dlfcn.h>
#include <errno.h>
#include <malloc.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <new>

#include "preload/poireau.h"
#pragma weak poireau_get_stats

namespace {

enum class Family : uint8_t { malloc, aligned_alloc, plain_new, array_new, aligned_new, aligned_array_new };
constexpr int kMailboxes = 64, kMostThreads = 16, kShelf = 32;

struct Block {
  unsigned char* at = nullptr;
  size_t size = 0, alignment = 0;
  Family family{};
  unsigned char mark = 0;
};

struct Tally {
  uint64_t requests = 0, bytes = 0, weight = 0;
  double samples = 0, samples_variance = 0, sampled_bytes = 0, sampled_bytes_variance = 0;
};

struct Mailbox {
  std::atomic_flag busy;
  Block block;
} mailboxes[kMailboxes];

std::atomic<uint64_t> wrong{0}, children{0}, signals_taken{0};
std::atomic<bool> over{false};
double period = 1;
size_t most_alignment = 4096;
bool with_pvalloc = true, with_forks = false;
pthread_barrier_t all_started, may_start, all_done, may_end;
void (*cfree_)(void*);
void (*free_sized_)(void*, size_t);
void (*free_aligned_sized_)(void*, size_t, size_t);

void complain(const char* what, size_t size) {
  if (wrong++ < 20) dprintf(2, "hammer: wrong: %s, size %zu\n", what, size);
}

poireau_stats stats_now() {
  poireau_stats now{};
  if (poireau_get_stats != nullptr) poireau_get_stats(&now, sizeof now);
  return now;
}

class Hammer {
 public:
  explicit Hammer(uint64_t seed) : state_(seed * 2 + 1) {}

  void step() {
    Block& shelf = shelf_[next() % kShelf];
    switch (next() % 8) {
      case 0:
        trade(shelf);
        break;
      case 1:
        resize(shelf);
        break;
      case 2:
        fail();
        break;
      default:
        give_back(shelf);
        shelf = request();
        break;
    }
    if (with_forks && next() % 20011 == 0) fork_once();
  }

  void clear() {
    for (Block& block : shelf_) give_back(block);
  }

  Tally tally;

 private:
  uint64_t next() {
    state_ += 0x9e3779b97f4a7c15;
    uint64_t x = state_;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
    x = (x ^ x >> 27) * 0x94d049bb133111eb;
    return x ^ x >> 31;
  }

  /// Mostly small, at times large, each power of two alike within that.
  size_t size() {
    const uint64_t bits = next() % 64;
    const unsigned most = bits == 0 ? 20 : bits < 6 ? 15 : 10;
    return next() & ((size_t{1} << next() % (most + 1)) - 1);
  }

  void count(size_t size) {
    const double weight = double(size + (size == 0)), p = period <= 1 ? 1 : -expm1(-weight / period), q = 1 - p;
    ++tally.requests;
    tally.bytes += size;
    tally.weight += size + (size == 0);
    tally.samples += p;
    tally.samples_variance += p * q;
    tally.sampled_bytes += p * double(size);
    tally.sampled_bytes_variance += p * q * double(size) * double(size);
  }

  static size_t looked_after(size_t size) { return std::min<size_t>(size, 2048); }

  void mark(Block& block) {
    block.mark = static_cast<unsigned char>(next());
    memset(block.at, block.mark, looked_after(block.size));
    if (block.size > 2048) memset(block.at + block.size - 64, block.mark, 64);
  }

  static bool holds(const unsigned char* at, size_t size, unsigned char mark) {
    return size == 0 || (*at == mark && memcmp(at, at + 1, size - 1) == 0);
  }

  static void look(const Block& block) {
    if (!holds(block.at, looked_after(block.size), block.mark) ||
        (block.size > 2048 && !holds(block.at + block.size - 64, 64, block.mark)))
      complain("contents", block.size);
  }

  Block request() {
    Block block;
    block.size = size();
    block.alignment = 16;
    const size_t n = block.size, wide = size_t{1} << (3 + next() % 6);  // 8 .. 256
    const std::align_val_t align{std::max<size_t>(wide, 32)};
    void* at = nullptr;
    switch (next() % 17) {
      case 0:
      case 1:
        at = malloc(n);
        break;
      case 2:
        at = calloc(n / 3 + 1, 3);
        block.size = n / 3 * 3 + 3;
        if (at != nullptr && !holds(static_cast<unsigned char*>(at), block.size, 0)) complain("calloc", n);
        break;
      case 3:
        at = realloc(nullptr, n);
        break;
      case 4:
        at = reallocarray(nullptr, n, 1);
        break;
      case 5:
        at = memalign(wide, n);
        block.alignment = wide;
        break;
      case 6:
        block.size = (n + wide - 1) & -wide;
        at = aligned_alloc(wide, block.size);
        block.alignment = wide;
        block.family = Family::aligned_alloc;
        break;
      case 7:
        if (posix_memalign(&at, wide, n) != 0) at = nullptr;
        block.alignment = wide;
        break;
      case 8:
        if (next() % 8 != 0) {
          at = malloc(n);
          break;
        }
        if (with_pvalloc && n != 0 && next() % 2 == 0)
          at = pvalloc(n), block.size = (n + 4095) & -4096;
        else
          at = valloc(n);
        block.alignment = 4096;
        break;
      case 9:
        at = operator new(n);
        block.family = Family::plain_new;
        break;
      case 10:
        at = operator new[](n);
        block.family = Family::array_new;
        break;
      case 11:
        at = operator new(n, std::nothrow);
        block.family = Family::plain_new;
        break;
      case 12:
        at = operator new[](n, std::nothrow);
        block.family = Family::array_new;
        break;
      case 13:
        at = operator new(n, align);
        block.family = Family::aligned_new;
        break;
      case 14:
        at = operator new[](n, align);
        block.family = Family::aligned_array_new;
        break;
      case 15:
        at = operator new(n, align, std::nothrow);
        block.family = Family::aligned_new;
        break;
      case 16:
        at = operator new[](n, align, std::nothrow);
        block.family = Family::aligned_array_new;
        break;
    }
    if (block.family >= Family::aligned_new) block.alignment = size_t(align);
    if (at == nullptr) {
      complain("no memory", n);
      return {};
    }
    count(block.size);
    // A block smaller than its alignment has less of it over jemalloc and mimalloc, with us or without.
    const size_t owed = std::min({block.alignment, std::bit_floor(std::max<size_t>(block.size, 8)), most_alignment});
    if (reinterpret_cast<uintptr_t>(at) % owed != 0) complain("alignment", block.size);
    if (malloc_usable_size(at) < block.size) complain("usable size", block.size);
    block.at = static_cast<unsigned char*>(at);
    mark(block);
    return block;
  }

  void give_back(Block& block) {
    if (block.at == nullptr) return;
    look(block);
    errno = 0x5a5a;
    void* const at = block.at;
    const size_t n = block.size;
    const std::align_val_t align{block.alignment};
    const bool sized = n != 0 && next() % 2 == 0;  // jemalloc 5.3's own sized delete is wrong for 0 aligned bytes
    switch (block.family) {
      case Family::malloc:
        if (sized && free_sized_ != nullptr && block.alignment == 16)
          free_sized_(at, n);
        else if (cfree_ != nullptr && next() % 2 == 0)
          cfree_(at);
        else
          free(at);
        break;
      case Family::aligned_alloc:
        if (sized && free_aligned_sized_ != nullptr)
          free_aligned_sized_(at, block.alignment, n);
        else
          free(at);
        break;
      case Family::plain_new:
        if (sized)
          operator delete(at, n);
        else if (next() % 2 == 0)
          operator delete(at, std::nothrow);
        else
          operator delete(at);
        break;
      case Family::array_new:
        if (sized)
          operator delete[](at, n);
        else if (next() % 2 == 0)
          operator delete[](at, std::nothrow);
        else
          operator delete[](at);
        break;
      case Family::aligned_new:
        if (sized)
          operator delete(at, n, align);
        else if (next() % 2 == 0)
          operator delete(at, align, std::nothrow);
        else
          operator delete(at, align);
        break;
      case Family::aligned_array_new:
        if (sized)
          operator delete[](at, n, align);
        else if (next() % 2 == 0)
          operator delete[](at, align, std::nothrow);
        else
          operator delete[](at, align);
        break;
    }
    if (errno != 0x5a5a) complain("errno after free", n);
    block = {};
  }

  void resize(Block& block) {
    if (block.at == nullptr || block.family > Family::aligned_alloc) return;
    look(block);
    const size_t n = size() + 1, kept = std::min(looked_after(block.size), n);
    void* at = next() % 2 == 0 ? realloc(block.at, n) : reallocarray(block.at, n, 1);
    if (at == nullptr) return complain("realloc", n);
    count(n);
    block.at = static_cast<unsigned char*>(at);
    if (!holds(block.at, kept, block.mark)) complain("contents after realloc", n);
    block.size = n;
    block.alignment = 16;
    block.family = Family::malloc;
    mark(block);
  }

  /// Requests nobody can grant count for nothing. (Not operator new: where it throws an exception, that counts.)
  void fail() {
    volatile size_t huge = size_t{1} << 62;
    void* out = nullptr;
    void* got = nullptr;
    switch (next() % 6) {
      case 0:
        got = malloc(huge);
        break;
      case 1:
        got = calloc(huge, 16);
        break;
      case 2:
        got = memalign(64, huge);
        break;
      case 3:
        got = reallocarray(nullptr, huge, 16);
        break;
      case 4:
        if (posix_memalign(&out, 64, huge) == 0) got = out;
        break;
      case 5:
        got = realloc(nullptr, huge);
        break;
    }
    if (got != nullptr) complain("granted 2^62 bytes", huge);
  }

  /// Leaves a block for whoever comes next and takes what lay there: it's freed on another thread.
  void trade(Block& block) {
    Mailbox& box = mailboxes[next() % kMailboxes];
    if (box.busy.test_and_set(std::memory_order_acquire)) return;
    std::swap(box.block, block);
    box.busy.clear(std::memory_order_release);
    if (block.at != nullptr) look(block);
  }

  void fork_once() {
    const pid_t child = fork();
    if (child < 0) return;
    if (child == 0) _exit(in_child());
    int status;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    if (status != 0) complain("a child", size_t(status));
    ++children;
  }

  int in_child() {
    with_forks = false;
    tally = {};
    wrong = 0;
    // What the child has from its parent is freed like its own.
    for (int i = 0; i < 200; ++i) {
      Block& shelf = shelf_[next() % kShelf];
      give_back(shelf);
      shelf = request();
    }
    clear();
    const poireau_stats now = stats_now();
    if (poireau_get_stats != nullptr && period == 1 &&
        (now.samples != tally.requests || now.sampled_bytes != tally.bytes || now.counted_bytes != tally.weight)) {
      dprintf(2, "hammer: child: %lu samples for %lu requests, %lu bytes for %lu, %lu counted for %lu\n", now.samples,
              tally.requests, now.sampled_bytes, tally.bytes, now.counted_bytes, tally.weight);
      return 3;
    }
    return wrong != 0 ? 4 : 0;
  }

  uint64_t state_;
  Block shelf_[kShelf];
};

void* hammer_on(void* given) {
  auto* hammer = static_cast<Hammer*>(given);
  pthread_barrier_wait(&all_started);
  pthread_barrier_wait(&may_start);
  while (!over.load(std::memory_order_relaxed)) hammer->step();
  hammer->clear();
  pthread_barrier_wait(&all_done);
  pthread_barrier_wait(&may_end);
  return nullptr;
}

void on_alarm(int) {
  const int kept = errno;
  ++signals_taken;
  stats_now();
  errno = kept;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 5) return 64;
  const int threads = std::min(atoi(argv[1]), kMostThreads);
  const long milliseconds = atol(argv[2]);
  period = atof(argv[3]);
  const uint64_t seed = strtoull(argv[4], nullptr, 0);
  bool with_signals = false;
  for (int i = 5; i < argc; ++i) {
    if (strcmp(argv[i], "no-pvalloc") == 0) with_pvalloc = false;
    if (strcmp(argv[i], "loose-alignment") == 0) most_alignment = 64;
    if (strcmp(argv[i], "forks") == 0) with_forks = true;
    if (strcmp(argv[i], "signals") == 0) with_signals = true;
  }
  cfree_ = reinterpret_cast<decltype(cfree_)>(dlsym(RTLD_DEFAULT, "cfree"));
  free_sized_ = reinterpret_cast<decltype(free_sized_)>(dlsym(RTLD_DEFAULT, "free_sized"));
  free_aligned_sized_ = reinterpret_cast<decltype(free_aligned_sized_)>(dlsym(RTLD_DEFAULT, "free_aligned_sized"));

  static char places[kMostThreads][sizeof(Hammer)] __attribute__((aligned(64)));
  Hammer* hammers[kMostThreads];
  pthread_t ids[kMostThreads];
  for (auto* barrier : {&all_started, &may_start, &all_done, &may_end})
    pthread_barrier_init(barrier, nullptr, static_cast<unsigned>(threads) + 1);
  for (int i = 0; i < threads; ++i) {
    hammers[i] = new (places[i]) Hammer(seed * 1000 + uint64_t(i));
    if (pthread_create(&ids[i], nullptr, hammer_on, hammers[i]) != 0) return 65;
  }
  pthread_barrier_wait(&all_started);
  if (with_signals) {
    struct sigaction action {};
    action.sa_handler = on_alarm;
    action.sa_flags = SA_RESTART;
    sigaction(SIGPROF, &action, nullptr);
    const itimerval every{{0, 1000}, {0, 1000}};
    setitimer(ITIMER_PROF, &every, nullptr);
  }
  const poireau_stats before = stats_now();
  pthread_barrier_wait(&may_start);
  timespec left{milliseconds / 1000, milliseconds % 1000 * 1000000};
  while (nanosleep(&left, &left) < 0 && errno == EINTR) {
  }
  over = true;
  pthread_barrier_wait(&all_done);
  const itimerval never{};
  setitimer(ITIMER_PROF, &never, nullptr);
  const poireau_stats after = stats_now();
  pthread_barrier_wait(&may_end);
  Tally sum;
  for (int i = 0; i < threads; ++i) {
    pthread_join(ids[i], nullptr);
    const Tally& one = hammers[i]->tally;
    sum.requests += one.requests, sum.bytes += one.bytes, sum.weight += one.weight;
    sum.samples += one.samples, sum.samples_variance += one.samples_variance;
    sum.sampled_bytes += one.sampled_bytes, sum.sampled_bytes_variance += one.sampled_bytes_variance;
  }
  printf(
      "{\"requests\": %lu, \"bytes\": %lu, \"weight\": %lu, \"wrong\": %lu, \"children\": %lu, \"signals\": %lu,\n"
      " \"samples\": %lu, \"sampled_bytes\": %lu, \"counted_bytes\": %lu, \"dropped\": %lu,\n"
      " \"expected_samples\": %.17g, \"samples_variance\": %.17g,\n"
      " \"expected_sampled_bytes\": %.17g, \"sampled_bytes_variance\": %.17g}\n",
      sum.requests, sum.bytes, sum.weight, wrong.load(), children.load(), signals_taken.load(),
      after.samples - before.samples, after.sampled_bytes - before.sampled_bytes,
      after.counted_bytes - before.counted_bytes, after.dropped - before.dropped, sum.samples, sum.samples_variance,
      sum.sampled_bytes, sum.sampled_bytes_variance);
  return wrong != 0;
}
