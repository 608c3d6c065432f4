#include "poireau/native/replay_functions.h"

#include <dlfcn.h>

#include <cstring>

namespace poireau::replay {
namespace {

struct Known {
  std::string_view name;
  How how;
};
constexpr Known kBirths[] = {
    {"malloc", How::malloc},
    {"calloc", How::calloc},
    {"memalign", How::memalign},
    {"aligned_alloc", How::aligned_alloc},
    {"valloc", How::valloc},
    {"posix_memalign", How::posix_memalign},
    {"pvalloc", How::pvalloc},
    {"operator new", How::scalar_new},
    {"realloc", How::realloc},
    {"operator new[]", How::array_new},
    {"reallocarray", How::reallocarray},
};
constexpr Known kReleases[] = {
    {"free", How::free},
    {"cfree", How::free},
    {"operator delete", How::scalar_delete},
    {"operator delete[]", How::array_delete},
    {"realloc", How::realloc},  // to no bytes
    {"", How::free},            // recorded when nobody could write: nobody knows by what
};

/// Whether this allocator has it. A family that is torn apart must not be called.
bool has(const char* name) noexcept {
  Dl_info its{}, mallocs{};
  return dladdr(dlsym(RTLD_DEFAULT, name), &its) != 0 && dladdr(dlsym(RTLD_DEFAULT, "malloc"), &mallocs) != 0 &&
         its.dli_fbase == mallocs.dli_fbase;
}

}  // namespace

Stand stand_for(const Function& function) noexcept {
  const auto says = [&](std::string_view part) { return function.name.find(part) != function.name.npos; };
  const bool release = function.form == Form::release;
  if (release) {
    for (const Known& known : kReleases)
      if (known.name == function.name) return {known.how, nullptr};
    if (says("realloc")) return {How::realloc, "realloc"};
    return {How::free, "free"};
  }
  if (function.form == Form::resize) {
    if (function.name == "reallocarray" && has("reallocarray")) return {How::reallocarray, nullptr};
    return {How::realloc, function.name == "realloc" ? nullptr : "realloc"};
  }
  for (const Known& known : kBirths) {
    if (known.name != function.name) continue;
    if (known.how == How::scalar_new && function.aligned) return {How::aligned_scalar_new, nullptr};
    if (known.how == How::array_new && function.aligned) return {How::aligned_array_new, nullptr};
    const bool basic = known.how == How::malloc || known.how == How::calloc || known.how == How::realloc ||
                       known.how == How::scalar_new || known.how == How::array_new;
    char name[32]{};
    std::memcpy(name, known.name.data(), known.name.size());
    if (basic || has(name)) return {known.how, nullptr};
  }
  if (function.aligned && has("memalign")) return {How::memalign, "memalign"};
  if (says("calloc") || says("zalloc")) return {How::calloc, "calloc"};
  return {How::malloc, "malloc"};
}

const char* allocator(const char*& lacks) noexcept {
  lacks = nullptr;
  for (const char* name : {"malloc", "calloc", "realloc", "free"})
    if (lacks == nullptr && !has(name)) lacks = name;
  Dl_info info{};
  return dladdr(dlsym(RTLD_DEFAULT, "malloc"), &info) != 0 ? info.dli_fname : nullptr;
}

}  // namespace poireau::replay
