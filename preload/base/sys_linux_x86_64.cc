#include <fcntl.h>
#include <linux/futex.h>
#include <linux/kcmp.h>
#include <linux/userfaultfd.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/utsname.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstring>

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
  } while (result == -EINTR && number != SYS_close);  // which has closed it all the same
  return result;
}

long number(const void* pointer) noexcept { return reinterpret_cast<long>(pointer); }
int error_of(long result) noexcept { return result < 0 ? static_cast<int>(-result) : 0; }

constexpr int kAccessible = PROT_READ | PROT_WRITE;
constexpr int kNeverRun = 8;  // MFD_NOEXEC_SEAL, newer than many a header

void* map_pages(void* at, size_t size, int protection, int flags) noexcept {
  const long got =
      call(SYS_mmap, number(at), static_cast<long>(size), protection, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
  return got < 0 ? nullptr : reinterpret_cast<void*>(got);
}

void* map_exactly(void* at, size_t size, int protection, Backing backing) noexcept {
  // Before Linux 4.17 the kernel ignores MAP_FIXED_NOREPLACE and takes `at` as a hint, so look at where we landed
  // rather than at the kernel's version.
  void* got = map_pages(at, size, protection, MAP_FIXED_NOREPLACE | (backing == Backing::none ? MAP_NORESERVE : 0));
  if (got == nullptr || got == at) return got;
  unmap(got, size);
  return nullptr;
}

int advice_number(Advice advice) noexcept {
  switch (advice) {
    case Advice::forget:
      return MADV_DONTNEED;
    case Advice::never_huge:
      return MADV_NOHUGEPAGE;
    case Advice::never_dump:
      return MADV_DONTDUMP;
    case Advice::dump:
      return MADV_DODUMP;
    case Advice::remove:
      return MADV_REMOVE;
    case Advice::populate:
      return 23;  // MADV_POPULATE_WRITE, newer than many a header
    case Advice::guard:
      return 102;  // MADV_GUARD_INSTALL, newer than many a header
    case Advice::unguard:
      return 103;  // MADV_GUARD_REMOVE
  }
  return -1;
}

}  // namespace

