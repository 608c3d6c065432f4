// poireau-replay: makes the calls of a file again and says, as JSON, what that took. poireau/replay.py starts it, under
// whatever allocator is preloaded.
#include <sys/prctl.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string_view>

#include "poireau/native/replay_calls.h"
#include "poireau/native/replay_encode.h"
#include "poireau/native/replay_run.h"

namespace poireau::replay {

void fail(const char* what) noexcept {
  static std::atomic_flag failed = ATOMIC_FLAG_INIT;
  while (failed.test_and_set()) pause();  // until who was first has ended us all
  char line[4400];
  const int size = std::snprintf(line, sizeof line, "poireau-replay: %s\n", what);
  if (size > 0)
    static_cast<void>(!write(STDERR_FILENO, line, std::min<size_t>(sizeof line - 1, static_cast<size_t>(size))));
  _exit(1);
}

namespace {

/// What is slower is mostly another program's turn.
constexpr double kUsual = 0.999;

/// JSON on standard output, without a buffer that anybody would have to allocate.
class Json {
 public:
  ~Json() { flush(); }
  [[gnu::format(printf, 2, 3)]] Json& print(const char* format, ...) noexcept {
    if (sizeof room_ - used_ < kMostPiece) flush();
    va_list values;
    va_start(values, format);
    const int size = std::vsnprintf(room_ + used_, kMostPiece, format, values);
    va_end(values);
    used_ += std::min<size_t>(static_cast<size_t>(size), kMostPiece - 1);
    return *this;
  }
  Json& text(std::string_view text) noexcept {
    print("\"");
    for (const char c : text) {
      const auto code = static_cast<unsigned char>(c);
      if (code >= ' ' && code < 0x7f && c != '"' && c != '\\')
        print("%c", c);
      else
        print("\\u%04x", code >= 0x80 ? 0xdc00 + code : code);  // as Python's surrogateescape has it
    }
    return print("\"");
  }
  void flush() noexcept {
    for (size_t at = 0; at < used_;) {
      const ssize_t done = write(STDOUT_FILENO, room_ + at, used_ - at);
      if (done <= 0) _exit(1);
      at += static_cast<size_t>(done);
    }
    used_ = 0;
  }

