#pragma once
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "poireau/native/scan.h"

/// What a process's threads have in their registers. Each must stop for that: PTRACE_SEIZE, which leaves it running
/// should we die, and lets it go on as it was.
namespace poireau::scan {

struct Registers {
  std::span<const char> set;
  uint32_t number;  // 0: general ones, 1: vectors and the like
};

/// As far as they can be had; while it is stopped.
using Met = std::function<void(PoireauScanThread& thread, std::span<const Registers> registers)>;

/// A thread after the other. Nanoseconds that the one was stopped that was stopped longest.
uint64_t visit_each(int pid, std::vector<PoireauScanThread>& threads, const Met& met);

/// All of them together, and `then` while they are; it is told the nanoseconds that are left of the budget. Where they
/// are many, each by itself, and where stopping them took too long, there is no `then`. Nanoseconds that they were
/// stopped.
uint64_t visit_stopped(int pid, uint64_t budget, std::vector<PoireauScanThread>& threads, const Met& met,
                       const std::function<void(uint64_t left)>& then);

[[nodiscard]] uint64_t now();

}  // namespace poireau::scan
