#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>

#include "preload/base/fault.h"
#include "preload/base/sys.h"

namespace poireau::sys {
namespace {

long call(long number, long a = 0, long b = 0, long c = 0, long d = 0, long e = 0, long f = 0) noexcept {
  if (const int error = fault::due(); error != 0) return -error;
  register long r10 asm("r10") = d;
  register long r8 asm("r8") = e;
  register long r9 asm("r9") = f;
  long result;
  do {
    asm volatile("syscall"
                 : "=a"(result)
                 : "0"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                 : "rcx", "r11", "memory");
  } while (result == -EINTR);
  return result;
}

long number(const void* pointer) noexcept { return reinterpret_cast<long>(pointer); }

void* map_pages(void* at, size_t size, int flags) noexcept {
  const long got = call(SYS_mmap, number(at), static_cast<long>(size), PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | flags, -1, 0);
  return got < 0 ? nullptr : reinterpret_cast<void*>(got);
}

}  // namespace

void* map_at(void* at, size_t size) noexcept {
  // Before Linux 4.17 the kernel ignores MAP_FIXED_NOREPLACE and takes `at` as a hint, so look at where we landed
  // rather than at the kernel's version.
  void* got = map_pages(at, size, MAP_FIXED_NOREPLACE);
  if (got == nullptr || got == at) return got;
  unmap(got, size);
  return nullptr;
}

void* map(size_t size) noexcept { return map_pages(nullptr, size, 0); }

bool unmap(void* at, size_t size) noexcept { return call(SYS_munmap, number(at), static_cast<long>(size)) == 0; }

bool wipe_on_fork(void* at, size_t size) noexcept {
  return call(SYS_madvise, number(at), static_cast<long>(size), MADV_WIPEONFORK) == 0;
}

int open_to_read(const char* path) noexcept {
  return static_cast<int>(call(SYS_openat, AT_FDCWD, number(path), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
}

bool exists(const char* path) noexcept { return call(SYS_access, number(path), F_OK) == 0; }

bool file_info(int descriptor, FileInfo& out) noexcept {
  struct stat got;
  // As the loader asks it: a sandbox may know the loader's calls only.
  if (call(SYS_newfstatat, descriptor, number(""), number(&got), AT_EMPTY_PATH) != 0) return false;
  out = {S_ISREG(got.st_mode), (got.st_mode & S_IWOTH) != 0, static_cast<uint64_t>(got.st_size), got.st_dev,
         got.st_ino};
  return true;
}

int64_t read(int descriptor, std::span<char> out) noexcept {
  return call(SYS_read, descriptor, number(out.data()), static_cast<long>(out.size()));
}

void close(int descriptor) noexcept { call(SYS_close, descriptor); }

void write(int descriptor, std::string_view text) noexcept {
  while (!text.empty()) {
    const long done = call(SYS_write, descriptor, number(text.data()), static_cast<long>(text.size()));
    if (done <= 0) return;
    text.remove_prefix(static_cast<size_t>(done));
  }
}

void write_safely(int descriptor, std::string_view text) noexcept {
  pollfd ready{descriptor, POLLOUT, 0};
  if (call(SYS_poll, number(&ready), 1, 0) != 1 || (ready.revents & POLLOUT) == 0) return;
  constexpr uint64_t kMine = uint64_t{1} << (SIGPIPE - 1) | uint64_t{1} << (SIGXFSZ - 1);
  uint64_t before = 0, pending = 0;
  if (call(SYS_rt_sigprocmask, SIG_BLOCK, number(&kMine), number(&before), sizeof before) != 0) return;
  call(SYS_rt_sigpending, number(&pending), sizeof pending);
  write(descriptor, text);
  const uint64_t raised = kMine & ~pending;
  constexpr timespec kNow{};
  if (raised != 0) call(SYS_rt_sigtimedwait, number(&raised), 0, number(&kNow), sizeof raised);
  call(SYS_rt_sigprocmask, SIG_SETMASK, number(&before), 0, sizeof before);
}

std::string_view read_link(const char* path, std::span<char> out) noexcept {
  const long length = call(SYS_readlinkat, AT_FDCWD, number(path), number(out.data()), static_cast<long>(out.size()));
  return length <= 0 ? std::string_view() : std::string_view(out.data(), static_cast<size_t>(length));
}

bool random(std::span<std::byte> out) noexcept {
  while (!out.empty()) {
    const long got = call(SYS_getrandom, number(out.data()), static_cast<long>(out.size()));
    if (got <= 0) return false;
    out = out.subspan(static_cast<size_t>(got));
  }
  return true;
}

int process_id() noexcept { return static_cast<int>(call(SYS_getpid)); }

std::string_view error_text(int error) noexcept {
  switch (error) {
    case ENOENT:
      return "no such file or directory";
    case EACCES:
      return "permission denied";
    case EISDIR:
      return "is a directory";
    case ENOTDIR:
      return "part of the path is not a directory";
    case ELOOP:
      return "too many symbolic links";
    case EMFILE:
    case ENFILE:
      return "too many open files";
    case EIO:
      return "input/output error";
    case ENAMETOOLONG:
      return "the name is too long";
    case ENOMEM:
      return "out of memory";
    default:
      return "it can't be read";
  }
}

}  // namespace poireau::sys
