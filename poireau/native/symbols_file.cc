#include "poireau/native/symbols_file.h"

#include <elfutils/libdwelf.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

namespace poireau::symbols {

File::File(const char* path) {
  if (path != nullptr) open(::open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
}

// Descriptors stay open: the process that reads files ends when it has read them.
void File::open(int descriptor) {
  elf_version(EV_CURRENT);
  if (descriptor >= 0) elf_.reset(dwelf_elf_begin(descriptor));
  if (elf_ != nullptr && elf_kind(elf_.get()) != ELF_K_ELF) elf_.reset();
}

File File::inside(const File& whole) {
  File out;
  size_t names = 0;
  if (!whole || elf_getshdrstrndx(whole.elf(), &names) != 0) return out;
  for (Elf_Scn* section = nullptr; (section = elf_nextscn(whole.elf(), section)) != nullptr;) {
    GElf_Shdr header;
    if (gelf_getshdr(section, &header) == nullptr || header.sh_type == SHT_NOBITS) continue;
    const char* name = elf_strptr(whole.elf(), names, header.sh_name);
    if (name == nullptr || strcmp(name, ".gnu_debugdata") != 0) continue;
    const Elf_Data* data = elf_rawdata(section, nullptr);
    const int memory = data == nullptr ? -1 : memfd_create("symbols", MFD_CLOEXEC);
    if (memory < 0 || write(memory, data->d_buf, data->d_size) != static_cast<ssize_t>(data->d_size)) return out;
    out.open(memory);
    return out;
  }
  return out;
}

Code::Code(const File& file) {
  size_t count = 0;
  if (!file || elf_getphdrnum(file.elf(), &count) != 0) return;
  for (size_t i = 0; i < count; ++i) {
    GElf_Phdr header;
    if (gelf_getphdr(file.elf(), static_cast<int>(i), &header) == nullptr) continue;
    if (header.p_type != PT_LOAD || (header.p_flags & PF_X) == 0) continue;
    ranges_.push_back({header.p_vaddr, header.p_vaddr + header.p_memsz});
  }
}

bool Code::has(uint64_t address) const {
  return ranges_.empty() || std::any_of(ranges_.begin(), ranges_.end(), [&](const Range& range) {
           return address >= range.begin && address < range.end;
         });
}

}  // namespace poireau::symbols
