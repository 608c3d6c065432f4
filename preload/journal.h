#pragma once
#include <cstdint>
#include <span>
#include <string_view>

#include "tracked_alloc/homes.h"

/// What is told of each sample: to the embedded trace, which remembers in the block's record what it owes and repairs
/// that later (checkpoints, and births and deaths that came when nobody could write), and to who listens besides.
/// Any thread, any time.
namespace poireau::journal {

/// A block that has just got its home; nobody else knows of it yet.
void born(const tracked_alloc::Home& home) noexcept;
/// A block that has just got its home and is not to be told of.
void hidden(const tracked_alloc::Home& home) noexcept;
/// A block that has another size and birth in the home that it had.
void resized(tracked_alloc::region::Id id) noexcept;
/// A claimed block that is about to be finished, by the function of that name.
void died(const tracked_alloc::Claim& claim, const tracked_alloc::Death& death, std::string_view function) noexcept;

struct Error {
  std::string_view error, function;
  uintptr_t address, block;  // the block it concerns; 0: none is known
  uint64_t size;             // the block's
  std::span<const uintptr_t> frames;
};
void erred(const Error& error) noexcept;
/// What the program has told us: the phase that it is in, and (false: it is no sampled one) a block that it keeps.
void noted(std::string_view name, std::string_view value) noexcept;
[[nodiscard]] bool kept(uintptr_t block) noexcept;
/// From here on an option is in force with another value. Told even by who is not sampled now.
void option_changed(std::string_view name, std::string_view value) noexcept;

/// In a fork child.
void forked() noexcept;
/// At the end of the process: what is owed is written, and the counters.
void finish() noexcept;

/// Births and deaths that were never written.
[[nodiscard]] uint64_t lost() noexcept;

}  // namespace poireau::journal
