#pragma once
#include <algorithm>
#include <bit>
#include <cstdint>

/// `sample_period = auto`: every call is a sample at first, and the period doubles after each 1024 samples, up to
/// 512 KiB (by calls: 8192 of them, which ask for about as much). So a short program's profile is exact, a longer
/// one's is 20 000 samples better than with the usual period, and a server's is soon at its usual price: what comes
/// before takes a process 0.1 to 0.2 s of CPU time in all, whatever it does, and is nothing that the governor minds.
/// It takes less from the later processes of a run, of which a build has thousands: the second has 512 samples of each
/// period, the third and fourth 256 and so on, so that n processes have no more than 20 000 * (1 + log2 n) of them.
///
/// The period of a request depends on nothing but what was sampled before it, so that estimates are unbiased as with
/// any other. A fork child goes on where its parent was; who sets the option (again) has it start over. Any thread.
namespace poireau::auto_period {

constexpr uint64_t kLongest = 512 << 10, kMostCalls = 8192;
constexpr unsigned kMost = 10;  // doublings, of 1

/// The logarithm of how many samples of each period a process has, after so many others.
[[nodiscard]] constexpr unsigned of_each(uint64_t before) noexcept {
  return kMost - std::min<unsigned>(static_cast<unsigned>(std::bit_width(before)), kMost);
}

/// In force after so many samples.
[[nodiscard]] constexpr uint64_t after(uint64_t samples, unsigned of_each, bool by_calls) noexcept {
  const uint64_t doublings = samples >> of_each, longest = by_calls ? kMostCalls : kLongest;
  return doublings < 20 && uint64_t{1} << doublings < longest ? uint64_t{1} << doublings : longest;
}

/// In force now.
[[nodiscard]] uint64_t now() noexcept;
/// Whether it still grows.
[[nodiscard]] bool grows() noexcept;
/// One more sample, of a process that is the first of its run but for so many. Returns whether the period has doubled.
bool count(uint64_t before) noexcept;
void start_over() noexcept;

}  // namespace poireau::auto_period
