#include "poireau/native/symbols_stubs.h"

#include <cstring>
#include <string_view>
#include <unordered_map>

namespace poireau::symbols {
namespace {

constexpr size_t kStub = 16, kStubGot = 8;       // bytes
constexpr unsigned char kJump[] = {0xff, 0x25};  // jmp *rel32(%rip)
constexpr size_t kMostBytes = size_t{64} << 20;

/// The name of what is called by each word that is jumped through.
std::unordered_map<uint64_t, const char*> targets_of(const File& file) {
  std::unordered_map<uint64_t, const char*> out;
  for (Elf_Scn* section = nullptr; (section = elf_nextscn(file.elf(), section)) != nullptr;) {
    GElf_Shdr header, symbols;
    if (gelf_getshdr(section, &header) == nullptr || header.sh_type != SHT_RELA || header.sh_entsize == 0) continue;
    Elf_Scn* linked = elf_getscn(file.elf(), header.sh_link);
    if (gelf_getshdr(linked, &symbols) == nullptr || symbols.sh_type != SHT_DYNSYM) continue;
    Elf_Data *data = elf_getdata(section, nullptr), *names = elf_getdata(linked, nullptr);
    if (data == nullptr || names == nullptr) continue;
    for (size_t i = 0; i < data->d_size / header.sh_entsize; ++i) {
      GElf_Rela relocation;
      GElf_Sym symbol;
      if (gelf_getrela(data, static_cast<int>(i), &relocation) == nullptr) continue;
      const auto type = GELF_R_TYPE(relocation.r_info);
      if (type != R_X86_64_JUMP_SLOT && type != R_X86_64_GLOB_DAT) continue;
      if (gelf_getsym(names, static_cast<int>(GELF_R_SYM(relocation.r_info)), &symbol) == nullptr) continue;
      const char* name = elf_strptr(file.elf(), symbols.sh_link, symbol.st_name);
      if (name != nullptr && *name != '\0') out.try_emplace(relocation.r_offset, name);
    }
  }
  return out;
}

}  // namespace

std::vector<Stub> stubs_of(const File& file) {
  std::vector<Stub> out;
  GElf_Ehdr whole;
  size_t names = 0;
  if (!file || gelf_getehdr(file.elf(), &whole) == nullptr || whole.e_machine != EM_X86_64) return out;
  if (elf_getshdrstrndx(file.elf(), &names) != 0) return out;
  const auto targets = targets_of(file);
  if (targets.empty()) return out;
  for (Elf_Scn* section = nullptr; (section = elf_nextscn(file.elf(), section)) != nullptr;) {
    GElf_Shdr header;
    if (gelf_getshdr(section, &header) == nullptr || header.sh_type != SHT_PROGBITS) continue;
    const char* name = elf_strptr(file.elf(), names, header.sh_name);
    if (name == nullptr || strncmp(name, ".plt", 4) != 0 || header.sh_size > kMostBytes) continue;
    const Elf_Data* data = elf_rawdata(section, nullptr);
    if (data == nullptr || data->d_buf == nullptr) continue;
    const std::string_view code(static_cast<const char*>(data->d_buf), data->d_size);
    const size_t step = strcmp(name, ".plt.got") == 0 && header.sh_entsize == kStubGot ? kStubGot : kStub;
    for (size_t at = 0; at + step <= code.size(); at += step) {
      const size_t jump = code.substr(at, step).find({reinterpret_cast<const char*>(kJump), sizeof(kJump)});
      if (jump == std::string_view::npos || jump + sizeof(kJump) + sizeof(int32_t) > step) continue;
      int32_t distance = 0;
      memcpy(&distance, code.data() + at + jump + sizeof(kJump), sizeof(distance));
      const uint64_t next = header.sh_addr + at + jump + sizeof(kJump) + sizeof(distance);
      const auto target = targets.find(next + static_cast<uint64_t>(static_cast<int64_t>(distance)));
      if (target == targets.end()) continue;
      out.push_back({header.sh_addr + at, header.sh_addr + at + step, target->second + std::string("@plt")});
    }
  }
  return out;
}

}  // namespace poireau::symbols
