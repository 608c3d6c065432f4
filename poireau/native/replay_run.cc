#include "poireau/native/replay_run.h"

#include <pthread.h>

#include <algorithm>

#include "poireau/native/replay_cursor.h"
#include "poireau/native/replay_sleep.h"
#include "poireau/native/replay_state.h"
#include "poireau/native/replay_worker.h"

namespace poireau::replay {

constinit State the{};

void* need(size_t size) noexcept {
  void* const room = map(size);
  if (room == nullptr) fail("there is too little memory");
  return room;
}

namespace {

constexpr size_t kStack = 512 << 10;

/// To start a thread.
struct Order {
  uint32_t thread;
  std::atomic<Desk*> desk;
};
Order* queue;
pthread_mutex_t door = PTHREAD_MUTEX_INITIALIZER;
Desk* free_desks = nullptr;

/// For whoever comes: its first call has this number.
Desk* sit_down(uint64_t number) noexcept {
  pthread_mutex_lock(&door);
  Desk* mine = free_desks;
  if (mine != nullptr) {
    free_desks = mine->next_free;
    mine->at.store(number);
  } else {
    mine = static_cast<Desk*>(need(sizeof(Desk) + the.calls->functions().size() * sizeof(Histogram)));
    mine->at.store(number);
    mine->next = the.desks.load();
    the.desks.store(mine);
  }
  pthread_mutex_unlock(&door);
  return mine;
}
void get_up(Desk* mine) noexcept {
  mine->at.store(kIdle);
  pthread_mutex_lock(&door);
  mine->next_free = free_desks;
  free_desks = mine;
  pthread_mutex_unlock(&door);
}
Desk* sit_down_for(uint32_t thread) noexcept { return sit_down(the.calls->threads()[thread].first); }

void work_at(Desk* mine, uint32_t first) noexcept {
  work(*mine, first, the.wishes.threads == 0 ? Cursors::kAll : the.wishes.threads);
  get_up(mine);
  the.progress.fetch_add(1);
  the.running.fetch_sub(1);
  wake_all(&the.running);
}

void* thread_main(void* given) {
  const auto& order = *static_cast<Order*>(given);
  work_at(order.desk, order.thread);
  return nullptr;
}

void make_thread(void* (*main)(void*), void* argument) noexcept {
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, kStack);
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  pthread_t thread;
  if (pthread_create(&thread, &attributes, main, argument) != 0)
    fail("so many threads can't be had here; try --threads 1");
  pthread_attr_destroy(&attributes);
}

/// Starts threads for the others: to do so takes memory from the allocator, which is not to be theirs.
void* starter_main(void*) {
  for (uint32_t done = 0, all = static_cast<uint32_t>(the.calls->threads().size()) - 1; done < all; ++done) {
    while (queue[done].desk.load() == nullptr) sleep_while(&queue[done].desk, 0, kLongSleep);
    the.running.fetch_add(1);
    make_thread(thread_main, &queue[done]);
    the.started.fetch_add(1);
  }
  wake_all(&the.running);
  return nullptr;
}

}  // namespace

void start(uint32_t thread) noexcept {
  const uint32_t place = the.asked.fetch_add(1);
  if (place + 1 >= the.calls->threads().size()) fail("the file of calls is damaged");
  if (place == 0) make_thread(starter_main, nullptr);
  queue[place].thread = thread;
  queue[place].desk.store(sit_down_for(thread));
  wake_all(&queue[place].desk);
}

Result run(const Calls& of, const Wishes& wanted) noexcept {
  the.calls = &of;
  the.wishes = wanted;
  const auto threads = static_cast<uint32_t>(of.threads().size());
  the.alone = threads <= 1 || the.wishes.threads == 1;
  for (size_t i = 0; i < of.functions().size(); ++i) the.stands[i] = stand_for(of.functions()[i]);
  the.slots = static_cast<Slot*>(need(of.trailer().slots * sizeof(Slot)));
  the.made = static_cast<uint64_t*>(need(threads * sizeof(uint64_t)));
  queue = static_cast<Order*>(need(threads * sizeof(Order)));
  get_up(sit_down(0));

  Result result{};
  result.nothing = ticks_of_nothing();
  result.peak_is_ours = forget_peak();
  result.before_peak = resident("VmRSS:");
  const uint64_t ours = mapped();
  Usage before = usage();
  if (the.wishes.pace != 0) {
    const timespec moment{0, 20'000'000};
    nanosleep(&moment, nullptr);
    const Usage then = usage();
    the.ticks_per_nanosecond =
        static_cast<double>(then.ticks - before.ticks) / static_cast<double>(then.nanoseconds - before.nanoseconds);
    before = then;
  }
  the.first_tick = before.ticks;
  result.before = before;
  const uint32_t workers = std::min(threads, std::max<uint32_t>(the.wishes.threads, 1));
  the.running.store(workers);
  Desk* const first = workers != 0 ? sit_down_for(0) : nullptr;
  for (uint32_t i = 1; i < workers; ++i) {
    queue[i].thread = i;
    queue[i].desk.store(sit_down_for(i));
  }
  for (uint32_t i = 1; i < workers; ++i) make_thread(thread_main, &queue[i]);
  if (workers != 0) work_at(first, 0);
  for (;;) {  // who has been asked for has been started, and nobody runs who could ask for more
    const uint32_t then = the.started.load(), left = the.running.load();
    if (left == 0 && the.asked.load() == then) break;
    sleep_while(&the.running, left, kLongSleep / 10);
  }
  result.after = usage();
  result.peak = resident("VmHWM:");
  result.own = mapped() - ours;

  Desk* const all = sit_down(0);
  for (Desk* each = free_desks; each != nullptr; each = each->next_free) {
    for (size_t i = 0; i < of.functions().size(); ++i) all->tally.functions[i].add(each->tally.functions[i]);
    for (size_t i = 0; i < kSizeClasses; ++i) all->tally.sizes[i] += each->tally.sizes[i];
    all->tally.waits += each->tally.waits;
    all->tally.waited += each->tally.waited;
    all->tally.holds += each->tally.holds;
    all->tally.failed += each->tally.failed;
    all->tally.misaligned += each->tally.misaligned;
  }
  result.tally = &all->tally;
  result.calls = the.made;
  return result;
}

}  // namespace poireau::replay
