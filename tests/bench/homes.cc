// homes_bench guarded MECHANISM SIZE ROUNDS COUNT: a block in a guarded home, and the system calls it can't do without
// homes_bench plain SIZE ROUNDS COUNT: a block in a plain home, and one of malloc's
//
// Each way allocates a block, writes to it and frees it, COUNT times a round and thread. Prints the names of the ways
// and then a line a round: the CPU nanoseconds that each took a block. Every round has an order of its own.
#include "tracked_alloc/homes.h"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <memory>
#include <random>
#include <string_view>
#include <vector>

#include "preload/base/cpu.h"
#include "tracked_alloc/ration.h"

namespace {

using namespace poireau;
using tracked_alloc::pages::Mechanism;

constexpr size_t kPage = 4096;

[[noreturn]] void give_up(const char* what) {
  perror(what);
  exit(1);
}
void require(bool works, const char* what) {
  if (!works) give_up(what);
}

double thread_cpu_ns() {
  timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) * 1e9 + static_cast<double>(now.tv_nsec);
}

void pin(int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  sched_setaffinity(0, sizeof set, &set);  // fewer CPUs than threads: stay where the kernel put us
}

void touch(void* block) { *static_cast<volatile char*>(block) = 1; }

/// A way to allocate, touch and free a block; `block(thread)` does it once.
struct Way {
  Way(const char* its_name, int its_threads) : name(its_name), threads(its_threads) {}
  Way(const Way&) = delete;
  Way& operator=(const Way&) = delete;
  virtual ~Way() = default;
  virtual void block(int thread) = 0;

  const char* const name;
  const int threads;
};

struct Malloc final : Way {
  Malloc(const char* its_name, size_t its_size) : Way(its_name, 1), size(its_size) {}
  void block(int) override {
    void* ptr = malloc(size);
    __asm__ volatile("" : "+r"(ptr) : : "memory");  // the compiler may drop a pair it sees through
    touch(ptr);
    free(ptr);
  }
  const size_t size;
};

/// As the shim does it, but for the stacks.
struct Home final : Way {
  Home(const char* its_name, size_t size, bool guarded, int its_threads = 1)
      : Way(its_name, its_threads), wanted{size, alignof(max_align_t), 0, false, {1, 1, 1, 1, 1}} {
    policy.guard = guarded ? tracked_alloc::ration::kAll : tracked_alloc::ration::kNone;
  }
  void block(int) override {
    tracked_alloc::Wanted request = wanted;
    request.birth.time = cpu::ticks();
    void* const ptr = tracked_alloc::allocate(request, policy).block;
    if (ptr == nullptr) give_up("no home");
    touch(ptr);
    const tracked_alloc::Claim claim = tracked_alloc::claim(ptr);
    const tracked_alloc::Slack slack = tracked_alloc::inspect(claim);
    if (slack.before.first != 0 || slack.behind.first != 0) give_up("somebody wrote beside the block");
    tracked_alloc::finish(claim, {cpu::ticks(), 1, 1}, policy);
  }
  const tracked_alloc::Wanted wanted;
  tracked_alloc::Policy policy{0, 2'000'000'000, {size_t{1} << 30, 65536, 0}, 32 << 20, false};
};

/// The system calls alone, on pages between guards: a chunk a thread, its pages in turn.
class Raw final : public Way {
 public:
  Raw(const char* its_name, Mechanism mechanism, int its_threads = 1)
      : Way(its_name, its_threads), mechanism_(mechanism), watcher_(new_watcher()) {
    for (Lane& lane : lanes_) lane.chunk = map_closed();
  }
  void block(int thread) override {
    Lane& lane = lanes_[thread];
    lane.page = (lane.page + 2) % (kChunk / kPage);
    char* const page = lane.chunk + lane.page * kPage;
    open(page);
    touch(page);
    close(page);
  }

 private:
  static constexpr size_t kChunk = size_t{2} << 20;
  static constexpr int kGuard = 102, kUnguard = 103;  // MADV_GUARD_INSTALL, _REMOVE: newer than libc's headers
  struct alignas(64) Lane {
    char* chunk;
    size_t page = 1;
  };

  int new_watcher() const {
    if (mechanism_ != Mechanism::userfaultfd) return -1;
    const int descriptor = static_cast<int>(syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY));
    uffdio_api api{UFFD_API, UFFD_FEATURE_SIGBUS, 0};
    require(descriptor >= 0 && ioctl(descriptor, UFFDIO_API, &api) == 0, "userfaultfd");
    return descriptor;
  }

