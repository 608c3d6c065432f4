#include "preload/build_id.h"

#include <elf.h>
#include <link.h>

#include <cstring>

namespace poireau {
namespace {

constexpr size_t padded(size_t size) noexcept { return (size + 3) & ~size_t{3}; }

std::span<const uint8_t> find_in(const uint8_t* notes, size_t size) noexcept {
  constexpr char kName[] = "GNU";
  while (size >= sizeof(ElfW(Nhdr))) {
    const auto& note = *reinterpret_cast<const ElfW(Nhdr)*>(notes);
    const size_t name = padded(note.n_namesz), whole = sizeof note + name + padded(note.n_descsz);
    if (whole > size) return {};
    if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == sizeof kName &&
        std::memcmp(notes + sizeof note, kName, sizeof kName) == 0)
      return {notes + sizeof note + name, note.n_descsz};
    notes += whole;
    size -= whole;
  }
  return {};
}

}  // namespace

std::span<const uint8_t> build_id_of(const void* begin, const void* end) noexcept {
  const auto* const first = static_cast<const uint8_t*>(begin);
  const auto size = static_cast<size_t>(static_cast<const uint8_t*>(end) - first);
  const auto& file = *static_cast<const ElfW(Ehdr)*>(begin);
  if (size < sizeof file || std::memcmp(file.e_ident, ELFMAG, SELFMAG) != 0 || file.e_phoff > size - sizeof file ||
      file.e_phnum > (size - file.e_phoff) / sizeof(ElfW(Phdr)))
    return {};
  const std::span headers(reinterpret_cast<const ElfW(Phdr)*>(first + file.e_phoff), file.e_phnum);
  uintptr_t lowest = UINTPTR_MAX;  // of its addresses: where `begin` is
  for (const auto& header : headers)
    if (header.p_type == PT_LOAD && header.p_vaddr < lowest) lowest = header.p_vaddr & ~uintptr_t{4095};
  for (const auto& header : headers) {
    if (header.p_type != PT_NOTE || header.p_vaddr < lowest) continue;
    const size_t at = header.p_vaddr - lowest;
    if (at > size || header.p_memsz > size - at) continue;
    if (const auto found = find_in(first + at, header.p_memsz); !found.empty()) return found;
  }
  return {};
}

}  // namespace poireau
