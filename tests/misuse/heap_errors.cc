// heap_errors ERROR OFFSET MAKER SIZE PLACE: makes a block, says where it is, and commits the error in that place.
// Says "done" when it has got past it, and "lost" of each thing that it would have found without guards and doesn't.
// The errors' right twins are among them. misuse_test.py has the table.
#include <malloc.h>
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#include <climits>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <initializer_list>
#include <new>

namespace {

char* block;
size_t size;
long offset;

void say(const char* what, const void* where = nullptr) {
  char line[64];
  const int length = where == nullptr ? snprintf(line, sizeof line, "%s\n", what)
                                      : snprintf(line, sizeof line, "%s %p\n", what, where);
  if (write(STDOUT_FILENO, line, length) != length) _exit(2);
}

void expect(bool holds) {
  if (!holds) say("lost");
}

char look(long where) { return static_cast<volatile char*>(block)[where]; }
/// Writes a byte where it doesn't belong. Nothing that we expect to find there is 0.
void smash(long where) { static_cast<volatile char*>(block)[where] = 0; }

char content(size_t where) { return static_cast<char>('a' + where % 23); }

void fill(char* to, size_t length) {
  for (size_t i = 0; i < length; ++i) to[i] = content(i);
}

bool filled(const volatile char* from, size_t length) {
  for (size_t i = 0; i < length; ++i)
    if (from[i] != content(i)) return false;
  return true;
}

/// For what may be kept of a freed block, the rest is gone with its pages.
void expect_content(long where) {
  const bool same = look(where) == content(where);
  expect(same || where >= 4096);
}

const std::align_val_t kAlignment{128};

void* aligned_to_256(size_t n) {
  void* got = nullptr;
  return posix_memalign(&got, 256, n) == 0 ? got : nullptr;
}

/// How blocks come, and how they rightly go.
const struct Maker {
  const char* name;
  void* (*make)(size_t n);
  void (*release)(void* ptr);
} kMakers[] = {
    {"malloc", malloc, free},
    {"calloc", [](size_t n) { return calloc(1, n); }, free},
    {"realloc", [](size_t n) { return realloc(nullptr, n); }, free},
    {"grown", [](size_t n) { return realloc(malloc(n / 2), n); }, free},
    {"shrunk", [](size_t n) { return realloc(malloc(n * 2), n); }, free},
    {"reallocarray", [](size_t n) { return reallocarray(nullptr, 1, n); }, free},
    {"memalign", [](size_t n) { return memalign(64, n); }, free},
    {"aligned_alloc", [](size_t n) { return aligned_alloc(4096, n); }, free},
    {"posix_memalign", aligned_to_256, free},
    {"valloc", valloc, free},
    {"new", [](size_t n) { return operator new(n); }, [](void* ptr) { operator delete(ptr); }},
    {"new[]", [](size_t n) { return operator new[](n); }, [](void* ptr) { operator delete[](ptr); }},
    {"nothrow", [](size_t n) { return operator new(n, std::nothrow); }, [](void* ptr) { operator delete(ptr); }},
    {"aligned", [](size_t n) { return operator new(n, kAlignment); }, [](void* p) { operator delete(p, kAlignment); }},
};
const Maker* maker = kMakers;

void release() { maker->release(block); }

void go_on_allocating() {
  for (int i = 0; i < 1000; ++i) free(malloc(size));
}

void in_a_thread(void* (*start)(void*), size_t stack_size) {
  pthread_attr_t attributes;
  pthread_t thread;
  pthread_attr_init(&attributes);
  expect(pthread_attr_setstacksize(&attributes, stack_size) == 0);
  expect(pthread_create(&thread, &attributes, start, nullptr) == 0);
  pthread_join(thread, nullptr);
}

constexpr size_t kUsualStack = 1 << 20;

void pass_through_a_pipe(char* from, char* to) {
  int ends[2];
  expect(pipe(ends) == 0);
  expect(write(ends[1], from, size) == static_cast<ssize_t>(size));
  expect(read(ends[0], to, size) == static_cast<ssize_t>(size));
}

char other[4096];

const struct Error {
  const char* name;
  void (*commit)();
} kErrors[] = {
    // A freed block is used.
    {"read", [] { release(), expect_content(offset); }},
    {"read all", [] { release(), expect(filled(block, size)); }},
    {"read aged", [] { release(), go_on_allocating(), expect_content(offset); }},
    {"read stale", [] { free(realloc(block, 100'000)), expect_content(offset); }},
    {"read behind freed", [] { release(), look(size + offset); }},
    {"read before freed", [] { release(), look(-offset); }},
    {"write", [] { release(), smash(offset), expect(look(offset) == 0); }},
    {"write aged", [] { release(), smash(offset), go_on_allocating(); }},
    {"execute", [] { release(), reinterpret_cast<void (*)()>(block + offset)(); }},
    {"memcpy", [] { release(), memcpy(other, block + offset, 8), expect_content(offset); }},
    {"memset", [] { release(), memset(block, 2, size); }},
    {"strlen", [] { smash(size - 1), release(), expect(strlen(block) == size - 1); }},
    {"strcpy", [] { release(), strcpy(block, "x"); }},
    {"write(2)", [] { release(), pass_through_a_pipe(block, other), expect(filled(other, size)); }},
    {"read(2)", [] { release(), fill(other, size), pass_through_a_pipe(other, block), expect(filled(block, size)); }},

    // The bounds of a block are not kept.
    {"overread", [] { look(size + offset), release(); }},
    {"underread", [] { look(-offset), release(); }},
    {"overflow", [] { smash(size + offset), release(); }},
    {"underflow", [] { smash(-offset), release(); }},
    {"overflow resized", [] { smash(size + offset), free(realloc(block, 2 * size)); }},
    {"underflow resized", [] { smash(-offset), free(realloc(block, 2 * size)); }},
    {"overflow kept", [] { smash(size + offset); }},
    {"underflow kept", [] { smash(-offset); }},
    {"overrun",
     [] {
       for (long i = 0; i < offset; ++i) smash(size + i);
       release();
     }},

    // What is freed may not be.
    {"twice", [] { release(), release(); }},
    {"twice aged", [] { release(), go_on_allocating(), release(); }},
    {"twice by two", [] { in_a_thread([](void* none) { return release(), none; }, kUsualStack), release(); }},
    {"resized to nothing and freed", [] { expect(realloc(block, 0) == nullptr), free(block); }},
    {"resized to nothing twice", [] { expect(realloc(block, 0) == nullptr), free(realloc(block, 0)); }},
    {"resized stale", [] { free(realloc(block, 100'000)), free(realloc(block, 2 * size)); }},
    {"resized freed", [] { release(), free(realloc(block, 2 * size)); }},
    {"resized inside", [] { free(realloc(block + offset, 2 * size)), release(); }},
    {"inside", [] { maker->release(block + offset), expect(filled(block, size)), release(); }},
    {"inside freed", [] { release(), free(block + offset); }},
    {"nowhere", [] { free(reinterpret_cast<char*>(reinterpret_cast<uintptr_t>(block) ^ 1 << 20)), release(); }},

    // Another function frees it.
    {"free", [] { free(block); }},
    {"delete", [] { operator delete(block); }},
    {"delete[]", [] { operator delete[](block); }},
    {"delete aligned", [] { operator delete(block, kAlignment); }},
    {"resized", [] { free(realloc(block, 2 * size)); }},
    {"delete of size", [] { operator delete(block, static_cast<size_t>(offset)); }},
    {"delete[] of size", [] { operator delete[](block, static_cast<size_t>(offset)); }},
    {"delete of aligned size", [] { operator delete(block, static_cast<size_t>(offset), kAlignment); }},

    // Nothing is wrong.
    {"nothing", release},
    {"free of nothing", [] { free(nullptr), operator delete(nullptr), release(); }},
    {"kept", [] {}},
    {"ends", [] { smash(0), smash(size - 1), release(); }},
    {"usable", [] { memset(block, 2, malloc_usable_size(block)), release(); }},
    {"resized to nothing", [] { expect(realloc(block, 0) == nullptr); }},
    {"resized and used",
     [] {
       for (const size_t to : {2 * size, 100'000 + size, 3 * size, size}) {
         block = static_cast<char*>(realloc(block, to));
         expect(filled(block, size));
         fill(block, to);
       }
       release();
     }},
    {"freed by another", [] { in_a_thread([](void* none) { return release(), none; }, kUsualStack); }},
    {"thousands", [] { go_on_allocating(), expect(filled(block, size)), release(); }},
    {"all sizes",
     [] {
       static char* blocks[6000];
       for (size_t n = 0; n < 6000; ++n) fill(blocks[n] = static_cast<char*>(malloc(n)), n);
       for (size_t n = 0; n < 6000; n += 1) expect(filled(blocks[n], n)), free(blocks[n]);
       release();
     }},
    {"live write(2)", [] { pass_through_a_pipe(block, other), expect(filled(other, size)), release(); }},
    {"null", [] { release(), *reinterpret_cast<volatile char*>(offset) = 0; }},
};
const Error* error = kErrors;

void commit() {
  error->commit();
  say("done");
}

void* commit_in_thread(void* none) {
  commit();
  return none;
}

const struct Place {
  const char* name;
  void (*go)();
} kPlaces[] = {
    {"main", commit},
    {"thread", [] { in_a_thread(commit_in_thread, kUsualStack); }},
    {"small thread", [] { in_a_thread(commit_in_thread, 32 << 10); }},
    {"end of a thread",
     [] {
       static pthread_key_t key;
       pthread_key_create(&key, [](void*) { commit(); });
       in_a_thread([](void* none) { return pthread_setspecific(key, &key), none; }, kUsualStack);
     }},
    {"child",
     [] {
       const pid_t child = fork();
       if (child == 0) commit(), exit(0);
       int status = 0;
       waitpid(child, &status, 0);
       expect(filled(block, size)), release();
       if (status != 0) _exit(WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status));
     }},
    {"grandchild",
     [] {
       if (fork() != 0) _exit((wait(nullptr), 0));
       if (fork() != 0) _exit((wait(nullptr), 0));
       commit();
     }},
    {"exit", [] { atexit(commit); }},
    {"signal", [] { signal(SIGUSR1, [](int) { commit(); }), raise(SIGUSR1); }},
    {"all signals blocked",
     [] {
       sigset_t all;
       sigfillset(&all), pthread_sigmask(SIG_BLOCK, &all, nullptr), commit();
     }},
    {"handlers of its own",
     [] {
       for (const int number : {SIGSEGV, SIGBUS}) signal(number, [](int) { _exit(99); });
       commit();
     }},
    {"stack of its own",
     [] {
       static char stack[64 << 10];
       const stack_t alternate = {.ss_sp = stack, .ss_flags = 0, .ss_size = sizeof stack};
       struct sigaction action = {};
       action.sa_handler = [](int) { _exit(99); };
       action.sa_flags = SA_ONSTACK;
       sigaltstack(&alternate, nullptr);
       for (const int number : {SIGSEGV, SIGBUS}) sigaction(number, &action, nullptr);
       commit();
     }},
};

template <typename Named, size_t count>
const Named* named(const Named (&all)[count], const char* name) {
  for (const Named& each : all)
    if (strcmp(each.name, name) == 0) return &each;
  say(name);
  _exit(2);
}

}  // namespace

int main(int count, char** argument) {
  if (count != 6) return 2;
  error = named(kErrors, argument[1]);
  offset = atol(argument[2]);
  maker = named(kMakers, argument[3]);
  size = strtoul(argument[4], nullptr, 10);
  const Place* const place = named(kPlaces, argument[5]);
  block = static_cast<char*>(maker->make(size));
  fill(block, size);
  say("block", block);
  place->go();
}