  char* map_closed() const {
    char* const chunk = static_cast<char*>(mmap(nullptr, kChunk, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    require(chunk != MAP_FAILED, "mmap");
    madvise(chunk, kChunk, MADV_NOHUGEPAGE);
    require(mprotect(chunk, kChunk, PROT_READ | PROT_WRITE) == 0, "mprotect");
    if (mechanism_ == Mechanism::markers) require(madvise(chunk, kChunk, kGuard) == 0, "MADV_GUARD_INSTALL");
    if (mechanism_ == Mechanism::userfaultfd) {
      uffdio_register range{{reinterpret_cast<uintptr_t>(chunk), kChunk}, UFFDIO_REGISTER_MODE_MISSING, 0};
      require(ioctl(watcher_, UFFDIO_REGISTER, &range) == 0, "UFFDIO_REGISTER");
    }
    if (mechanism_ == Mechanism::mprotect) {
      touch(chunk);  // or parts that were open once would stay mappings of their own
      require(madvise(chunk, kChunk, MADV_DONTNEED) == 0 && mprotect(chunk, kChunk, PROT_NONE) == 0, "mprotect");
    }
    return chunk;
  }

  void open(char* page) const {
    int failed = 0;
    if (mechanism_ == Mechanism::markers) failed = madvise(page, kPage, kUnguard);
    if (mechanism_ == Mechanism::mprotect) failed = mprotect(page, kPage, PROT_READ | PROT_WRITE);
    if (mechanism_ == Mechanism::userfaultfd) {
      alignas(kPage) static const char zeros[kPage]{};
      uffdio_copy copy{reinterpret_cast<uintptr_t>(page), reinterpret_cast<uintptr_t>(zeros), kPage, 0, 0};
      failed = ioctl(watcher_, UFFDIO_COPY, &copy);
    }
    require(failed == 0, "opening a page");
  }

  void close(char* page) const {
    int failed = 0;
    if (mechanism_ == Mechanism::mprotect) failed = mprotect(page, kPage, PROT_NONE);
    failed |= madvise(page, kPage, mechanism_ == Mechanism::markers ? kGuard : MADV_DONTNEED);
    require(failed == 0, "closing a page");
  }

  const Mechanism mechanism_;
  const int watcher_;
  Lane lanes_[2];
};

struct Run {
  Way* way;
  int thread;
  long count;
  pthread_barrier_t* start;
  double ns;
};

void* run(void* argument) {
  Run& run = *static_cast<Run*>(argument);
  pin(run.thread);
  if (run.start != nullptr) pthread_barrier_wait(run.start);
  const double begin = thread_cpu_ns();
  for (long i = 0; i < run.count; ++i) run.way->block(run.thread);
  run.ns = (thread_cpu_ns() - begin) / static_cast<double>(run.count);
  return nullptr;
}

double measure(Way& way, long count) {
  if (way.threads == 1) {
    Run alone{&way, 0, count, nullptr, 0};
    run(&alone);
    return alone.ns;
  }
  pthread_barrier_t start;
  pthread_barrier_init(&start, nullptr, 2);
  Run runs[] = {{&way, 0, count, &start, 0}, {&way, 1, count, &start, 0}};
  pthread_t threads[2];
  for (int i = 0; i < 2; ++i) require(pthread_create(&threads[i], nullptr, run, &runs[i]) == 0, "pthread_create");
  for (const pthread_t thread : threads) pthread_join(thread, nullptr);
  pthread_barrier_destroy(&start);
  return (runs[0].ns + runs[1].ns) / 2;
}

using Ways = std::vector<std::unique_ptr<Way>>;

Ways guarded_ways(std::string_view name, size_t size) {
  Mechanism mechanism = Mechanism::automatic;
  for (const Mechanism known : {Mechanism::markers, Mechanism::userfaultfd, Mechanism::mprotect})
    if (name == tracked_alloc::pages::name_of(known)) mechanism = known;
  tracked_alloc::begin({.mechanism = mechanism, .keep = 1 << 20, .seed = 1});
  if (mechanism == Mechanism::automatic || tracked_alloc::mechanism() != mechanism) return {};
  Ways ways;
  ways.push_back(std::make_unique<Raw>("raw x 1", mechanism));
  ways.push_back(std::make_unique<Raw>("raw x 1 again", mechanism));
  ways.push_back(std::make_unique<Raw>("raw x 2", mechanism, 2));
  ways.push_back(std::make_unique<Home>("home x 1", size, true));
  ways.push_back(std::make_unique<Home>("home x 2", size, true, 2));
  return ways;
}

Ways plain_ways(size_t size) {
  tracked_alloc::begin({.seed = 1});
  Ways ways;
  ways.push_back(std::make_unique<Malloc>("malloc", size));
  ways.push_back(std::make_unique<Malloc>("malloc again", size));
  ways.push_back(std::make_unique<Home>("home", size, false));
  return ways;
}

/// Until quarantine and cache are full, and what they push out is used again.
void warm_up(size_t size, bool guarded) {
  Home home("", size, guarded);
  measure(home, 100'000);
}

void print_rounds(const Ways& ways, long rounds, long count) {
  for (const auto& way : ways) printf("%s%c", way->name, way == ways.back() ? '\n' : ',');
  std::mt19937_64 random{1};
  std::vector<size_t> order(ways.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::vector<double> ns(ways.size());
  for (long round = 0; round < rounds; ++round) {
    std::shuffle(order.begin(), order.end(), random);
    for (const size_t i : order) ns[i] = measure(*ways[i], count);
    for (size_t i = 0; i < ns.size(); ++i) printf("%.1f%c", ns[i], i + 1 < ns.size() ? ',' : '\n');
  }
}

}  // namespace

int main(int argc, char** argv) {
  const bool guarded = argc == 6 && std::string_view(argv[1]) == "guarded";
  if (!guarded && !(argc == 5 && std::string_view(argv[1]) == "plain")) {
    fprintf(stderr, "usage: %s guarded MECHANISM SIZE ROUNDS COUNT | plain SIZE ROUNDS COUNT\n", argv[0]);
    return 2;
  }
  prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
  char** const numbers = argv + (guarded ? 3 : 2);
  const size_t size = strtoul(numbers[0], nullptr, 0);
  const Ways ways = guarded ? guarded_ways(argv[2], size) : plain_ways(size);
  if (ways.empty()) return 3;  // this kernel can't
  warm_up(size, guarded);
  print_rounds(ways, strtol(numbers[1], nullptr, 0), strtol(numbers[2], nullptr, 0));
}
