#include <dlfcn.h>
#include <elf.h>
#include <link.h>
#include <sys/syscall.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>

#include "preload/base/sys.h"
#include "preload/module.h"
#include "preload/process.h"
#include "preload/sandbox.h"
#include "preload/stack.h"
#include "preload/thread.h"

// libunwind is fast once it has seen the code, and dangerous. Linked, it would catch the program's exceptions, so it
// is loaded, out of the program's sight. It looks whether memory can be read by writing it into a pipe, whose numbers
// it goes on using after the program has closed them and got them for files of its own; and it looks for a file's
// tables under the loader's lock, for which the program may make us wait while it waits for us. What it calls for
// these is replaced in its own table of functions. What it has learnt of code that has gone since it never forgets,
// and a fork child may find its locks taken for good: from then on it isn't asked any more.

// libdl's; not there in static programs.
#pragma weak dlopen
#pragma weak dlsym
#pragma weak dlerror

namespace poireau::stack {
namespace {

using Backtrace = int (*)(void** frames, int most);
using Visit = int (*)(dl_phdr_info* file, size_t size, void* data);

constinit Backtrace backtrace = nullptr;
constinit uint64_t forks = 0;
constinit std::atomic<bool> code_has_gone{false};

/// A thread that is inside libunwind must not enter it again, as it would with the memory that libc asks for when a
/// thread first uses the library's own variables, and in a signal handler. Those use libgcc, like threads whose place
/// is taken.
class Turn {
 public:
  Turn() noexcept : slot_(slots_[thread_number() % slots_.size()]), free_(!slot_.exchange(true)) {}
  ~Turn() {
    if (free_) slot_.store(false, std::memory_order_release);
  }
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;
  explicit operator bool() const noexcept { return free_; }

