#pragma once
#include <cstdint>
#include <string_view>

/// What sampling has cost so far, and what was lost.
namespace poireau::journal {

/// Calls `tell` for each cause of loss, zeros too.
void for_each_drop(void* to, void (*tell)(void* to, std::string_view cause, uint64_t count) noexcept) noexcept;

// With the trace's turn:

void tell_counters() noexcept;
/// Unless it was told within the last second, and in this file of samples.
void tell_counters_now_and_then() noexcept;

}  // namespace poireau::journal
