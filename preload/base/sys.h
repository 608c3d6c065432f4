#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

/// The only calls to the kernel. Raw: nothing here can be interposed, is a cancellation point, takes a lock or
/// touches errno. EINTR is retried; failure is in the result. Dev builds can make each of them fail (fault.h).
namespace poireau::sys {

/// Private anonymous memory, readable and writable, exactly at `at`; nullptr if any of it is taken.
/// `backing`: whether the kernel is to refuse what it could never back, as it does when malloc asks.
enum class Backing { none, expected };
[[nodiscard]] void* map_at(void* at, size_t size, Backing backing = Backing::none) noexcept;
/// Private anonymous memory, readable and writable; nullptr if there is none.
[[nodiscard]] void* map(size_t size) noexcept;
/// Zeroed memory that fork children share; nullptr if there is none.
[[nodiscard]] void* map_shared(size_t size) noexcept;
bool unmap(void* at, size_t size) noexcept;
/// Puts these pages where others are (or are not), at once.
[[nodiscard]] bool move(void* from, size_t size, void* to) noexcept;
/// A fork child will find these pages zeroed. False before Linux 4.14.
[[nodiscard]] bool wipe_on_fork(void* at, size_t size) noexcept;

/// The same, but every access faults.
[[nodiscard]] void* map_closed_at(void* at, size_t size, Backing backing = Backing::none) noexcept;
[[nodiscard]] void* map_closed(size_t size) noexcept;
/// These return the error's number; 0: done.
// forget: the pages stay, and read as zero (shared ones: as what they share); remove: so does whoever shares them
enum class Advice { forget, never_huge, never_dump, dump, guard, unguard, remove, populate };
[[nodiscard]] int protect(void* at, size_t size, bool accessible) noexcept;
[[nodiscard]] int advise(void* at, size_t size, Advice advice) noexcept;
[[nodiscard]] int unlock(void* at, size_t size) noexcept;

/// A descriptor >= 0 of userfaultfd(2), or -errno. Whoever touches a page that is missing from ranges it watches gets
/// a SIGBUS, and the kernel an EFAULT. What is asked of it happens to the memory of the process that opened it.
[[nodiscard]] int userfaultfd() noexcept;
/// These return the error's number; 0: done. `supply` copies a page to where one is missing.
[[nodiscard]] int watch(int descriptor, void* at, size_t size) noexcept;
[[nodiscard]] int supply(int descriptor, void* page, const void* content) noexcept;

// Memory that is mapped more than once.
/// A descriptor >= 0 of a file that nobody else can open, or -errno.
[[nodiscard]] int memory_file() noexcept;
/// Shared with the file, every access faults; exactly at `at`, nullptr if any of it is taken.
[[nodiscard]] void* map_file_closed_at(int descriptor, void* at, size_t size) noexcept;
/// Shows what is at `from`, shared memory, also at `to`, in place of what is there.
[[nodiscard]] bool show_also(void* from, size_t size, void* to) noexcept;
/// Copies what is at `at` to these pages of the same size, and puts them there: shared ones also (show), others
/// instead. The stack may lie there: nothing is written between.
enum class Replacing { move, show };
[[nodiscard]] bool replace(void* at, size_t size, void* with, Replacing how) noexcept;
/// Whether the page there has memory, mapped or not; what is swapped out has none. The error's number; 0: done.
[[nodiscard]] int is_in_memory(void* page, bool& out) noexcept;
/// Like `watch`, for shared memory: also of pages that only this mapping of it hasn't got. `proceed` gives it those.
[[nodiscard]] int watch_shared(int descriptor, void* at, size_t size) noexcept;
[[nodiscard]] int unwatch(int descriptor, void* at, size_t size) noexcept;
[[nodiscard]] int proceed(int descriptor, void* at, size_t size) noexcept;

struct FileInfo {
  bool regular, world_writable;
  uint64_t size;
  uint64_t device, inode;
};
/// A descriptor >= 0 to read from, or -errno. Never blocks, whatever `path` is.
[[nodiscard]] int open_to_read(const char* path) noexcept;
/// The same, of a name in a directory.
[[nodiscard]] int open_to_read_in(int directory, const char* name) noexcept;
/// Whether there is such a file, as far as we may see.
[[nodiscard]] bool exists(const char* path) noexcept;
[[nodiscard]] bool file_info(int descriptor, FileInfo& out) noexcept;
/// Bytes read, 0 at the end, -errno on failure.
[[nodiscard]] int64_t read(int descriptor, std::span<char> out) noexcept;
[[nodiscard]] int64_t read_at(int descriptor, uint64_t offset, std::span<char> out) noexcept;
/// Another number for the same, at least `lowest`, closed by exec; or -errno.
[[nodiscard]] int duplicate(int descriptor, int lowest) noexcept;
void close(int descriptor) noexcept;
/// Writes all of `text`, or gives up silently.
void write(int descriptor, std::string_view text) noexcept;
/// The same, but a reader that is gone kills nobody, and one that is slow holds nobody up.
void write_safely(int descriptor, std::string_view text) noexcept;
/// Whether what a failed read was about to return can be read again: of files, pipes and byte streams, not of messages,
/// events and terminals.
[[nodiscard]] bool reads_again(int descriptor) noexcept;
/// The link's target, a view into `out`; empty on failure.
[[nodiscard]] std::string_view read_link(const char* path, std::span<char> out) noexcept;
[[nodiscard]] std::string_view read_link_in(int directory, const char* name, std::span<char> out) noexcept;

// Directories. `at` is one's descriptor, or kAnywhere for an absolute path; names are taken as they are, a symbolic
// link in the last place is followed only on request.
constexpr int kAnywhere = -100;
enum class Links { refuse, follow };
struct EntryInfo {
  bool directory, link;
  uint32_t permissions, owner;     // with the set-id and sticky bits
  uint64_t device, inode, blocks;  // blocks: of 512 bytes
  int64_t changed;                 // seconds since 1970
  uint64_t names;                  // a directory has one in each of those in it, and two more (btrfs: always 1)
};
/// A descriptor >= 0 to list it with, or -errno.
[[nodiscard]] int open_directory(int at, const char* name, Links links = Links::refuse) noexcept;
/// These return the error's number; 0: done. The empty name is `at` itself.
[[nodiscard]] int entry_info(int at, const char* name, EntryInfo& out, Links links = Links::refuse) noexcept;
[[nodiscard]] int make_directory(int at, const char* name) noexcept;  // for its owner alone
[[nodiscard]] int remove_file(int at, const char* name) noexcept;
[[nodiscard]] int remove_directory(int at, const char* name) noexcept;
/// Bytes of the kernel's linux_dirent64, 0 at the end, -errno on failure.
[[nodiscard]] int64_t list(int directory, std::span<char> out) noexcept;
/// What kind of file system it lies on, as statfs(2) numbers them; 0: unknown.
[[nodiscard]] uint64_t file_system(int descriptor) noexcept;
/// Whether there is no process of that id (that we may know of).
[[nodiscard]] bool no_such_process(int id) noexcept;
/// The effective user.
[[nodiscard]] bool user_id(uint32_t& out) noexcept;
/// The same, if it is the real and the saved one too: not for a thread that acts as somebody else for a while.
[[nodiscard]] bool sole_user_id(uint32_t& out) noexcept;
// The calling thread and the first of its `process`, which may have ended.
/// Whether they have the same descriptors. True where nobody knows.
[[nodiscard]] bool shares_descriptors(int process) noexcept;
/// Whether they are the same user, whatever they act as; true for root. False where nobody knows.
[[nodiscard]] bool shares_user(int process) noexcept;
/// Seconds since 1970; 0: unknown.
[[nodiscard]] int64_t calendar_time() noexcept;
/// Nanoseconds of CLOCK_MONOTONIC; 0: unknown.
[[nodiscard]] int64_t monotonic_time() noexcept;
/// Nanoseconds for which processors have worked for this process; 0: unknown.
[[nodiscard]] uint64_t cpu_time() noexcept;

// Files of our own, in a directory.
enum class Making { existing, new_one };  // new_one: for its owner alone; fails if there is anything of that name
/// A descriptor >= 0 to read and write, or -errno. Follows no symbolic link.
[[nodiscard]] int open_file(int directory, const char* name, Making making) noexcept;
/// These return the error's number; 0: done. RLIMIT_FSIZE is the caller's: who goes beyond gets a SIGXFSZ.
[[nodiscard]] int allocate(int descriptor, uint64_t offset, uint64_t size) noexcept;  // blocks, and the file's size
[[nodiscard]] int resize(int descriptor, uint64_t size) noexcept;
[[nodiscard]] int write_at(int descriptor, uint64_t offset, std::string_view bytes) noexcept;
[[nodiscard]] int rename_file(int directory, const char* from, const char* to) noexcept;
/// Shared with the file, readable and writable; nullptr on failure.
[[nodiscard]] void* map_file(int descriptor, size_t size) noexcept;

// Stream sockets of this machine, of abstract names (without their leading NUL). None of these ever waits.
/// What poll(2) asks for, and what it got.
struct Polled {
  static constexpr int16_t kReadable = 1;
  int descriptor;
  int16_t wanted, got;
};
/// How many of them have something to tell; negative: -errno.
[[nodiscard]] int poll(std::span<Polled> which) noexcept;
constexpr size_t kMostSocketName = 107;
/// These return a descriptor >= 0, or -errno.
[[nodiscard]] int listen_as(std::string_view name, int backlog) noexcept;
[[nodiscard]] int accept(int listener) noexcept;
/// Its own name, a view into `out`; empty: it has none, or no abstract one.
[[nodiscard]] std::string_view socket_name(int descriptor, std::span<char, kMostSocketName> out) noexcept;
/// What tells a socket from all others, for as long as the machine is up. False: it is none.
[[nodiscard]] bool socket_cookie(int descriptor, uint64_t& out) noexcept;
/// Who connected it, or listened: the effective user.
[[nodiscard]] bool peer_user(int descriptor, uint32_t& out) noexcept;
/// Bytes, 0 at the end, -errno on failure. Descriptors that are sent along are dropped. Nobody is sent a SIGPIPE.
[[nodiscard]] int64_t receive(int descriptor, std::span<char> out) noexcept;
[[nodiscard]] int64_t send(int descriptor, std::string_view bytes) noexcept;

/// Lets another thread run.
void yield() noexcept;
void sleep(uint64_t nanoseconds) noexcept;
/// Whether this process has no children, or none that it could wait for.
[[nodiscard]] bool childless() noexcept;
/// The machine's name, a view into `out`; empty on failure.
[[nodiscard]] std::string_view host_name(std::span<char, 65> out) noexcept;
[[nodiscard]] bool random(std::span<std::byte> out) noexcept;
[[nodiscard]] int process_id() noexcept;
/// The machine's, in bytes; UINT64_MAX: unknown.
enum class Memory { physical, swap };
[[nodiscard]] uint64_t memory_size(Memory which) noexcept;
/// What this process may have of it in bytes, UINT64_MAX: any number.
enum class Limit { address_space, data, file_size };
[[nodiscard]] bool limit_of(Limit limit, uint64_t& out) noexcept;
[[nodiscard]] int thread_id() noexcept;
/// The calling thread's, a view into `out`; empty on failure.
[[nodiscard]] std::string_view thread_name(std::span<char, 16> out) noexcept;
/// Whether the eight bytes at `at` may be read.
[[nodiscard]] bool readable(const void* at) noexcept;

/// Whether we are on a signal stack (sigaltstack). True where nobody knows.
[[nodiscard]] bool on_signal_stack() noexcept;

// The calling thread's signal mask: signal n is bit n - 1.
constexpr uint64_t signal_bit(int number) noexcept { return uint64_t{1} << (number - 1); }
bool unblock_signals(uint64_t signals) noexcept;
/// Blocks these; `before` is what was blocked. False: nothing has changed.
[[nodiscard]] bool block_signals(uint64_t signals, uint64_t& before) noexcept;
/// All that can be.
[[nodiscard]] inline bool block_every_signal(uint64_t& before) noexcept { return block_signals(~uint64_t{0}, before); }
void set_blocked_signals(uint64_t signals) noexcept;
/// Sends the calling thread a signal that it got, as it came: `info` is its siginfo_t.
[[nodiscard]] bool send_again(int number, const void* info) noexcept;
/// Sends a thread of this process a signal with a number of ours in it, and this si_code, which is nobody else's.
/// Returns the error's number; 0: done.
constexpr int kSignalToThread = -9009;
[[nodiscard]] int send_signal(int thread, int number, uint64_t value) noexcept;
/// Those that wait for being unblocked.
[[nodiscard]] uint64_t pending_signals() noexcept;

// The other threads.
/// Whether this process has a thread of that id; one that has ended may be there still.
[[nodiscard]] bool thread_exists(int thread) noexcept;
/// Waits as long as `word` is `value`, at most so long; false: that time is over.
bool wait_while(std::atomic<uint32_t>& word, uint32_t value, uint64_t nanoseconds) noexcept;
void wake_all(std::atomic<uint32_t>& word) noexcept;

// Our own memory, as the kernel sees it.
/// Copies from where there may be nothing to read. Returns the bytes up to the first that can't be read, or -errno.
[[nodiscard]] int64_t copy_memory(std::span<std::byte> to, uintptr_t from) noexcept;
/// A mapping, as /proc/self/maps has it.
struct Mapping {
  uintptr_t begin, end;
  uint64_t access;  // these
  bool file;
};
constexpr uint64_t kMappingRead = 1, kMappingWrite = 2, kMappingShared = 8;
/// The first that ends beyond `at`, and its name (or none, if it is longer than that); 0, or -errno. ENOENT: there is
/// none. Linux 6.11. `maps`: that file.
[[nodiscard]] int find_mapping(int maps, uintptr_t at, Mapping& out, std::span<char> name) noexcept;
/// Pages that have a content of their own, in the order of their addresses.
struct PageRange {
  uintptr_t begin, end;
  uint64_t kinds;
};
constexpr uint64_t kPageFile = 1 << 2, kPagePresent = 1 << 3, kPageSwapped = 1 << 4, kPageZero = 1 << 5;
struct PageQuery {
  uintptr_t begin, end;
  uint64_t inverted, all_of, any_of, told;
};
/// How many of `out` were filled, or -errno; `query.begin` is then where to go on. Linux 6.7. `pagemap`: that file.
[[nodiscard]] int64_t find_pages(int pagemap, PageQuery& query, std::span<PageRange> out) noexcept;

/// The error's name in words ("No such file or directory"), without the locale.
std::string_view error_text(int error) noexcept;

}  // namespace poireau::sys
