// remap_bench [COUNT]: what blocks in remapped homes cost without the hooks, beside malloc's
//
// Prints a line for each pattern: CPU nanoseconds that a block took, allocated, written to and freed, in a remapped
// home and by malloc; and for 100,000 live ones the memory that they add (PSS and page tables), both ways.
//
// remap_bench engines: what the kernel takes, in nanoseconds a page, to move pages that show the arena, so many
// together, and to close and open one by itself, by each engine.
#include "tracked_alloc/remap.h"

#include <malloc.h>
#include <pthread.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <string_view>
#include <vector>

#include "preload/base/random.h"
#include "preload/base/sys.h"
#include "tracked_alloc/marks.h"
#include "tracked_alloc/noise.h"
#include "tracked_alloc/remap_arena.h"
#include "tracked_alloc/remap_engine.h"

namespace {

using namespace poireau;
using namespace poireau::tracked_alloc;

double cpu_ns() {
  timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) * 1e9 + static_cast<double>(now.tv_nsec);
}

struct Malloc {
  static void* take(size_t size, unsigned) { return malloc(size); }
  static void drop(void* ptr) { free(ptr); }
};

void sweep() {
  if (!marks::begin()) return;
  static_cast<void>(marks::see_live_blocks());
  marks::end({});
}

struct Home {
  static void* take(size_t size, unsigned stripe) {
    void* const ptr = remap::allocate({size, 16, 1, false}, stripe);
    if (ptr != nullptr) return ptr;
    for (const uint64_t times : remap::standing().refused) fprintf(stderr, "%lu ", times);
    fputs("refused: no home\n", stderr);
    exit(1);
  }
  static void drop(void* ptr) {
    if (remap::release(ptr, 2, {.now = false}).found != remap::Death::Found::done) exit(2);
    // As the hooks ask after each.
    const uint64_t dead = remap::open_dead_bytes();
    if (dead > (4 << 20) && dead > remap::live_bytes() / 4) sweep();
  }
};

void touch(void* ptr) {
  __asm__ volatile("" : "+r"(ptr) : : "memory");
  *static_cast<volatile char*>(ptr) = 1;
}

template <typename Way>
void lifo(long count, unsigned stripe) {
  for (long i = 0; i < count; ++i) {
    void* const ptr = Way::take(64, stripe);
    touch(ptr);
    Way::drop(ptr);
  }
}

template <typename Way>
void fifo(long count, unsigned stripe) {
  std::vector<void*> live(1000);
  for (long i = 0; i < count; ++i) {
    void*& slot = live[static_cast<size_t>(i) % live.size()];
    if (slot != nullptr) Way::drop(slot);
    slot = Way::take(64, stripe);
    touch(slot);
  }
  for (void* ptr : live)
    if (ptr != nullptr) Way::drop(ptr);
}

