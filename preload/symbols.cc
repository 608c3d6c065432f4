#include "preload/symbols.h"

#include <elf.h>
#include <link.h>

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
  if (buckets == 0) return nullptr;
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

}  // namespace

void* find(const char* name, const link_map* first) noexcept {
  const uint32_t hash = gnu_hash(name);
  for (const link_map* file = first; file != nullptr; file = file->l_next) {
    const ElfW(Sym)* symbol = find_in(tables_of(*file), name, hash);
    if (symbol == nullptr) continue;
    void* address = reinterpret_cast<void*>(file->l_addr + symbol->st_value);
    return ELF64_ST_TYPE(symbol->st_info) == STT_GNU_IFUNC ? reinterpret_cast<void* (*)()>(address)() : address;
  }
  return nullptr;
}

const link_map* program(const link_map* any) noexcept {
  while (any != nullptr && any->l_prev != nullptr) any = any->l_prev;
  return any;
}

}  // namespace symbols
}  // namespace poireau
