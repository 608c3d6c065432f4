#pragma once
#include <cstdint>
#include <string_view>

/// Which process this is. A fork child is another one, however it was made; a vfork child is not.
namespace poireau::process {

/// Learns who we are and prepares to notice a fork. `may_call` is false inside a sandbox: then no system call is made
/// and forks are noticed only through fork().
void begin(bool may_call) noexcept;

/// Whether we are a fork child that has not called `forked` yet.
[[nodiscard]] bool is_new_child() noexcept;

/// Takes on an identity of its own.
void forked() noexcept;

/// 128 random bits that no other process has.
struct RunId {
  uint64_t high, low;
};
[[nodiscard]] RunId run_id() noexcept;

/// How many forks lie between this process and the one that was executed.
[[nodiscard]] uint64_t generation() noexcept;

/// Another seed each time, from the process's own randomness or from the option `seed`.
[[nodiscard]] uint64_t next_seed() noexcept;

/// The program's file name without its folder, and as it was called (a script's name, say).
[[nodiscard]] std::string_view program() noexcept;
[[nodiscard]] std::string_view called_as() noexcept;

}  // namespace poireau::process
