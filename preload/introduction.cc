#include "preload/introduction.h"

#include <dlfcn.h>
#include <link.h>
#include <sys/auxv.h>

#include <algorithm>
#include <span>
#include <utility>

#include "config/options.h"
#include "preload/base/random.h"
#include "preload/base/sys.h"
#include "preload/base/text.h"
#include "preload/build_id.h"
#include "preload/process.h"
#include "preload/stack.h"
#include "preload/trace_names.h"
#include "tracked_alloc/homes.h"

namespace poireau::journal {
namespace {

constexpr size_t kRoom = 32 << 10;

constinit std::string_view allocator{};

/// What has been written of it so far; what doesn't fit is cut.
class Gathered {
 public:
  explicit Gathered(std::span<char> room) noexcept : room_(room) {}
  void add(std::string_view text) noexcept {
    const size_t size = std::min(text.size(), room_.size() - size_);
    std::copy_n(text.begin(), size, room_.begin() + static_cast<ptrdiff_t>(size_));
    size_ += size;
  }
  [[nodiscard]] std::string_view view() const noexcept { return {room_.data(), size_}; }

 private:
  std::span<char> room_;
  size_t size_ = 0;
};

/// A file's beginning, a view into `room`; empty if it can't be read.
std::string_view content_of(const char* path, std::span<char> room) noexcept {
  const int file = sys::open_to_read(path);
  if (file < 0) return {};
  size_t size = 0;
  for (int64_t got; size < room.size() && (got = sys::read(file, room.subspan(size))) > 0;)
    size += static_cast<size_t>(got);
  sys::close(file);
  return {room.data(), size};
}

uint64_t hash_of(std::string_view text) noexcept {
  uint64_t hash = text.size();
  for (const char c : text) hash = scramble(hash ^ static_cast<unsigned char>(c));
  return hash;
}

std::span<const uint8_t> build_id_of_program() noexcept {
  dl_find_object found;
  auto* const entry = reinterpret_cast<void*>(getauxval(AT_ENTRY));
  if (_dl_find_object(entry, &found) != 0) return {};
  return build_id_of(found.dlfo_map_start, found.dlfo_map_end);
}

std::string_view options_in_force(std::span<char> room) noexcept {
  Gathered text(room);
  for (const config::OptionInfo& option : config::all_options()) {
    Text scratch;
    text.add(option.name());
    text.add("=");
    text.add(option.show(scratch));
    text.add("\n");
  }
  return text.view();
}

}  // namespace

void set_allocator(std::string_view file) noexcept { allocator = file; }

bool introduce(void (*tell)(const event::Any& event)) noexcept {
  auto* const scratch = static_cast<char*>(sys::map(kRoom));
  if (scratch == nullptr) return false;
  const std::span room(scratch, kRoom);
  const auto [id, parent] = std::pair(process::run_id(), process::parent());
  char host[65];

  event::Process event;
  event.run_id_high = id.high;
  event.run_id_low = id.low;
  event.parent_run_id_high = parent.high;
  event.parent_run_id_low = parent.low;
  event.generation = process::generation();
  event.process = static_cast<uint32_t>(sys::process_id());
  trace::Maker ourselves;
  if (trace::know_ourselves(ourselves)) event.start_time = ourselves.start;
  event.executable = process::executable();
  event.build_id = build_id_of_program();
  event.arguments = hash_of(content_of("/proc/self/cmdline", room));
  event.page_size = 4096;
  event.host = sys::host_name(host);
  event.version = POIREAU_VERSION;
  event.allocator = allocator;
  event.unwinder = stack::unwinder();
  event.guards = tracked_alloc::pages::name_of(tracked_alloc::mechanism());
  event.options = options_in_force(room);
  tell(event);
  sys::unmap(scratch, kRoom);
  return true;
}

}  // namespace poireau::journal
