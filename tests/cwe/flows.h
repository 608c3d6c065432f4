#pragma once

/// The ways that a pointer takes from where it goes wrong to where it is used: a source makes it, a sink uses it.
namespace cwe {

using Source = void* (*)();
using Sink = void (*)(void*);

struct Flow {
  const char* name;
  void (*run)(Source source, Sink sink);
};
extern const Flow flows[];  // a nullptr is behind the last name

/// Parts of some that are in another file.
namespace elsewhere {
struct Parcel {
  long before;
  void* content;
  long behind;
};
void* take(Source source);
void give(Sink sink, void* ptr);
void unpack(Sink sink, Parcel parcel);
void from_address(Sink sink, void* const* where);
void deeper(Sink sink, void* ptr, int levels);
Sink chosen(Sink sink);
extern void* shelf;
void from_shelf(Sink sink);
struct Worker {
  virtual ~Worker();
  virtual void work(Sink sink, void* ptr) = 0;
};
Worker* worker();
bool yes();
}  // namespace elsewhere

}  // namespace cwe
