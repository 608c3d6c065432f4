#include "preload/symbols.h"

#include <elf.h>
#include <link.h>

#include <algorithm>
#include <cstring>

namespace poireau {

const link_map* following(const link_map* file) noexcept { return file->l_next; }

namespace symbols {
namespace {

constexpr ElfW(Half) kHiddenVersion = 0x8000;

/// What a file's dynamic section points to.
struct Tables {
  const ElfW(Sym) * symbols = nullptr;
  const char* names = nullptr;
  const uint32_t* hash = nullptr;  // the GNU one; without it nothing is found (every Linux linker makes it)
  const ElfW(Half) * versions = nullptr;
};

Tables tables_of(const link_map& file) noexcept {
  Tables tables;
  for (const ElfW(Dyn)* entry = file.l_ld; entry != nullptr && entry->d_tag != DT_NULL; ++entry) {
    // glibc has made addresses of these, but for the file that the kernel brings.
    const ElfW(Addr) address = entry->d_un.d_ptr < file.l_addr ? entry->d_un.d_ptr + file.l_addr : entry->d_un.d_ptr;
    switch (entry->d_tag) {
      case DT_SYMTAB:
        tables.symbols = reinterpret_cast<const ElfW(Sym)*>(address);
        break;
      case DT_STRTAB:
        tables.names = reinterpret_cast<const char*>(address);
        break;
      case DT_GNU_HASH:
        tables.hash = reinterpret_cast<const uint32_t*>(address);
        break;
      case DT_VERSYM:
        tables.versions = reinterpret_cast<const ElfW(Half)*>(address);
        break;
      default:
        break;
    }
  }
  return tables;
}

uint32_t gnu_hash(const char* name) noexcept {
  uint32_t hash = 5381;
  for (; *name != 0; ++name) hash = hash * 33 + static_cast<unsigned char>(*name);
  return hash;
}

/// A symbol's newest version. What is there only for programs linked long ago (cfree) does not count.
const ElfW(Sym) * find_in(const Tables& tables, const char* name, uint32_t hash) noexcept {
  if (tables.hash == nullptr || tables.symbols == nullptr || tables.names == nullptr) return nullptr;
  const uint32_t buckets = tables.hash[0], first = tables.hash[1], bloom_words = tables.hash[2];
  if (buckets == 0 || bloom_words == 0) return nullptr;
  const auto* bloom = reinterpret_cast<const ElfW(Addr)*>(tables.hash + 4);
  const ElfW(Addr) seen = bloom[hash / 64 % bloom_words];
  if ((seen >> hash % 64 & seen >> (hash >> tables.hash[3]) % 64 & 1) == 0) return nullptr;
  const auto* bucket = tables.hash + 4 + bloom_words * (sizeof(ElfW(Addr)) / sizeof(uint32_t));
  const uint32_t* chain = bucket + buckets;
  for (uint32_t i = bucket[hash % buckets]; i >= first; ++i) {
    const ElfW(Sym)& symbol = tables.symbols[i];
    if ((chain[i - first] | 1) == (hash | 1) && symbol.st_shndx != SHN_UNDEF &&
        (tables.versions == nullptr || (tables.versions[i] & kHiddenVersion) == 0) &&
        std::strcmp(tables.names + symbol.st_name, name) == 0)
      return &symbol;
    if ((chain[i - first] & 1) != 0) break;
  }
  return nullptr;
}

void* address_of(const ElfW(Sym) & symbol, const link_map& file) noexcept {
  void* address = reinterpret_cast<void*>(file.l_addr + symbol.st_value);
  return ELF64_ST_TYPE(symbol.st_info) == STT_GNU_IFUNC ? reinterpret_cast<void* (*)()>(address)() : address;
}

const char* behind(const char* name) noexcept { return name + std::strlen(name) + 1; }

}  // namespace

void* find(const char* name, const link_map* first) noexcept {
  const uint32_t hash = gnu_hash(name);
  for (const link_map* file = first; file != nullptr; file = file->l_next)
    if (const ElfW(Sym)* symbol = find_in(tables_of(*file), name, hash); symbol != nullptr)
      return address_of(*symbol, *file);
  return nullptr;
}

void find_all(const char* names, std::span<void*> out, const link_map* first) noexcept {
  constexpr size_t kAtATime = 64;
  for (size_t begin = 0; begin < out.size(); begin += kAtATime) {
    const std::span some = out.subspan(begin, std::min(kAtATime, out.size() - begin));
    uint32_t hashes[kAtATime];
    const char* const first_name = names;
    for (size_t i = 0; i < some.size(); ++i, names = behind(names)) hashes[i] = gnu_hash(names);
    for (const link_map* file = first; file != nullptr; file = file->l_next) {
      const Tables tables = tables_of(*file);
      const char* name = first_name;
      for (size_t i = 0; i < some.size(); ++i, name = behind(name)) {
        const ElfW(Sym)* const symbol = some[i] == nullptr ? find_in(tables, name, hashes[i]) : nullptr;
        if (symbol != nullptr) some[i] = address_of(*symbol, *file);
      }
    }
  }
}

const link_map* program(const link_map* any) noexcept {
  while (any != nullptr && any->l_prev != nullptr) any = any->l_prev;
  return any;
}

}  // namespace symbols
}  // namespace poireau
