#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

/// The only calls to the kernel. Raw: nothing here can be interposed, is a cancellation point, takes a lock or
/// touches errno. EINTR is retried; failure is in the result. Dev builds can make each of them fail (fault.h).
namespace poireau::sys {

/// Private anonymous memory, readable and writable, exactly at `at`; nullptr if any of it is taken.
[[nodiscard]] void* map_at(void* at, size_t size) noexcept;
/// Private anonymous memory, readable and writable; nullptr if there is none.
[[nodiscard]] void* map(size_t size) noexcept;
bool unmap(void* at, size_t size) noexcept;
/// A fork child will find these pages zeroed. False before Linux 4.14.
[[nodiscard]] bool wipe_on_fork(void* at, size_t size) noexcept;

struct FileInfo {
  bool regular, world_writable;
  uint64_t size;
  uint64_t device, inode;
};
/// A descriptor >= 0 to read from, or -errno. Never blocks, whatever `path` is.
[[nodiscard]] int open_to_read(const char* path) noexcept;
/// Whether there is such a file, as far as we may see.
[[nodiscard]] bool exists(const char* path) noexcept;
[[nodiscard]] bool file_info(int descriptor, FileInfo& out) noexcept;
/// Bytes read, 0 at the end, -errno on failure.
[[nodiscard]] int64_t read(int descriptor, std::span<char> out) noexcept;
void close(int descriptor) noexcept;
/// Writes all of `text`, or gives up silently.
void write(int descriptor, std::string_view text) noexcept;
/// The same, but a reader that is gone kills nobody, and one that is slow holds nobody up.
void write_safely(int descriptor, std::string_view text) noexcept;
/// The link's target, a view into `out`; empty on failure.
[[nodiscard]] std::string_view read_link(const char* path, std::span<char> out) noexcept;

[[nodiscard]] bool random(std::span<std::byte> out) noexcept;
[[nodiscard]] int process_id() noexcept;

/// The error's name in words ("No such file or directory"), without the locale.
std::string_view error_text(int error) noexcept;

}  // namespace poireau::sys
