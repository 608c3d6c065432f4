#include "preload/trace_place.h"

#include <cerrno>

namespace poireau::trace {

bool make_place(Place&, std::string_view& why, std::span<char>) noexcept {
  why = "not yet";
  return false;
}
void forked_place() noexcept {}
int open_place(const Place&) noexcept { return -ENOENT; }
bool make_room(const Place&, uint64_t) noexcept { return true; }

}  // namespace poireau::trace
