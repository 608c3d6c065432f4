// weaknesses NAME FLOW CIRCUMSTANCE bad|good source|good sink [ALLOCATIONS]: commits the weakness, or its right twin,
// on that way and under that circumstance. Says "at ADDRESS" before it uses the pointer, and "done" when it has got
// past it. table.py has the names.
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <unordered_map>
#include <vector>

#include "flows.h"

namespace {

using cwe::Sink;
using cwe::Source;

void say(const char* format, ...) {
  char line[64];
  va_list arguments;
  va_start(arguments, format);
  const int length = vsnprintf(line, sizeof line, format, arguments);
  va_end(arguments);
  if (write(STDOUT_FILENO, line, length) != length) _exit(2);
}

volatile long sum;
void look(void* ptr) { sum = sum + *static_cast<volatile char*>(ptr); }
void smash(void* ptr) { *static_cast<volatile char*>(ptr) = 1; }
/// The compiler may not see where it comes from.
void* hide(void* ptr) {
  asm volatile("" : "+r"(ptr) : : "memory");
  return ptr;
}
char* text(void* ptr) { return static_cast<char*>(ptr); }

// --- blocks, made in many ways, and their frees ---

constexpr size_t kSize = 100;
constexpr char kText[] = "abcSdef, a text that is long enough to have a block of its own";

template <size_t size>
void* malloc_of() {
  return memset(malloc(size), 0, size);
}
template <size_t size>
void* freed_malloc_of() {
  void* const ptr = malloc_of<size>();
  free(hide(ptr));
  return hide(ptr);
}
void* malloced() { return malloc_of<kSize>(); }
void* freed() { return freed_malloc_of<kSize>(); }
void* text_of_malloc() { return strcpy(text(malloced()), kText); }
template <void* (*make)(), void (*release)(void*)>
void* released() {
  void* const ptr = make();
  release(hide(ptr));
  return hide(ptr);
}
void* zeroed() { return calloc(10, 10); }
void* reallocated() { return realloc(malloc(10), kSize); }
void* duplicated() { return strdup(kText); }
void* aligned() { return aligned_alloc(64, 128); }
void* made_by_new() { return operator new(kSize); }
void* made_by_array_new() { return operator new[](kSize); }
void nothing(void*) {}
void give_to_delete(void* ptr) { operator delete(hide(ptr)); }
void give_to_array_delete(void* ptr) { operator delete[](hide(ptr)); }
void give_to_realloc(void* ptr) { free(realloc(hide(ptr), 2 * kSize)); }
void give_to_free(void* ptr) { free(hide(ptr)); }

void* resized_to_nothing() {
  void* const ptr = malloced();
  if (realloc(hide(ptr), 0) != nullptr) _exit(2);
  return hide(ptr);
}
void* moved() {
  void* const ptr = malloced();
  hide(realloc(hide(ptr), 300'000));
  return hide(ptr);
}

// --- objects ---

struct Shape {
  virtual ~Shape() = default;
  virtual long area() const { return side * side; }
  long side = 3;
};
void* shape() { return new Shape; }
void end_shape(void* ptr) { delete static_cast<Shape*>(ptr); }
void ask_shape(void* ptr) { sum = sum + static_cast<const Shape*>(hide(ptr))->area(); }

struct Callback {
  void (*call)() = [] { sum = sum + 1; };
};
void* callback() { return new Callback; }
void end_callback(void* ptr) { delete static_cast<Callback*>(ptr); }
void call_back(void* ptr) { static_cast<Callback*>(hide(ptr))->call(); }

/// Copies itself as if it owned nothing.
struct Shallow {
  char* text = new char[kSize]{};
  void end() { delete[] text; }
};
void* copied_shallowly() {
  Shallow first, second = first;
  second.end();
  return hide(first.text);
}
void* array_of_char() { return new char[kSize]{}; }

/// Frees what it is to copy from, if that is itself.
struct Careless {
  char* text = new char[kSize]{};
  Careless() = default;
  Careless& operator=(const Careless& other) {
    delete[] text;
    text = static_cast<char*>(hide(other.text));
    return *this;
  }
};
void* assigned_to_itself() {
  Careless careless;
  Careless& same = *static_cast<Careless*>(hide(&careless));
  careless = same;
  return hide(careless.text);
}
void own_uniquely(void* ptr) { std::unique_ptr<int>(static_cast<int*>(hide(ptr))).reset(); }
void own_together(void* ptr) { std::shared_ptr<int>(static_cast<int*>(hide(ptr))).reset(); }
void* new_int() { return new int(3); }

// --- what containers leave behind ---

void* of_grown_vector() {
  std::vector<long> all(10, 7);
  long* const first = all.data();
  while (all.data() == first) all.push_back(8);
  return hide(first);
}
void* of_shrunk_vector() {
  std::vector<long> all(100, 7);
  long* const first = all.data();
  all.resize(3), all.shrink_to_fit();
  return hide(first);
}
void* of_string() {
  std::string all(kText);
  const char* const first = all.data();
  while (all.data() == first) all += kText;
  return hide(const_cast<char*>(first));
}
void* of_temporary() {
  std::string_view view;
  view = std::string(kText) + kText;
  return hide(const_cast<char*>(view.data()));
}
template <typename Container, typename Insert, typename Remove>
void* of_node(Insert insert, Remove remove) {
  Container all;
  void* const ptr = insert(all);
  remove(all);
  return hide(ptr);
}
void* of_map() {
  return of_node<std::map<int, long>>([](auto& all) { return &all[3]; }, [](auto& all) { all.erase(3); });
}
void* of_unordered_map() {
  return of_node<std::unordered_map<int, long>>([](auto& all) { return &all[3]; }, [](auto& all) { all.erase(3); });
}
void* of_list() {
  return of_node<std::list<long>>([](auto& all) { return &all.emplace_back(3); }, [](auto& all) { all.pop_back(); });
}
void* of_deque() {
  return of_node<std::deque<std::array<char, 600>>>([](auto& all) { return &all.emplace_back(); },
                                                    [](auto& all) { all = {}, all.shrink_to_fit(); });
}
void* of_unique_ptr() {
  auto owner = std::make_unique<long>(3);
  long* const ptr = owner.get();
  owner.reset();
  return hide(ptr);
}
void* of_shared_ptr() {
  auto owner = std::make_shared<long>(3);
  long* const ptr = owner.get();
  std::shared_ptr<long> other = std::move(owner);
  other.reset();
  return hide(ptr);
}
void* captured() {
  struct Large {
    long of[20] = {1, 2, 3};
    long* operator()() { return of; }
  };
  std::function<long*()> owner = Large();
  long* const ptr = owner();
  owner = nullptr;
  return hide(ptr);
}
void* a_long() { return new long(3); }

/// As text functions of C programs like to do.
char* reversed(const char* from) {
  const size_t length = strlen(from);
  char* const out = text(malloc(length + 1));
  for (size_t i = 0; i < length; ++i) out[i] = from[length - 1 - i];
  out[length] = 0;
  free(hide(out));
  return text(hide(out));
}
void* open_file() { return fopen("/dev/null", "r"); }
void close_file(void* file) { fclose(static_cast<FILE*>(file)); }

// --- uses ---

void copy_out(void* ptr) {
  static char other[kSize];
  memcpy(other, hide(ptr), 16);
  look(other);
}
void print(void* ptr) {
  static char line[2 * kSize];
  sum = sum + snprintf(line, sizeof line, "%s", text(hide(ptr)));
}
int ends[2];
void write_out(void* ptr) { sum = sum + write(ends[1], hide(ptr), 16); }
void read_in(void* ptr) {
  if (write(ends[1], kText, 16) == 16) sum = sum + read(ends[0], hide(ptr), 16);
}
void write_many(void* ptr) {
  iovec parts[] = {{const_cast<char*>(kText), 3}, {hide(ptr), 16}};
  sum = sum + writev(ends[1], parts, 2);
}
void send_message(void* ptr) {
  int pair[2];
  if (socketpair(AF_UNIX, SOCK_DGRAM, 0, pair) != 0) _exit(2);
  iovec part{hide(ptr), 16};
  msghdr message{};
  message.msg_iov = &part, message.msg_iovlen = 1;
  sum = sum + sendmsg(pair[0], &message, 0);
}
void open_named(void* ptr) { sum = sum + open(text(hide(ptr)), O_RDONLY | O_CLOEXEC); }

// --- what is not on the heap ---

char data[kSize] = "data";
const char constants[kSize] = "constants";
char* of_main;  // an array in main's frame
char* alloca_of_main;
void* array_in_main() { return of_main; }
void* alloca_in_main() { return alloca_of_main; }
void* static_data() { return data; }
void* static_constants() { return hide(const_cast<char*>(constants)); }
void* literal() { return hide(const_cast<char*>("a literal")); }
void* function() { return reinterpret_cast<void*>(&say); }

// --- pointers into a block ---

void* text_of_new() { return strcpy(new char[kSize], kText); }
template <void* (*make)(), int offset>
void* beside() {
  return text(hide(make())) + offset;
}
/// Looks for a letter, as Juliet's programs do, and loses where the text began.
void* searched() {
  char* found = text(text_of_malloc());
  while (*found != 'S') ++found;
  return hide(found);
}
void* token() {
  strtok(text(text_of_malloc()), " ");
  return hide(strtok(nullptr, " "));
}

struct Weakness {
  const char* name;
  Source bad_source, good_source;
  Sink bad_sink, good_sink;
} const kWeaknesses[] = {
    {"415 malloc", freed, malloced, free, nothing},
    {"415 malloc of 1", freed_malloc_of<1>, malloc_of<1>, free, nothing},
    {"415 malloc of 800", freed_malloc_of<800>, malloc_of<800>, free, nothing},
    {"415 malloc of 20000", freed_malloc_of<20'000>, malloc_of<20'000>, free, nothing},
    {"415 malloc of 1000000", freed_malloc_of<1'000'000>, malloc_of<1'000'000>, free, nothing},
    {"415 calloc", released<zeroed, free>, zeroed, free, nothing},
    {"415 realloc", released<reallocated, free>, reallocated, free, nothing},
    {"415 strdup", released<duplicated, free>, duplicated, free, nothing},
    {"415 aligned_alloc", released<aligned, free>, aligned, free, nothing},
    {"415 resized to nothing", resized_to_nothing, malloced, free, nothing},
    {"415 moved", moved, malloced, free, nothing},
    {"415 resize", freed, malloced, give_to_realloc, nothing},
    {"415 free and delete", freed, made_by_new, give_to_delete, nothing},
    {"415 new", released<made_by_new, give_to_delete>, made_by_new, give_to_delete, nothing},
    {"415 new[]", released<made_by_array_new, give_to_array_delete>, made_by_array_new, give_to_array_delete, nothing},
    {"415 shallow copy", copied_shallowly, array_of_char, give_to_array_delete, nothing},
    {"415 unique_ptr", released<new_int, own_uniquely>, new_int, own_uniquely, nothing},
    {"415 shared_ptr", released<new_int, own_together>, new_int, own_together, nothing},

    {"416 read", freed, malloced, look, nothing},
    {"416 read of 1", freed_malloc_of<1>, malloc_of<1>, look, nothing},
    {"416 read of 3000", freed_malloc_of<3000>, malloc_of<3000>, look, nothing},
    {"416 read of 1000000", freed_malloc_of<1'000'000>, malloc_of<1'000'000>, look, nothing},
    {"416 read of calloc", released<zeroed, free>, zeroed, look, nothing},
    {"416 read of new", released<made_by_new, give_to_delete>, made_by_new, look, nothing},
    {"416 read inside", [] { return hide(text(freed()) + 50); }, [] { return hide(text(malloced()) + 50); }, look,
     nothing},
    {"416 read of moved", moved, malloced, look, nothing},
    {"416 read of resized to nothing", resized_to_nothing, malloced, look, nothing},
    {"416 write", freed, malloced, smash, nothing},
    {"416 write of new[]", released<array_of_char, give_to_array_delete>, array_of_char, smash, nothing},
    {"416 memcpy", freed, malloced, copy_out, nothing},
    {"416 strlen", released<text_of_malloc, free>, text_of_malloc,
     [](void* ptr) { sum = sum + static_cast<long>(strlen(text(hide(ptr)))); }, nothing},
    {"416 printf", released<text_of_malloc, free>, text_of_malloc, print, nothing},
    {"416 strcpy", freed, malloced, [](void* ptr) { strcpy(text(hide(ptr)), "x"); }, nothing},
    {"416 virtual call", released<shape, end_shape>, shape, ask_shape, nothing},
    {"416 call through", released<callback, end_callback>, callback, call_back, nothing},
    {"416 returned", [] { return hide(reversed(kText)); }, text_of_malloc, look, nothing},
    {"416 assigned to itself", assigned_to_itself, array_of_char, look, nothing},
    {"416 write(2)", freed, malloced, write_out, nothing},
    {"416 read(2)", freed, malloced, read_in, nothing},
    {"416 writev(2)", freed, malloced, write_many, nothing},
    {"416 sendmsg(2)", freed, malloced, send_message, nothing},
    {"416 open(2)", released<text_of_malloc, free>, text_of_malloc, open_named, nothing},
    {"416 grown vector", of_grown_vector, a_long, look, nothing},
    {"416 shrunk vector", of_shrunk_vector, a_long, look, nothing},
    {"416 string", of_string, a_long, look, nothing},
    {"416 temporary", of_temporary, a_long, look, nothing},
    {"416 map", of_map, a_long, look, nothing},
    {"416 unordered_map", of_unordered_map, a_long, look, nothing},
    {"416 list", of_list, a_long, look, nothing},
    {"416 deque", of_deque, a_long, look, nothing},
    {"416 unique_ptr", of_unique_ptr, a_long, look, nothing},
    {"416 shared_ptr", of_shared_ptr, a_long, look, nothing},
    {"416 captured", captured, a_long, look, nothing},
    {"416 fclose", released<open_file, close_file>, open_file,
     [](void* file) { sum = sum + feof(static_cast<FILE*>(hide(file))); }, nothing},

    {"590 stack", array_in_main, malloced, free, nothing},
    {"590 alloca", alloca_in_main, malloced, free, nothing},
    {"590 static", static_data, malloced, free, nothing},
    {"590 constant", static_constants, malloced, free, nothing},
    {"590 literal", literal, malloced, free, nothing},
    {"590 function", function, malloced, free, nothing},
    {"590 stack to delete", array_in_main, made_by_new, give_to_delete, nothing},
    {"590 static to delete", static_data, made_by_new, give_to_delete, nothing},
    {"590 stack to delete[]", array_in_main, array_of_char, give_to_array_delete, nothing},
    {"590 static to delete[]", static_data, array_of_char, give_to_array_delete, nothing},
    {"590 stack to realloc", array_in_main, malloced, give_to_realloc, nothing},

    {"761 searched", searched, text_of_malloc, free, nothing},
    {"761 token", token, text_of_malloc, free, nothing},
    {"761 one on", beside<malloced, 1>, malloced, free, nothing},
    {"761 sixteen on", beside<malloced, 16>, malloced, free, nothing},
    {"761 last", beside<malloced, kSize - 1>, malloced, free, nothing},
    {"761 page on", beside<malloc_of<20'000>, 4096>, malloc_of<20'000>, free, nothing},
    {"761 calloc", beside<zeroed, 8>, zeroed, free, nothing},
    {"761 delete", beside<made_by_new, 16>, made_by_new, give_to_delete, nothing},
    {"761 delete[]", beside<text_of_new, 3>, text_of_new, give_to_array_delete, nothing},
    {"761 realloc", beside<malloced, 16>, malloced, give_to_realloc, nothing},
};

struct Circumstance {
  const char* name;
  bool aged, source_in_thread, sink_in_thread, sink_in_child;
} const kCircumstances[] = {
    {"now", false, false, false, false},
    {"aged", true, false, false, false},
    {"made by a thread", false, true, false, false},
    {"used by a thread", false, false, true, false},
    {"in a child", false, false, false, true},
    {"aged, between threads", true, true, true, false},
    {"aged, in a child", true, false, false, true},
    {"made by a thread, in a child", false, true, false, true},
};

const Weakness* weakness;
const Circumstance* circumstance;
Source source;
Sink sink;
long allocations;
int status = 0;

/// Blocks of many sizes come and go, some stay a while.
void age() {
  static void* shelf[1000];
  uint32_t random = 1;
  for (long i = 0; i < allocations; ++i) {
    random = random * 1664525 + 1013904223;
    void*& place = shelf[random >> 12 & 511];
    free(place);
    place = malloc(8 << (random >> 29));
    smash(place);
  }
  for (void* each : shelf) free(each);
}

void* make() {
  void* ptr = nullptr;
  if (circumstance->source_in_thread)
    std::thread([&] { ptr = source(); }).join();
  else
    ptr = source();
  if (circumstance->aged) age();
  say("at %p\n", ptr);
  return ptr;
}

void use(void* ptr) {
  if (circumstance->sink_in_child) {
    const pid_t child = fork();
    if (child == 0) {
      sink(ptr);
      exit(0);
    }
    int ended = 0;
    waitpid(child, &ended, 0);
    status = WIFSIGNALED(ended) ? 128 + WTERMSIG(ended) : WEXITSTATUS(ended);
  } else if (circumstance->sink_in_thread) {
    std::thread([&] { sink(ptr); }).join();
  } else {
    sink(ptr);
  }
}

template <typename Named>
const Named* named(const Named* first, const Named* last, const char* name) {
  for (; first != last && first->name != nullptr; ++first)
    if (strcmp(first->name, name) == 0) return first;
  fprintf(stderr, "no %s\n", name);
  _exit(2);
}

}  // namespace

int main(int count, char** argument) {
  if (count < 5 || pipe(ends) != 0) return 2;
  alignas(16) char array[kSize] = "array";
  of_main = static_cast<char*>(hide(array));
  alloca_of_main = static_cast<char*>(hide(__builtin_alloca(64)));
  weakness = named(kWeaknesses, std::end(kWeaknesses), argument[1]);
  const cwe::Flow* const flow = named<cwe::Flow>(cwe::flows, nullptr, argument[2]);
  circumstance = named(kCircumstances, std::end(kCircumstances), argument[3]);
  source = strcmp(argument[4], "good source") == 0 ? weakness->good_source : weakness->bad_source;
  sink = strcmp(argument[4], "good sink") == 0 ? weakness->good_sink : weakness->bad_sink;
  if (count > 5) allocations = atol(argument[5]);
  flow->run(make, use);
  say("done\n");
  return status;
}
