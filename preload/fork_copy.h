#pragma once
#include <cstdint>

/// A fork child's own copy of the memory of remapped blocks, which is shared. Its parent stands still, as far as it can
/// be made to, until the child has come apart.
namespace poireau::fork_copy {

/// Around a fork that is seen: by who forks, and then by both sides. In between errno is 0, or says why there is no
/// child.
void before() noexcept;
void in_parent() noexcept;
/// Whether the calling thread is between the two.
[[nodiscard]] bool forking() noexcept;
/// In the child, before anybody asks for a block; also in one that comes to be known late, by whoever asks.
void in_child() noexcept;

/// Copies that were made while somebody may have been writing, of this process: as a parent, or when it began.
[[nodiscard]] uint64_t torn() noexcept;

}  // namespace poireau::fork_copy