 private:
  static constinit std::array<std::atomic<bool>, 256> slots_;
  std::atomic<bool>& slot_;
  bool free_;
};
constinit std::array<std::atomic<bool>, 256> Turn::slots_{};

int no_pipe(int* ends, int) noexcept {
  ends[0] = ends[1] = -1;
  return 0;
}

/// For syscall(SYS_write, the pipe, at, 1), which is all it uses syscall for.
long try_to_read(long number, long, const void* at, size_t) noexcept {
  if (number == SYS_write && sys::readable(at)) return 1;
  errno = EFAULT;
  return -1;
}

/// For dl_iterate_phdr: visits the one file it looks for. Its `data` begins with the address it wants to know about.
int visit_file(Visit visit, void* data) noexcept {
  dl_find_object found;
  if (_dl_find_object(*static_cast<void**>(data), &found) != 0) return 0;
  const auto* const header = static_cast<const ElfW(Ehdr)*>(found.dlfo_map_start);
  if (std::memcmp(header->e_ident, ELFMAG, SELFMAG) != 0) return 0;
  dl_phdr_info file{};
  file.dlpi_addr = found.dlfo_link_map->l_addr;
  file.dlpi_name = found.dlfo_link_map->l_name;
  file.dlpi_phdr = reinterpret_cast<const ElfW(Phdr)*>(reinterpret_cast<uintptr_t>(header) + header->e_phoff);
  file.dlpi_phnum = header->e_phnum;
  return visit(&file, sizeof file, data);
}

struct Replacement {
  std::string_view name;
  uintptr_t by;
};

/// Has the file's calls of these functions go elsewhere. False: it hasn't exactly one entry for each.
bool replace(const link_map& file, std::span<const Replacement> replacements) noexcept {
  const ElfW(Rela)* entries = nullptr;
  const ElfW(Sym)* symbols = nullptr;
  const char* names = nullptr;
  size_t count = 0;
  for (const ElfW(Dyn)* entry = file.l_ld; entry->d_tag != DT_NULL; ++entry) {
    if (entry->d_tag == DT_JMPREL) entries = reinterpret_cast<const ElfW(Rela)*>(entry->d_un.d_ptr);
    if (entry->d_tag == DT_PLTRELSZ) count = entry->d_un.d_val / sizeof *entries;
    if (entry->d_tag == DT_SYMTAB) symbols = reinterpret_cast<const ElfW(Sym)*>(entry->d_un.d_ptr);
    if (entry->d_tag == DT_STRTAB) names = reinterpret_cast<const char*>(entry->d_un.d_ptr);
  }
  if (entries == nullptr || symbols == nullptr || names == nullptr) return false;
  constexpr size_t kMost = 4;
  std::array<uintptr_t*, kMost> slots{};
  for (size_t i = 0; i < count; ++i)
    for (size_t j = 0; j < replacements.size(); ++j) {
      if (names + symbols[ELF64_R_SYM(entries[i].r_info)].st_name != replacements[j].name) continue;
      if (slots[j] != nullptr) return false;
      slots[j] = reinterpret_cast<uintptr_t*>(file.l_addr + entries[i].r_offset);
    }
  const auto of_ours = std::span(slots).first(replacements.size());
  if (std::ranges::count(of_ours, nullptr) != 0) return false;
  for (size_t j = 0; j < of_ours.size(); ++j) {
    constexpr uintptr_t kPage = 4096;
    void* const page = reinterpret_cast<void*>(reinterpret_cast<uintptr_t>(of_ours[j]) & ~(kPage - 1));
    if (sys::protect(page, kPage, true) != 0) return false;
    __atomic_store_n(of_ours[j], replacements[j].by, __ATOMIC_RELAXED);
  }
  return true;
}

template <typename Function>
uintptr_t address_of(Function* function) noexcept {
  return reinterpret_cast<uintptr_t>(function);
}

bool begin() noexcept {
  if (dlopen == nullptr || sandbox::state() != sandbox::State::open) return false;
  const auto* const file = static_cast<const link_map*>(dlopen("libunwind.so.8", RTLD_NOW | RTLD_LOCAL));
  void* const found = file != nullptr ? dlsym(const_cast<link_map*>(file), "unw_backtrace") : nullptr;
  if (found == nullptr) dlerror();  // the program is not to find what it says
  const Replacement replacements[] = {{"pipe2", address_of(no_pipe)},
                                      {"syscall", address_of(try_to_read)},
                                      {"dl_iterate_phdr", address_of(visit_file)}};
  if (found == nullptr || module_of(found).map != file || !replace(*file, replacements)) return false;
  backtrace = reinterpret_cast<Backtrace>(found);
  forks = process::generation();
  return true;
}

// It writes the frames above the one wanted too, so there has to be room for them.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wframe-larger-than="
size_t ask_libunwind(std::span<uintptr_t> out, const void* caller) noexcept {
  if (code_has_gone.load(std::memory_order_relaxed) || process::generation() != forks ||
      sandbox::state() != sandbox::State::open)
    return 0;
  const Turn turn;
  if (!turn) return 0;
  const int error = errno;
  void* frames[kMostFrames + kMostOfOurs];
  const size_t most = std::min(std::size(frames), out.size() + kMostOfOurs);
  const int got = backtrace(frames, static_cast<int>(most));
  errno = error;
  const std::span all(frames, got > 0 ? static_cast<size_t>(got) : 0);
  size_t count = 0;
  for (auto frame = std::ranges::find(all, caller); frame != all.end(); ++frame) {
    const auto pc = reinterpret_cast<uintptr_t>(*frame);
    if (our_code.holds(pc)) continue;
    if (count == out.size()) return count + 1;
    out[count++] = pc;
  }
  return count;
}
#pragma GCC diagnostic pop

void give_up() noexcept { code_has_gone.store(true, std::memory_order_relaxed); }

}  // namespace

constinit const Unwinder kLibunwind{"libunwind", begin, ask_libunwind, nullptr, give_up};

}  // namespace poireau::stack
