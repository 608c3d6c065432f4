#include "poireau/native/symbols_table.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace poireau::symbols {
namespace {

constexpr size_t kMostEnclosing = 1000;  // symbols looked at that began before an address; a sound file has few

// Of a function's aliases the one that people know: `puts` rather than `_IO_puts`, and what is exported.
int rank_of(const char* name, unsigned char binding) {
  const bool mangled = strncmp(name, "_Z", 2) == 0 || strncmp(name, "_R", 2) == 0;
  const int underscores = mangled ? 0 : static_cast<int>(strspn(name, "_"));
  return (binding == STB_LOCAL ? 16 : 0) + std::min(underscores, 3) * 4 + (binding == STB_WEAK ? 1 : 0);
}

bool is_function(const GElf_Sym& symbol, const char* name) {
  const unsigned type = GELF_ST_TYPE(symbol.st_info);
  if (symbol.st_shndx == SHN_UNDEF || symbol.st_shndx == SHN_ABS || name == nullptr || *name == '\0') return false;
  if (type == STT_NOTYPE) return *name != '$';  // on ARM, what follows is code or data
  return type == STT_FUNC || type == STT_GNU_IFUNC;
}

uint64_t reach_of(const File& file, const GElf_Sym& symbol) {
  GElf_Shdr header;
  if (symbol.st_size != 0 || gelf_getshdr(elf_getscn(file.elf(), symbol.st_shndx), &header) == nullptr) return 0;
  return header.sh_addr + header.sh_size;
}

}  // namespace

void Table::add(const File& file) {
  if (!file) return;
  for (const unsigned kind : {SHT_SYMTAB, SHT_DYNSYM}) {
    const size_t before = symbols_.size();
    for (Elf_Scn* section = nullptr; (section = elf_nextscn(file.elf(), section)) != nullptr;) {
      GElf_Shdr header;
      if (gelf_getshdr(section, &header) != nullptr && header.sh_type == kind) add(file, section, header);
    }
    if (symbols_.size() != before) return;
  }
}

void Table::add(const File& file, Elf_Scn* section, const GElf_Shdr& header) {
  Elf_Data* data = elf_getdata(section, nullptr);
  if (data == nullptr || header.sh_entsize == 0) return;
  const size_t count = data->d_size / header.sh_entsize;
  for (size_t i = 0; i < count; ++i) {
    GElf_Sym symbol;
    if (gelf_getsym(data, static_cast<int>(i), &symbol) == nullptr || !code_.has(symbol.st_value)) continue;
    const char* name = elf_strptr(file.elf(), header.sh_link, symbol.st_name);
    if (!is_function(symbol, name)) continue;
    symbols_.push_back({symbol.st_value, symbol.st_value + symbol.st_size, reach_of(file, symbol), name,
                        rank_of(name, static_cast<unsigned char>(GELF_ST_BIND(symbol.st_info)))});
  }
}

void Table::add(std::vector<Stub> stubs) {
  stubs_ = std::move(stubs);
  for (const Stub& stub : stubs_) symbols_.push_back({stub.begin, stub.end, 0, stub.name.c_str(), 0});
}

void Table::sort() {
  std::stable_sort(symbols_.begin(), symbols_.end(), [](const Symbol& one, const Symbol& other) {
    return one.begin != other.begin ? one.begin < other.begin : one.rank > other.rank;
  });
  furthest_.reserve(symbols_.size());
  uint64_t furthest = 0;
  for (const Symbol& symbol : symbols_) furthest_.push_back(furthest = std::max(furthest, symbol.end));
}

const Table::Symbol* Table::find(uint64_t address) const {
  const auto after = std::upper_bound(symbols_.begin(), symbols_.end(), address,
                                      [](uint64_t at, const Symbol& symbol) { return at < symbol.begin; });
  const size_t nearest = static_cast<size_t>(after - symbols_.begin());
  const size_t first = nearest - std::min(nearest, kMostEnclosing);
  for (size_t i = nearest; i-- > first && furthest_[i] > address;) {
    if (symbols_[i].end > address) return &symbols_[i];
  }
  if (nearest == 0) return nullptr;
  const Symbol& last = symbols_[nearest - 1];
  return last.begin == last.end && address < last.reach ? &last : nullptr;
}

}  // namespace poireau::symbols
