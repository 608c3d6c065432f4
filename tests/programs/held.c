// Blocks that are held in every way there is, and some that nothing holds. Prints the name and the address of each,
// written so that the address itself is not left behind; then it waits, and does what a line on its input says.
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

struct node {
  struct node* next;
  char text[56];
};
struct packed {
  uint32_t kind;
  void* pointer;
} __attribute__((packed));

void* in_global;
volatile struct {
  long before[4];
  char* pointer;
} inside;
__thread void* in_tls;
struct packed in_packed;
uintptr_t hidden;
static void* const* relro_like;
static struct node* chain;
static void* freed_later;
static struct node* moving[2];
static void** unsampled;
static volatile int stop_moving;

#define NOINLINE __attribute__((noinline, noclone))

static NOINLINE void say(const char* name, uintptr_t turned) { printf("%s %lx\n", name, (unsigned long)~turned); }
#define SAY(name, pointer) say(name, ~(uintptr_t)(pointer))

static NOINLINE struct node* get(const char* name) {
  struct node* got = malloc(sizeof *got);
  memset(got, 0, sizeof *got);
  SAY(name, got);
  return got;
}

// What the calls before left on the stack and in registers.
static NOINLINE void wipe(void) {
  volatile char room[1 << 16];
  memset((char*)room, 0, sizeof room);
  __asm__ volatile(
      "xor %%eax, %%eax\n xor %%ecx, %%ecx\n xor %%edx, %%edx\n xor %%esi, %%esi\n xor %%edi, %%edi\n"
      "xor %%r8d, %%r8d\n xor %%r9d, %%r9d\n xor %%r10d, %%r10d\n xor %%r11d, %%r11d\n"
      "pxor %%xmm0, %%xmm0\n pxor %%xmm1, %%xmm1\n pxor %%xmm2, %%xmm2\n pxor %%xmm3, %%xmm3\n"
      "pxor %%xmm4, %%xmm4\n pxor %%xmm5, %%xmm5\n pxor %%xmm6, %%xmm6\n pxor %%xmm7, %%xmm7\n" ::
          : "rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "memory");
}

static NOINLINE void lose(void) {
  get("lost");
  struct node* first = get("lost_chain");
  first->next = get("lost_behind");
  first = get("circle");
  first->next = get("circle_behind");
  first->next->next = first;
  first = get("self");
  first->next = first;
  hidden = ~(uintptr_t)get("xored");
  char* end = (char*)get("end") + sizeof(struct node);
  memcpy(&moving[1], &end, sizeof end);
}

static NOINLINE void hold(void) {
  in_global = get("global");
  inside.pointer = get("inside")->text + 10;
  in_packed.pointer = get("packed");
  chain = get("chain");
  chain->next = get("chain_2");
  chain->next->next = get("chain_3");
  freed_later = get("freed_later");
  moving[0] = get("moving");
  // Not by malloc, as what is not sampled is not ours.
  unsampled = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  unsampled[7] = get("unsampled");
  void** sealed = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  sealed[1] = get("read_only");
  mprotect(sealed, 4096, PROT_READ);
  relro_like = (void* const*)sealed;
  void** shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  shared[3] = get("shared");
  struct epoll_event event = {.events = EPOLLIN, .data.ptr = get("epoll")};
  epoll_ctl(epoll_create1(0), EPOLL_CTL_ADD, eventfd(0, 0), &event);
  memset(&event, 0, sizeof event);
  struct sigevent notice = {.sigev_notify = SIGEV_NONE};
  notice.sigev_value.sival_ptr = get("timer");
  timer_t timer;
  timer_create(CLOCK_MONOTONIC, &notice, &timer);
  memset(&notice, 0, sizeof notice);
}

static int ready[2];

static void* on_stack(void* unused) {
  pthread_setname_np(pthread_self(), "keeper");
  struct node* volatile here = get("stack");
  in_tls = get("tls");
  wipe();
  if (write(ready[1], "x", 1) != 1) abort();
  for (;;) pause();
  return here;
}

static void* in_register(void* unused) {
  pthread_setname_np(pthread_self(), "register");
  struct node* got = get("register");
  wipe();
  if (write(ready[1], "x", 1) != 1) abort();
  // Nowhere else: rbx is not pushed again.
  __asm__ volatile("mov %0, %%rbx\n mov %0, %%r12\n xor %%eax, %%eax\n mov $0, %0\n 1: pause\n jmp 1b"
                   : "+r"(got)::"rbx", "r12", "rax");
  return NULL;
}

static void* move(void* unused) {
  struct node* other = NULL;
  while (!stop_moving) {
    struct node* got = moving[0];
    moving[0] = NULL;
    unsampled[500] = got;
    unsampled[500] = NULL;
    __asm__ volatile("" : "+r"(got)::"memory");
    moving[0] = got;
  }
  return other;
}

int main(int argc, char** argv) {
  char line[100];
  setvbuf(stdout, NULL, _IONBF, 0);
  if (pipe(ready) != 0) return 1;
  lose();
  wipe();
  hold();
  wipe();
  pthread_t thread;
  pthread_create(&thread, NULL, on_stack, NULL);
  if (read(ready[0], line, 1) != 1) return 2;
  if (argc > 1 && strchr(argv[1], 'r') != NULL) {
    pthread_create(&thread, NULL, in_register, NULL);
    if (read(ready[0], line, 1) != 1) return 2;
  }
  if (argc > 1 && strchr(argv[1], 'h') != NULL) {
    const size_t size = (size_t)16 << 40;
    char* wide = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (wide == MAP_FAILED) return 3;
    wide[size / 2] = wide[size - 1] = 1;
  }
  if (argc > 1 && strchr(argv[1], 'm') != NULL) pthread_create(&thread, NULL, move, NULL);
  wipe();
  puts("ready");
  while (read(STDIN_FILENO, line, 1) == 1) {
    if (*line == 'f') free(freed_later), freed_later = NULL, wipe(), puts("freed");
    if (*line == 'g') in_global = NULL, puts("global dropped");
    if (*line == 'a') abort();
  }
  return 0;
}
