#pragma once
#include <cstdint>

/// `sample_period = auto`: every call is a sample at first, and the period doubles after each 1024 samples, up to
/// 512 KiB (by calls: 8192 of them, which ask for about as much). So a short program's profile is exact, a longer
/// one's is 20 000 samples better than with the usual period, and a server's is soon at its usual price: what comes
/// before takes a process 0.1 to 0.2 s of CPU time in all, whatever it does, and is nothing that the governor minds.
///
/// The period of a request depends on nothing but what was sampled before it, so that estimates are unbiased as with
/// any other. A fork child goes on where its parent was; who sets the option (again) has it start over. Any thread.
namespace poireau::auto_period {

constexpr uint64_t kSamplesOfEach = 1024, kLongest = 512 << 10, kMostCalls = 8192;

/// In force after so many samples.
[[nodiscard]] constexpr uint64_t after(uint64_t samples, bool by_calls) noexcept {
  const uint64_t doublings = samples / kSamplesOfEach, longest = by_calls ? kMostCalls : kLongest;
  return doublings < 20 && uint64_t{1} << doublings < longest ? uint64_t{1} << doublings : longest;
}

/// In force now.
[[nodiscard]] uint64_t now() noexcept;
/// Whether it still grows.
[[nodiscard]] bool grows() noexcept;
/// One more sample. Returns whether that has doubled the period.
bool count() noexcept;
void start_over() noexcept;

}  // namespace poireau::auto_period