template <typename Way>
void at_random(long count, unsigned stripe) {
  std::vector<void*> live(20'000);
  Random random{stripe};
  for (long i = 0; i < count; ++i) {
    void*& slot = live[multiply_high(live.size(), random.next())];
    if (slot != nullptr) Way::drop(slot);
    slot = Way::take(16 + random.next() % 240, stripe);
    touch(slot);
  }
  for (void* ptr : live)
    if (ptr != nullptr) Way::drop(ptr);
}

template <typename Way>
void grow(long, unsigned stripe) {
  static std::vector<void*> live(100'000);
  for (void*& slot : live) {
    slot = Way::take(64, stripe);
    std::memset(slot, 1, 64);
  }
}

using Pattern = void (*)(long count, unsigned stripe);

struct Share {
  Pattern pattern;
  long count;
  unsigned stripe;
  double ns;
};
void* run(void* argument) {
  Share& share = *static_cast<Share*>(argument);
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(share.stripe, &set);
  sched_setaffinity(0, sizeof set, &set);
  const double begin = cpu_ns();
  share.pattern(share.count, share.stripe);
  share.ns = (cpu_ns() - begin) / static_cast<double>(share.count);
  return nullptr;
}

double kib_of(const char* file, const char* label) {
  FILE* const in = fopen(file, "r");
  if (in == nullptr) return 0;
  char line[256];
  double kib = 0;
  while (fgets(line, sizeof line, in) != nullptr)
    if (strncmp(line, label, strlen(label)) == 0) kib = atof(line + strlen(label));
  fclose(in);
  return kib;
}
double memory_kib() { return kib_of("/proc/self/smaps_rollup", "Pss:") + kib_of("/proc/self/status", "VmPTE:"); }

/// In a process of its own: what `begin` was told holds for its life, and the heap is to be young.
template <typename Body>
void alone(Body&& body) {
  fflush(stdout);
  const pid_t child = fork();
  if (child == 0) {
    noise::begin(1);
    body();
    fflush(stdout);
    _exit(0);
  }
  int status;
  waitpid(child, &status, 0);
  if (status != 0) exit(1);
}

void measure(const char* name, Pattern pattern, long count, unsigned threads, bool homes) {
  alone([=] {
    if (homes && !remap::begin({})) exit(3);
    const double before = memory_kib();
    Share shares[2] = {{pattern, count, 0, 0}, {pattern, count, 1, 0}};
    pthread_t ids[2];
    if (threads == 1) run(&shares[0]);
    for (unsigned i = 0; i < threads && threads > 1; ++i) pthread_create(&ids[i], nullptr, run, &shares[i]);
    for (unsigned i = 0; i < threads && threads > 1; ++i) pthread_join(ids[i], nullptr);
    const double ns = threads == 1 ? shares[0].ns : (shares[0].ns + shares[1].ns) / 2;
    const remap::Standing now = remap::standing();
    printf("%s,%s,%u,%.1f,%.0f,%lu,%lu\n", name, homes ? "home" : "malloc", threads, ns, memory_kib() - before,
           now.runs, now.recycled);
  });
}

constexpr size_t kPage = 4096;
void* const kHere = reinterpret_cast<void*>(remap::arena::kAnchor - (size_t{2} << 30));
void* const kThere = reinterpret_cast<void*>(remap::arena::kAnchor - (size_t{3} << 30));

void check(bool done, const char* what) {
  if (done) return;
  fprintf(stderr, "%s: the kernel refuses\n", what);
  exit(1);
}

/// So many pages, of which all are there.
void show_pages(unsigned shift) {
  const size_t offset = remap::arena::take(shift), pages = size_t{1} << shift;
  check(offset != SIZE_MAX && remap::arena::show(offset, pages, reinterpret_cast<uintptr_t>(kHere)), "show");
  for (size_t page = 0; page < pages; ++page) touch(static_cast<char*>(kHere) + page * kPage);
}

void measure_moves(unsigned shift, long times) {
  check(remap::begin({}), "begin");
  show_pages(shift);
  const size_t size = kPage << shift;
  const double begin = cpu_ns();
  for (long i = 0; i < times; ++i) {
    check(sys::move(kHere, size, kThere), "move");
    check(sys::move(kThere, size, kHere), "move back");
  }
  printf("move,%zu,%.1f\n", size / kPage, (cpu_ns() - begin) / static_cast<double>(2 * times * (long{1} << shift)));
}

void measure_engine(remap::Engine wanted, const char* name, long times) {
  constexpr unsigned kShift = 9;
  check(remap::begin({.engine = wanted}), "begin");
  const remap::engines::Kind& engine = remap::engines::kind();
  if (engine.engine != wanted) return;  // it does not work here
  show_pages(kShift);
  check(engine.enter(kHere, kPage << kShift), "enter");
  double ns[2]{};
  for (long i = 0; i < times; ++i)
    for (const bool closing : {true, false}) {
      const double begin = cpu_ns();
      for (size_t page = 0; page < size_t{1} << kShift; ++page) {
        void* const at = static_cast<char*>(kHere) + page * kPage;
        check(closing ? engine.close(at, kPage) : engine.open(at, kPage), name);
      }
      ns[closing] += cpu_ns() - begin;
    }
  const double pages = static_cast<double>(times << kShift);
  printf("close by %s,1,%.1f\nopen by %s,1,%.1f\n", name, ns[true] / pages, name, ns[false] / pages);
}

void measure_engines() {
  puts("what,pages,ns");
  alone([] { measure_moves(9, 2000); });
  alone([] { measure_moves(6, 2000); });
  alone([] { measure_engine(remap::Engine::userfaultfd, "userfaultfd", 40); });
  alone([] { measure_engine(remap::Engine::markers, "markers", 40); });
}

}  // namespace

int main(int argc, char** argv) {
  if (argc > 1 && argv[1] == std::string_view("engines")) {
    measure_engines();
    return 0;
  }
  const long count = argc > 1 ? strtol(argv[1], nullptr, 0) : 2'000'000;
  const std::string_view only = argc > 2 ? argv[2] : "";
  puts("pattern,way,threads,ns,kib,runs,recycled");
  const struct {
    const char* name;
    Pattern homes, bare;
    long count;
  } patterns[] = {{"lifo", lifo<Home>, lifo<Malloc>, count},
                  {"fifo", fifo<Home>, fifo<Malloc>, count},
                  {"random", at_random<Home>, at_random<Malloc>, count},
                  {"grow", grow<Home>, grow<Malloc>, 100'000}};
  for (const auto& [name, homes, bare, times] : patterns)
    for (const unsigned threads : {1u, 2u}) {
      if ((!only.empty() && only != name) || (threads == 2 && times != count)) continue;
      measure(name, homes, times, threads, true);
      measure(name, bare, times, threads, false);
    }
}
