#include "preload/pieces.h"

#include <sys/auxv.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <cstring>

#include "preload/base/cpu.h"
#include "preload/base/sys.h"
#include "preload/kinds.h"
#include "preload/sandbox.h"
#include "tracked_alloc/remap.h"
#include "tracked_alloc/tracked_alloc.h"

namespace poireau::calls {
namespace {

constexpr uintptr_t kPage = 4096;
constexpr size_t kMostParts = UIO_MAXIOV, kMostStrings = 4096, kMostFiles = 1 << 20;

constexpr uintptr_t next_page(uintptr_t at) noexcept { return (at | (kPage - 1)) + 1; }

bool in_live_home(uintptr_t address, size_t size) noexcept {
  if (!tracked_alloc::remap::owns(address)) return false;
  const auto [found, block, offset] = tracked_alloc::remap::find(address);
  return found == tracked_alloc::remap::Answer::Found::live && offset >= 0 &&
         static_cast<size_t>(offset) + size <= block.size;
}

/// Whether we may read it. It may be what is wrong with the call, and not even be ours.
bool may_read(uintptr_t address, size_t size) noexcept {
  if (on_stack(address) || in_live_home(address, size)) return true;
  if (sandbox::state() != sandbox::State::open) return false;  // we may not even ask
  for (const uintptr_t end = address + size; address < end; address = next_page(address))
    if (!sys::readable(reinterpret_cast<const void*>(address))) return false;
  return true;
}

/// Shows pieces until one is enough.
class Show {
 public:
  explicit Show(Visitor visitor) noexcept : visitor_(visitor) {}

  bool bytes(Use use, uintptr_t address, size_t size, bool certain = true) noexcept {
    return address != 0 && size != 0 && visitor_.visit(visitor_.self, {address, size, use, certain});
  }
  bool bytes(Use use, const void* memory, size_t size) noexcept {
    return bytes(use, reinterpret_cast<uintptr_t>(memory), size);
  }

  /// Its first byte. Where that is in a home, the rest may be beyond it.
  bool string(uintptr_t address) noexcept {
    if (bytes(Use::given, address, 1)) return true;
    if (!tracked_alloc::owns(reinterpret_cast<const void*>(address)) || !may_read(address, 1)) return false;
    const uintptr_t end = next_page(address);
    return std::memchr(reinterpret_cast<const void*>(address), 0, end - address) == nullptr &&
           bytes(Use::given, end, 1);
  }

  bool strings(uintptr_t address) noexcept {
    for (size_t i = 0; i < kMostStrings && address != 0; ++i, address += sizeof(uintptr_t)) {
      if (i == 0 || address % kPage == 0) {
        if (bytes(Use::given, address, sizeof(uintptr_t))) return true;
        if (!may_read(address, sizeof(uintptr_t))) return false;
      }
      const uintptr_t text = *reinterpret_cast<const uintptr_t*>(address);
      if (text == 0) return false;
      if (string(text)) return true;
    }
    return false;
  }

  bool vector(Use use, const iovec* parts, size_t count) noexcept {
    count = std::min(count, kMostParts);
    if (bytes(Use::given, parts, count * sizeof *parts)) return true;
    if (!may_read(reinterpret_cast<uintptr_t>(parts), count * sizeof *parts)) return false;
    return std::any_of(parts, parts + count,
                       [&](const iovec& part) { return bytes(use, part.iov_base, part.iov_len); });
  }

  bool message(Use use, const msghdr* header) noexcept {
    if (bytes(Use::given, header, sizeof *header)) return true;
    if (header == nullptr || !may_read(reinterpret_cast<uintptr_t>(header), sizeof *header)) return false;
    const bool fills = use == Use::filled;
    const auto rest = [&] {
      const Use rests = fills ? Use::answered : use;
      return bytes(rests, header->msg_name, header->msg_namelen) ||
             bytes(rests, header->msg_control, header->msg_controllen);
    };
    if (!fills && rest()) return true;
    return vector(use, header->msg_iov, header->msg_iovlen) || (fills && rest());
  }

  bool room(Use use, uintptr_t address, uintptr_t length) noexcept {
    if (bytes(use, length, sizeof(socklen_t))) return true;
    if (address == 0 || length == 0 || !may_read(length, sizeof(socklen_t))) return false;
    return bytes(use, address, std::min<size_t>(*reinterpret_cast<const socklen_t*>(length), sizeof(sockaddr_storage)));
  }

 private:
  Visitor visitor_;
};

size_t size_of(const Memory& memory, const Words& words) noexcept {
  size_t size = memory.unit;
  for (const unsigned parameter : {unsigned{memory.by}, unsigned{memory.times}}) {
    if (parameter == kParameters) continue;
    const uint64_t word = memory.narrow ? static_cast<uint32_t>(words[parameter]) : words[parameter];
    if (__builtin_mul_overflow(size, word, &size)) return 0;
  }
  return size;
}

bool show(const Memory& memory, const Words& words, Show& show) noexcept {
  const uintptr_t at = words[memory.at];
  const size_t size = size_of(memory, words);
  switch (memory.shape) {
    case Shape::bytes:
    case Shape::mask:
      return show.bytes(memory.use, at, size);
    case Shape::string:
      return show.string(at);
    case Shape::strings:
      return show.strings(at);
    case Shape::vector:
      return show.vector(memory.use, reinterpret_cast<const iovec*>(at), static_cast<uint32_t>(size));
    case Shape::message:
      return show.message(memory.use, reinterpret_cast<const msghdr*>(at));
    case Shape::messages:  // Only the first: where a later one is at fault, the call returns how many it got done.
      return show.message(memory.use, &reinterpret_cast<const mmsghdr*>(at)->msg_hdr);
    case Shape::room:
      return show.room(memory.use, at, words[memory.by]);
    case Shape::bits:
      return show.bytes(memory.use, at, (std::min<size_t>(static_cast<uint32_t>(size), kMostFiles) + 63) / 64 * 8);
    case Shape::perhaps:
      return show.bytes(Use::answered, at, 1, false);
  }
  return false;
}

}  // namespace

bool on_stack(uintptr_t address) noexcept {
  const auto here = reinterpret_cast<uintptr_t>(__builtin_frame_address(0));
  const auto thread = cpu::thread_pointer();
  return address >= here && address < (thread > here ? thread : getauxval(AT_RANDOM));
}

tracked_alloc::Block block_of(const pools::Object& object) noexcept {
  tracked_alloc::Block block{};
  block.address = object.address;
  block.size = block.room = object.size;
  block.kind = kOfPool;
  block.live = object.live;
  return block;
}

void for_each_piece(const Call& call, const Words& words, Visitor visitor) noexcept {
  Show shown(visitor);
  for (const Memory& memory : call.memory)
    if (show(memory, words, shown)) return;
}

}  // namespace poireau::calls