void* map_at(void* at, size_t size, Backing backing) noexcept { return map_exactly(at, size, kAccessible, backing); }
void* map_closed_at(void* at, size_t size, Backing backing) noexcept {
  return map_exactly(at, size, PROT_NONE, backing);
}
void* map(size_t size) noexcept { return map_pages(nullptr, size, kAccessible, MAP_NORESERVE); }
void* map_shared(size_t size) noexcept {
  const long got = call(SYS_mmap, 0, static_cast<long>(size), kAccessible, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  return got < 0 ? nullptr : reinterpret_cast<void*>(got);
}
void* map_closed(size_t size) noexcept { return map_pages(nullptr, size, PROT_NONE, MAP_NORESERVE); }

bool move(void* from, size_t size, void* to) noexcept {
  const long length = static_cast<long>(size);
  return call(SYS_mremap, number(from), length, length, MREMAP_MAYMOVE | MREMAP_FIXED, number(to)) >= 0;
}

bool unmap(void* at, size_t size) noexcept { return call(SYS_munmap, number(at), static_cast<long>(size)) == 0; }

bool wipe_on_fork(void* at, size_t size) noexcept {
  return call(SYS_madvise, number(at), static_cast<long>(size), MADV_WIPEONFORK) == 0;
}

int protect(void* at, size_t size, bool accessible) noexcept {
  return error_of(call(SYS_mprotect, number(at), static_cast<long>(size), accessible ? kAccessible : PROT_NONE));
}

int advise(void* at, size_t size, Advice advice) noexcept {
  return error_of(call(SYS_madvise, number(at), static_cast<long>(size), advice_number(advice)));
}

int unlock(void* at, size_t size) noexcept { return error_of(call(SYS_munlock, number(at), static_cast<long>(size))); }

int userfaultfd() noexcept {
  int error = 0;
  // Shared memory is asked for, and done without.
  for (const uint64_t features : {uint64_t{UFFD_FEATURE_MISSING_SHMEM | UFFD_FEATURE_MINOR_SHMEM}, uint64_t{0}}) {
    const int got = static_cast<int>(call(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY));
    if (got < 0) return got;
    uffdio_api wanted{UFFD_API, UFFD_FEATURE_SIGBUS | features, 0};
    error = static_cast<int>(call(SYS_ioctl, got, UFFDIO_API, number(&wanted)));
    if (error == 0) return got;
    close(got);
  }
  return error;
}

int watch(int descriptor, void* at, size_t size) noexcept {
  uffdio_register wanted{{reinterpret_cast<uintptr_t>(at), size}, UFFDIO_REGISTER_MODE_MISSING, 0};
  return error_of(call(SYS_ioctl, descriptor, UFFDIO_REGISTER, number(&wanted)));
}

int supply(int descriptor, void* page, const void* content) noexcept {
  constexpr uint64_t kPage = 4096;
  uffdio_copy wanted{reinterpret_cast<uintptr_t>(page), reinterpret_cast<uintptr_t>(content), kPage, 0, 0};
  return error_of(call(SYS_ioctl, descriptor, UFFDIO_COPY, number(&wanted)));
}

int memory_file() noexcept {
  const long got = call(SYS_memfd_create, number("poireau"), MFD_CLOEXEC | kNeverRun);
  return static_cast<int>(got != -EINVAL ? got : call(SYS_memfd_create, number("poireau"), MFD_CLOEXEC));
}

void* map_file_closed_at(int descriptor, void* at, size_t size) noexcept {
  const long got = call(SYS_mmap, number(at), static_cast<long>(size), PROT_NONE,
                        MAP_SHARED | MAP_NORESERVE | MAP_FIXED_NOREPLACE, descriptor, 0);
  if (got < 0 || reinterpret_cast<void*>(got) == at) return got < 0 ? nullptr : at;
  unmap(reinterpret_cast<void*>(got), size);
  return nullptr;
}

bool show_also(void* from, size_t size, void* to) noexcept {
  return call(SYS_mremap, number(from), 0, static_cast<long>(size), MREMAP_MAYMOVE | MREMAP_FIXED, number(to)) >= 0;
}

bool replace(void* at, size_t size, void* with, Replacing how) noexcept {
  if (fault::due() != 0) return false;
  register long r10 asm("r10") = MREMAP_MAYMOVE | MREMAP_FIXED;
  register void* r8 asm("r8") = at;
  register void* old asm("r9") = with;
  register size_t old_size asm("rbx") = how == Replacing::move ? size : 0;
  const void* from = at;
  void* to = with;
  size_t words = size / sizeof(uint64_t);
  long result;
  asm volatile(
      "rep movsq\n\t"
      "mov %[old], %%rdi\n\t"
      "mov %[old_size], %%rsi\n\t"
      "syscall"
      : "=a"(result), "+D"(to), "+S"(from), "+c"(words)
      : "0"(SYS_mremap), [old] "r"(old), [old_size] "r"(old_size), "d"(size), "r"(r10), "r"(r8)
      : "r11", "memory", "cc");
  return result >= 0;
}

int is_in_memory(void* page, bool& out) noexcept {
  unsigned char residence = 0;
  const long error = call(SYS_mincore, number(page), 1, number(&residence));
  out = (residence & 1) != 0;
  return error_of(error);
}

int watch_shared(int descriptor, void* at, size_t size) noexcept {
  uffdio_register wanted{
      {reinterpret_cast<uintptr_t>(at), size}, UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_MINOR, 0};
  return error_of(call(SYS_ioctl, descriptor, UFFDIO_REGISTER, number(&wanted)));
}

int unwatch(int descriptor, void* at, size_t size) noexcept {
  uffdio_range wanted{reinterpret_cast<uintptr_t>(at), size};
  return error_of(call(SYS_ioctl, descriptor, UFFDIO_UNREGISTER, number(&wanted)));
}

int proceed(int descriptor, void* at, size_t size) noexcept {
  uffdio_continue wanted{{reinterpret_cast<uintptr_t>(at), size}, 0, 0};
  return error_of(call(SYS_ioctl, descriptor, UFFDIO_CONTINUE, number(&wanted)));
}

int open_to_read(const char* path) noexcept {
  return static_cast<int>(call(SYS_openat, AT_FDCWD, number(path), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
}

int open_to_read_in(int directory, const char* name) noexcept {
  return static_cast<int>(call(SYS_openat, directory, number(name), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
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

int64_t read_at(int descriptor, uint64_t offset, std::span<char> out) noexcept {
  return call(SYS_pread64, descriptor, number(out.data()), static_cast<long>(out.size()), static_cast<long>(offset));
}

int duplicate(int descriptor, int lowest) noexcept {
  return static_cast<int>(call(SYS_fcntl, descriptor, F_DUPFD_CLOEXEC, lowest));
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

bool reads_again(int descriptor) noexcept {
  struct stat got;
  if (call(SYS_newfstatat, descriptor, number(""), number(&got), AT_EMPTY_PATH) != 0) return false;
  if (S_ISREG(got.st_mode) || S_ISBLK(got.st_mode) || S_ISFIFO(got.st_mode)) return true;
  if (!S_ISSOCK(got.st_mode)) return false;
  const auto option = [&](int name) {
    int value = -1;
    socklen_t size = sizeof value;
    return call(SYS_getsockopt, descriptor, SOL_SOCKET, name, number(&value), number(&size)) == 0 ? value : -1;
  };
  // Of byte streams, SCTP's drop what they could not deliver.
  const int protocol = option(SO_PROTOCOL);
  return option(SO_TYPE) == SOCK_STREAM && (protocol == 0 || protocol == IPPROTO_TCP);
}

std::string_view read_link(const char* path, std::span<char> out) noexcept { return read_link_in(AT_FDCWD, path, out); }

std::string_view read_link_in(int directory, const char* name, std::span<char> out) noexcept {
  const long length = call(SYS_readlinkat, directory, number(name), number(out.data()), static_cast<long>(out.size()));
  return length <= 0 ? std::string_view() : std::string_view(out.data(), static_cast<size_t>(length));
}

int open_directory(int at, const char* name, Links links) noexcept {
  const int no_links = links == Links::refuse ? O_NOFOLLOW : 0;
  return static_cast<int>(call(SYS_openat, at, number(name), O_RDONLY | O_DIRECTORY | O_CLOEXEC | no_links));
}

int entry_info(int at, const char* name, EntryInfo& out, Links links) noexcept {
  struct stat got;
  const int flags = (*name == '\0' ? AT_EMPTY_PATH : 0) | (links == Links::refuse ? AT_SYMLINK_NOFOLLOW : 0);
  if (const long error = call(SYS_newfstatat, at, number(name), number(&got), flags); error != 0)
    return error_of(error);
  out = {S_ISDIR(got.st_mode),
         S_ISLNK(got.st_mode),
         got.st_mode & 07777,
         got.st_uid,
         got.st_dev,
         got.st_ino,
         static_cast<uint64_t>(got.st_blocks),
         got.st_mtim.tv_sec,
         got.st_nlink};
  return 0;
}

int make_directory(int at, const char* name) noexcept {
  const long result = call(SYS_mkdirat, at, number(name), 0700);
  if (result == 0) call(SYS_fchmodat, at, number(name), 0700);  // whatever the umask left of it
  return error_of(result);
}
int remove_file(int at, const char* name) noexcept { return error_of(call(SYS_unlinkat, at, number(name), 0)); }
int remove_directory(int at, const char* name) noexcept {
  return error_of(call(SYS_unlinkat, at, number(name), AT_REMOVEDIR));
}

int64_t list(int directory, std::span<char> out) noexcept {
  return call(SYS_getdents64, directory, number(out.data()), static_cast<long>(out.size()));
}

uint64_t file_system(int descriptor) noexcept {
  struct statfs got;
  return call(SYS_fstatfs, descriptor, number(&got)) == 0 ? static_cast<uint64_t>(got.f_type) : 0;
}

bool no_such_process(int id) noexcept { return call(SYS_kill, id, 0) == -ESRCH; }

bool user_id(uint32_t& out) noexcept {
  const long got = call(SYS_geteuid);
  out = static_cast<uint32_t>(got);
  return got >= 0;
}

bool sole_user_id(uint32_t& out) noexcept {
  uint32_t real, effective, saved;
  if (call(SYS_getresuid, number(&real), number(&effective), number(&saved)) != 0) return false;
  out = effective;
  return real == effective && saved == effective;
}
bool shares_descriptors(int process) noexcept {
  const int thread = thread_id();
  const auto differ = [&](int in) { return call(SYS_kcmp, process, thread, in) > 0; };
  return thread == process || !differ(KCMP_FILES) || differ(KCMP_VM);  // who has ended has no memory either
}
// The kernel lets them ask for each other's limits.
bool shares_user(int process) noexcept { return call(SYS_prlimit64, process, RLIMIT_CORE) == 0; }

int64_t calendar_time() noexcept {
  timespec now;
  return call(SYS_clock_gettime, CLOCK_REALTIME, number(&now)) == 0 ? now.tv_sec : 0;
}

int64_t monotonic_time() noexcept {
  timespec now;
  if (call(SYS_clock_gettime, CLOCK_MONOTONIC, number(&now)) != 0) return 0;
  return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

uint64_t cpu_time() noexcept {
  timespec used;
  if (call(SYS_clock_gettime, CLOCK_PROCESS_CPUTIME_ID, number(&used)) != 0) return 0;
  return static_cast<uint64_t>(used.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(used.tv_nsec);
}

int open_file(int directory, const char* name, Making making) noexcept {
  const int how = making == Making::new_one ? O_CREAT | O_EXCL : 0;
  const long got = call(SYS_openat, directory, number(name), O_RDWR | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY | how, 0600);
  if (got >= 0 && making == Making::new_one) call(SYS_fchmod, got, 0600);  // whatever the umask left of it
  return static_cast<int>(got);
}

int allocate(int descriptor, uint64_t offset, uint64_t size) noexcept {
  return error_of(call(SYS_fallocate, descriptor, 0, static_cast<long>(offset), static_cast<long>(size)));
}

int resize(int descriptor, uint64_t size) noexcept {
  return error_of(call(SYS_ftruncate, descriptor, static_cast<long>(size)));
}

int write_at(int descriptor, uint64_t offset, std::string_view bytes) noexcept {
  while (!bytes.empty()) {
    const long done = call(SYS_pwrite64, descriptor, number(bytes.data()), static_cast<long>(bytes.size()),
                           static_cast<long>(offset));
    if (done <= 0) return done == 0 ? EIO : error_of(done);
    bytes.remove_prefix(static_cast<size_t>(done));
    offset += static_cast<uint64_t>(done);
  }
  return 0;
}

int rename_file(int directory, const char* from, const char* to) noexcept {
  return error_of(call(SYS_renameat, directory, number(from), directory, number(to)));
}

void* map_file(int descriptor, size_t size) noexcept {
  const long got = call(SYS_mmap, 0, static_cast<long>(size), kAccessible, MAP_SHARED, descriptor, 0);
  return got < 0 ? nullptr : reinterpret_cast<void*>(got);
}

static_assert(sizeof(Polled) == sizeof(pollfd) && offsetof(Polled, wanted) == offsetof(pollfd, events) &&
              Polled::kReadable == POLLIN && kMostSocketName == sizeof sockaddr_un::sun_path - 1);

int poll(std::span<Polled> which) noexcept {
  return static_cast<int>(call(SYS_poll, number(which.data()), static_cast<long>(which.size()), 0));
}

int listen_as(std::string_view name, int backlog) noexcept {
  const auto got = static_cast<int>(call(SYS_socket, AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (got < 0) return got;
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const size_t length = std::min(name.size(), kMostSocketName);
  std::memcpy(address.sun_path + 1, name.data(), length);
  const long size = static_cast<long>(offsetof(sockaddr_un, sun_path) + 1 + length);
  long error = call(SYS_bind, got, number(&address), size);
  if (error == 0) error = call(SYS_listen, got, backlog);
  if (error == 0) return got;
  close(got);
  return static_cast<int>(error);
}

int accept(int listener) noexcept {
  return static_cast<int>(call(SYS_accept4, listener, 0, 0, SOCK_NONBLOCK | SOCK_CLOEXEC));
}

std::string_view socket_name(int descriptor, std::span<char, kMostSocketName> out) noexcept {
  constexpr size_t kBefore = offsetof(sockaddr_un, sun_path) + 1;
  sockaddr_un address{};
  socklen_t size = sizeof address;
  if (call(SYS_getsockname, descriptor, number(&address), number(&size)) != 0 || address.sun_family != AF_UNIX ||
      size <= kBefore || address.sun_path[0] != '\0')
    return {};
  const size_t length = std::min<size_t>(size - kBefore, out.size());
  std::memcpy(out.data(), address.sun_path + 1, length);
  return {out.data(), length};
}

bool socket_cookie(int descriptor, uint64_t& out) noexcept {
  socklen_t size = sizeof out;
  return call(SYS_getsockopt, descriptor, SOL_SOCKET, SO_COOKIE, number(&out), number(&size)) == 0;
}

bool peer_user(int descriptor, uint32_t& out) noexcept {
  ucred peer{};
  socklen_t size = sizeof peer;
  if (call(SYS_getsockopt, descriptor, SOL_SOCKET, SO_PEERCRED, number(&peer), number(&size)) != 0) return false;
  out = peer.uid;
  return true;
}

int64_t receive(int descriptor, std::span<char> out) noexcept {
  return call(SYS_recvfrom, descriptor, number(out.data()), static_cast<long>(out.size()), MSG_DONTWAIT);
}

int64_t send(int descriptor, std::string_view bytes) noexcept {
  return call(SYS_sendto, descriptor, number(bytes.data()), static_cast<long>(bytes.size()),
              MSG_DONTWAIT | MSG_NOSIGNAL);
}

bool random(std::span<std::byte> out) noexcept {
  while (!out.empty()) {
    const long got = call(SYS_getrandom, number(out.data()), static_cast<long>(out.size()));
    if (got <= 0) return false;
    out = out.subspan(static_cast<size_t>(got));
  }
  return true;
}

uint64_t memory_size(Memory which) noexcept {
  struct sysinfo got;
  if (call(SYS_sysinfo, number(&got)) != 0) return UINT64_MAX;
  return uint64_t{which == Memory::physical ? got.totalram : got.totalswap} * got.mem_unit;
}

int process_id() noexcept { return static_cast<int>(call(SYS_getpid)); }
bool on_signal_stack() noexcept {
  stack_t stack{};
  return call(SYS_sigaltstack, 0, reinterpret_cast<long>(&stack)) != 0 || (stack.ss_flags & SS_ONSTACK) != 0;
}

void yield() noexcept { call(SYS_sched_yield); }

void sleep(uint64_t nanoseconds) noexcept {
  std::atomic<uint32_t> word{0};
  static_cast<void>(wait_while(word, 0, nanoseconds));
}

bool childless() noexcept {
  siginfo_t info;
  return call(SYS_waitid, P_ALL, 0, number(&info), WEXITED | WNOHANG | WNOWAIT | __WALL, 0) == -ECHILD;
}

std::string_view host_name(std::span<char, 65> out) noexcept {
  utsname names;
  if (call(SYS_uname, reinterpret_cast<long>(&names)) != 0) return {};
  static_assert(sizeof names.nodename == std::span<char, 65>::extent);
  std::memcpy(out.data(), names.nodename, out.size());
  return {out.data(), strnlen(out.data(), out.size())};
}

int thread_id() noexcept { return static_cast<int>(call(SYS_gettid)); }

bool limit_of(Limit limit, uint64_t& out) noexcept {
  rlimit64 got;
  const int resource = limit == Limit::data ? RLIMIT_DATA : limit == Limit::file_size ? RLIMIT_FSIZE : RLIMIT_AS;
  if (call(SYS_prlimit64, 0, resource, 0, number(&got)) != 0) return false;
  out = got.rlim_cur == RLIM64_INFINITY ? UINT64_MAX : got.rlim_cur;
  return true;
}

std::string_view thread_name(std::span<char, 16> out) noexcept {
  if (call(SYS_prctl, PR_GET_NAME, number(out.data())) != 0) return {};
  return {out.data(), strnlen(out.data(), out.size())};
}

bool readable(const void* at) noexcept {
  constexpr int kNoSuchWay = -1;  // the kernel reads the mask first, and then refuses
  return call(SYS_rt_sigprocmask, kNoSuchWay, number(at), 0, sizeof(uint64_t)) == -EINVAL;
}

bool unblock_signals(uint64_t signals) noexcept {
  return call(SYS_rt_sigprocmask, SIG_UNBLOCK, number(&signals), 0, sizeof signals) == 0;
}

bool block_signals(uint64_t signals, uint64_t& before) noexcept {
  return call(SYS_rt_sigprocmask, SIG_BLOCK, number(&signals), number(&before), sizeof signals) == 0;
}

void set_blocked_signals(uint64_t signals) noexcept {
  call(SYS_rt_sigprocmask, SIG_SETMASK, number(&signals), 0, sizeof signals);
}

bool send_again(int number_of_signal, const void* info) noexcept {
  return call(SYS_rt_tgsigqueueinfo, process_id(), thread_id(), number_of_signal, number(info)) == 0;
}

int send_signal(int thread, int number_of_signal, uint64_t value) noexcept {
  siginfo_t info{};
  const int process = process_id();
  info.si_signo = number_of_signal;
  info.si_code = kSignalToThread;
  info.si_pid = process;
  info.si_value.sival_ptr = reinterpret_cast<void*>(value);
  return error_of(call(SYS_rt_tgsigqueueinfo, process, thread, number_of_signal, number(&info)));
}

uint64_t pending_signals() noexcept {
  uint64_t pending = 0;
  call(SYS_rt_sigpending, number(&pending), sizeof pending);
  return pending;
}

bool thread_exists(int thread) noexcept { return call(SYS_tgkill, process_id(), thread, 0) != -ESRCH; }

bool wait_while(std::atomic<uint32_t>& word, uint32_t value, uint64_t nanoseconds) noexcept {
  constexpr uint64_t kSecond = 1'000'000'000;
  const timespec most{static_cast<time_t>(nanoseconds / kSecond), static_cast<long>(nanoseconds % kSecond)};
  return call(SYS_futex, number(&word), FUTEX_WAIT, value, number(&most)) != -ETIMEDOUT;
}

void wake_all(std::atomic<uint32_t>& word) noexcept { call(SYS_futex, number(&word), FUTEX_WAKE, INT32_MAX); }

int64_t copy_memory(std::span<std::byte> to, uintptr_t from) noexcept {
  const iovec here{to.data(), to.size()}, there{reinterpret_cast<void*>(from), to.size()};
  return call(SYS_process_vm_readv, process_id(), number(&here), 1, number(&there), 1, 0);
}

int find_mapping(int maps, uintptr_t at, Mapping& out, std::span<char> name) noexcept {
  struct Query {  // procmap_query, newer than many a header
    uint64_t size, flags, at, begin, end, access, page_size, offset, inode;
    uint32_t major, minor, name_size, build_id_size;
    uint64_t name, build_id;
  };
  constexpr uint64_t kOrNext = 0x10;
  name[0] = 0;
  Query query{};
  query.size = sizeof query;
  query.flags = kOrNext;
  query.at = at;
  query.name_size = static_cast<uint32_t>(name.size());
  query.name = reinterpret_cast<uintptr_t>(name.data());
  long error = call(SYS_ioctl, maps, _IOWR('f', 17, Query), number(&query));
  if (error == -ENAMETOOLONG) {
    query.name_size = 0;
    query.name = 0;
    error = call(SYS_ioctl, maps, _IOWR('f', 17, Query), number(&query));
  }
  out = {query.begin, query.end, query.access, query.inode != 0};
  return static_cast<int>(error);
}

int64_t find_pages(int pagemap, PageQuery& query, std::span<PageRange> out) noexcept {
  struct Scan {  // pm_scan_arg, newer than many a header
    uint64_t size, flags, begin, end, walk_end, regions, room, most_pages;
    uint64_t inverted, all_of, any_of, told;
  };
  Scan scan{sizeof scan,
            0,
            query.begin,
            query.end,
            0,
            reinterpret_cast<uintptr_t>(out.data()),
            out.size(),
            0,
            query.inverted,
            query.all_of,
            query.any_of,
            query.told};
  const long got = call(SYS_ioctl, pagemap, _IOWR('f', 16, Scan), number(&scan));
  if (got >= 0) query.begin = scan.walk_end;
  return got;
}

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
    case EPERM:
      return "not permitted";
    case EROFS:
      return "the file system is read-only";
    case ENOSPC:
      return "no space left";
    case EDQUOT:
      return "the quota is used up";
    default:
      return "it can't be read";
  }
}

}  // namespace poireau::sys