 private:
  static constexpr size_t kMostPiece = 512;
  char room_[16 << 10];
  size_t used_ = 0;
};

void tell_file(Json& out, const Calls& calls) noexcept {
  const Trailer& t = calls.trailer();
  out.print("\"calls\": %lu, \"slots\": %lu, \"peak_bytes\": %lu, \"peak_blocks\": %lu, ", t.calls, t.slots,
            t.peak_bytes, t.peak_blocks)
      .print("\"nanoseconds\": %ld, \"late\": %lu, \"homeless\": %lu, \"unseen\": %lu, \"misordered\": %lu, ",
             t.end - t.begin, t.late, t.homeless, t.unseen, t.misordered)
      .print("\"threads\": %zu, \"facts\": ", calls.threads().size())
      .text(calls.facts());
}

void tell(Json& out, const Calls& calls, const Result& result) noexcept {
  const auto nanoseconds = static_cast<double>(result.after.nanoseconds - result.before.nanoseconds);
  const double tick = nanoseconds / static_cast<double>(result.after.ticks - result.before.ticks);
  const char* lacks = nullptr;
  const char* const file = allocator(lacks);
  constexpr const char* kForms[] = {"start", "birth", "resize", "release"};
  out.print("{");
  tell_file(out, calls);
  out.print(", \"allocator\": ").text(file != nullptr ? file : "");
  out.print(", \"seconds\": %.9f, \"user_seconds\": %.6f, \"system_seconds\": %.6f, ", nanoseconds / 1e9,
            static_cast<double>(result.after.user_microseconds - result.before.user_microseconds) / 1e6,
            static_cast<double>(result.after.system_microseconds - result.before.system_microseconds) / 1e6);
  const uint64_t others = result.before_peak + result.own;
  out.print("\"peak_rss\": %lu, \"peak_rss_is_its_own\": %s, ", result.peak > others ? result.peak - others : 0,
            result.peak_is_ours ? "true" : "false");
  out.print("\"minor_faults\": %lu, \"major_faults\": %lu, ", result.after.minor_faults - result.before.minor_faults,
            result.after.major_faults - result.before.major_faults);
  const Tally& tally = *result.tally;
  out.print("\"waits\": %lu, \"waited_seconds\": %.6f, \"holds\": %lu, \"failed\": %lu, \"misaligned\": %lu, ",
            tally.waits, static_cast<double>(tally.waited) * tick / 1e9, tally.holds, tally.failed, tally.misaligned);
  out.print("\"subtracted_ns\": %.2f, \"sizes\": [", result.nothing * tick);
  for (size_t i = 0; i < kSizeClasses; ++i) out.print("%s%lu", i == 0 ? "" : ", ", tally.sizes[i]);
  out.print("], \"functions\": [");
  for (size_t i = 1; i < calls.functions().size(); ++i) {
    const Function& function = calls.functions()[i];
    const Histogram& seen = tally.functions[i];
    out.print("%s{\"name\": ", i == 1 ? "" : ", ").text(function.name);
    out.print(", \"form\": \"%s\", \"aligned\": %s, \"calls\": %lu, ", kForms[static_cast<size_t>(function.form)],
              function.aligned ? "true" : "false", seen.count());
    const Stand stand = stand_for(function);
    if (stand.instead != nullptr) out.print("\"performed_as\": \"%s\", ", stand.instead);
    const auto time = [&](double ticks) { return std::max(0.0, ticks - result.nothing) * tick; };
    const auto count = static_cast<double>(std::max<uint64_t>(seen.count(), 1));
    out.print("\"mean_ns\": %.2f, \"median_ns\": %.2f, \"p99_ns\": %.2f, \"longest_ns\": %.0f, ",
              time(static_cast<double>(seen.sum()) / count), time(seen.quantile(0.5)), time(seen.quantile(0.99)),
              time(static_cast<double>(seen.longest())));
    out.print("\"usual_mean_ns\": %.2f}", time(seen.mean_of_shortest(kUsual)));
  }
  out.print("], \"calls_of_threads\": [");
  for (size_t i = 0; i < calls.threads().size(); ++i)
    out.print("%s[%lu, %lu]", i == 0 ? "" : ", ", calls.threads()[i].id, result.calls[i]);
  out.print("]}\n");
}

constexpr char kUsage[] =
    "usage: poireau-replay [--threads N] [--touch none|byte|page|all] [--pace N] [--ahead N] [--max-memory BYTES] "
    "FILE\n"
    "       poireau-replay --check FILE\n"
    "       poireau-replay --encode < RECORDS > FILE";

double number(const char* text) noexcept {
  char* end = nullptr;
  const double value = text == nullptr ? -1 : std::strtod(text, &end);
  if (text == nullptr || end == text || *end != '\0' || !(value >= 0) || value > 1e18) fail(kUsage);
  return value;
}

int main_of(int count, char** words) noexcept {
  prctl(PR_SET_PDEATHSIG, SIGKILL);  // who started us is to be told, or nobody
  Wishes wishes;
  bool check = false;
  const char* path = nullptr;
  for (int i = 1; i < count; ++i) {
    const std::string_view word = words[i];
    const char* const next = words[i + 1];
    if (word == "--encode") {
      if (const char* const wrong = encode(STDIN_FILENO, STDOUT_FILENO)) fail(wrong);
      return 0;
    }
    if (word == "--check") {
      check = true;
    } else if (word == "--threads") {
      wishes.threads = static_cast<uint32_t>(std::min(number(next), 1e6)), ++i;
    } else if (word == "--max-memory") {
      wishes.most_memory = static_cast<uint64_t>(number(next)), ++i;
    } else if (word == "--ahead") {
      wishes.ahead = static_cast<uint64_t>(number(next)), ++i;
    } else if (word == "--pace") {
      wishes.pace = number(next), ++i;
    } else if (word == "--touch" && next != nullptr) {
      constexpr std::string_view kNames[] = {"none", "byte", "page", "all"};
      const auto* const found = std::find(std::begin(kNames), std::end(kNames), std::string_view(next));
      if (found == std::end(kNames)) fail(kUsage);
      wishes.touch = static_cast<Touch>(found - kNames), ++i;
    } else if (path == nullptr && !word.starts_with("--")) {
      path = words[i];
    } else {
      fail(kUsage);
    }
  }
  if (path == nullptr) fail(kUsage);
  static Calls calls;
  if (const char* const wrong = calls.open(path)) {
    char line[4300];
    std::snprintf(line, sizeof line, "%.4096s: %s", path, wrong);
    fail(line);
  }
  static Json out;
  if (check) {
    out.print("{");
    tell_file(out, calls);
    out.print("}\n");
    return 0;
  }
  const char* lacks = nullptr;
  const char* const file = allocator(lacks);
  if (lacks != nullptr) {
    char line[4300];
    std::snprintf(line, sizeof line, "%.4096s has malloc, but no %s", file != nullptr ? file : "what is preloaded",
                  lacks);
    fail(line);
  }
  tell(out, calls, run(calls, wishes));
  return 0;
}

}  // namespace
}  // namespace poireau::replay

int main(int count, char** words) { return poireau::replay::main_of(count, words); }
