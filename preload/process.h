#pragma once
#include <atomic>
#include <cstdint>
#include <string_view>

/// Which process this is. A fork child is another one, however it was made; a vfork child is not.
namespace poireau::process {

/// Learns who we are and prepares to notice a fork. In a sandbox no system call is made for it, and only fork() itself
/// is noticed.
void begin() noexcept;

/// For the parent, before a fork: so that its children differ.
void about_to_fork() noexcept;

/// Nonzero in the process that wrote it: the kernel wipes its page in a fork child. nullptr: no such page.
[[gnu::visibility("hidden")]] extern constinit std::atomic<uint64_t>* alive;
/// Whether we are a fork child that has not called `forked` yet.
[[nodiscard]] inline bool is_new_child() noexcept {
  return alive != nullptr && alive->load(std::memory_order_relaxed) == 0;
}

/// In a fork child: takes on an identity of its own, without a system call. False: it has done so before.
bool forked() noexcept;

/// 128 random bits that no other process has.
struct RunId {
  uint64_t high, low;
};
[[nodiscard]] RunId run_id() noexcept;
/// Of the process that it was forked from; zeros: it was executed.
[[nodiscard]] RunId parent() noexcept;

/// How many forks lie between this process and the one that was executed.
[[nodiscard]] uint64_t generation() noexcept;

/// Another seed each time, from the process's own randomness or from the option `seed`.
[[nodiscard]] uint64_t next_seed() noexcept;

/// The program's file; empty: unknown.
[[nodiscard]] std::string_view executable() noexcept;
/// Its name without its folder, and as it was called (a script's name, say).
[[nodiscard]] std::string_view program() noexcept;
[[nodiscard]] std::string_view called_as() noexcept;

}  // namespace poireau::process
