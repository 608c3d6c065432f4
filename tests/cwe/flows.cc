#include "flows.h"

#include <pthread.h>
#include <setjmp.h>

#include <cstdarg>
#include <cstring>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <queue>
#include <string>
#include <thread>
#include <vector>

namespace cwe {
namespace {

volatile int five = 5;
void* global;
thread_local void* of_thread;

struct Scope {  // the constructor takes, the destructor gives
  Scope(Source source, Sink sink) : sink_(sink), ptr_(source()) {}
  ~Scope() { sink_(ptr_); }
  Sink sink_;
  void* ptr_;
};

void give_all(Sink sink, int count, ...) {
  va_list list;
  va_start(list, count);
  for (int i = 0; i < count; ++i) sink(va_arg(list, void*));
  va_end(list);
}

template <typename Pointer>
void give_any(Sink sink, Pointer ptr) {
  sink(static_cast<void*>(ptr));
}

void* returned(Source source) {
  void* const ptr = source();
  return ptr;
}
void by_reference(Source source, void*& out) { out = source(); }
void by_pointer(Source source, void** out) { *out = source(); }

}  // namespace

const Flow flows[] = {
    {"straight", [](Source source, Sink sink) { sink(source()); }},
    {"if",
     [](Source source, Sink sink) {
       void* ptr = nullptr;
       if (five == 5) ptr = source();
       if (five == 5) sink(ptr);
     }},
    {"if of a function",
     [](Source source, Sink sink) {
       void* const ptr = elsewhere::yes() ? source() : nullptr;
       if (elsewhere::yes()) sink(ptr);
     }},
    {"switch",
     [](Source source, Sink sink) {
       void* ptr = nullptr;
       switch (five) {
         case 5:
           ptr = source();
           break;
         default:
           return;
       }
       switch (five) {
         case 4:
           break;
         default:
           sink(ptr);
       }
     }},
    {"while",
     [](Source source, Sink sink) {
       void* ptr = nullptr;
       while (ptr == nullptr) ptr = source();
       do sink(ptr);
       while (five != 5);
     }},
    {"for",
     [](Source source, Sink sink) {
       void* ptr[3] = {};
       for (int i = 0; i < 3; ++i)
         if (i == 1) ptr[i] = source();
       for (void* each : ptr)
         if (each != nullptr) sink(each);
     }},
    {"goto",
     [](Source source, Sink sink) {
       void* ptr = source();
       if (five == 5) goto use;
       ptr = nullptr;
     use:
       sink(ptr);
     }},
    {"copy",
     [](Source source, Sink sink) {
       void* const first = source();
       void* copy;
       memcpy(&copy, &first, sizeof copy);
       sink(copy);
     }},
    {"return", [](Source source, Sink sink) { sink(returned(source)); }},
    {"reference",
     [](Source source, Sink sink) {
       void* ptr = nullptr;
       by_reference(source, ptr);
       sink(ptr);
     }},
    {"pointer to pointer",
     [](Source source, Sink sink) {
       void* ptr = nullptr;
       by_pointer(source, &ptr);
       elsewhere::from_address(sink, &ptr);
     }},
    {"pointer to function",
     [](Source source, Sink sink) {
       Sink (*volatile choose)(Sink) = elsewhere::chosen;
       choose(sink)(source());
     }},
    {"union",
     [](Source source, Sink sink) {
       union {
         void* ptr;
         unsigned long number;
       } both;
       both.ptr = source();
       volatile unsigned long number = both.number;
       sink(reinterpret_cast<void*>(number));
     }},
    {"array",
     [](Source source, Sink sink) {
       void* ptrs[8] = {};
       ptrs[five] = source();
       sink(ptrs[five]);
     }},
    {"member",
     [](Source source, Sink sink) {
       elsewhere::Parcel parcel{1, source(), 2};
       elsewhere::unpack(sink, parcel);
     }},
    {"member on the heap",
     [](Source source, Sink sink) {
       const auto parcel = std::make_unique<elsewhere::Parcel>();
       parcel->content = source();
       elsewhere::unpack(sink, *parcel);
     }},
    {"global", [](Source source, Sink sink) { global = source(), sink(global); }},
    {"thread's own", [](Source source, Sink sink) { of_thread = source(), sink(of_thread); }},
    {"variadic", [](Source source, Sink sink) { give_all(sink, 1, source()); }},
    {"template", [](Source source, Sink sink) { give_any(sink, static_cast<char*>(source())); }},
    {"lambda",
     [](Source source, Sink sink) {
       const std::function<void()> use = [ptr = source(), sink] { sink(ptr); };
       use();
     }},
    {"exception",
     [](Source source, Sink sink) {
       try {
         throw source();
       } catch (void* ptr) {
         sink(ptr);
       }
     }},
    {"jump",
     [](Source source, Sink sink) {
       static jmp_buf back;
       static void* volatile ptr;
       if (setjmp(back) == 0) {
         ptr = source();
         longjmp(back, 1);
       }
       sink(ptr);
     }},
    {"constructor and destructor", [](Source source, Sink sink) { Scope scope(source, sink); }},
    {"virtual method", [](Source source, Sink sink) { elsewhere::worker()->work(sink, source()); }},
    {"vector",
     [](Source source, Sink sink) {
       std::vector<void*> all(3);
       all.push_back(source());
       sink(all.back());
     }},
    {"list",
     [](Source source, Sink sink) {
       std::list<void*> all{nullptr, source()};
       sink(all.back());
     }},
    {"map",
     [](Source source, Sink sink) {
       std::map<std::string, void*> all;
       all["it"] = source();
       sink(all.at("it"));
     }},
    {"optional",
     [](Source source, Sink sink) {
       std::optional<void*> maybe;
       maybe = source();
       sink(maybe.value());
     }},
    {"queue between threads",
     [](Source source, Sink sink) {
       std::queue<void*> queue;
       std::thread([&] { queue.push(source()); }).join();
       std::thread([&] { sink(queue.front()); }).join();
     }},
    {"argument of a thread",
     [](Source source, Sink sink) {
       struct Work {
         Sink sink;
         void* ptr;
       } work{sink, source()};
       pthread_t thread;
       const auto body = [](void* argument) -> void* {
         const Work* const given = static_cast<Work*>(argument);
         given->sink(given->ptr);
         return nullptr;
       };
       if (pthread_create(&thread, nullptr, body, &work) == 0) pthread_join(thread, nullptr);
     }},
    {"source elsewhere", [](Source source, Sink sink) { sink(elsewhere::take(source)); }},
    {"sink elsewhere", [](Source source, Sink sink) { elsewhere::give(sink, source()); }},
    {"five functions deep", [](Source source, Sink sink) { elsewhere::deeper(sink, source(), five); }},
    {"global elsewhere", [](Source source, Sink sink) { elsewhere::shelf = source(), elsewhere::from_shelf(sink); }},
    {nullptr, nullptr},
};

}  // namespace cwe
