// Any bytes as a configuration file, and as names and values: values stay in range and texts can be set again.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "config/explain.h"
#include "config/toml.h"

extern "C" const char* const poireau_fuzz_seeds[];  // const alone would keep it in this file
const char* const poireau_fuzz_seeds[] = {
    "[poireau]\nsample_period = \"512KiB\" # mean\nsample_by = calls\n",
    "callers = [\"libssl.so.3=8\", 'redis-server+0x4a3b0=1/16']\r\nonly = \"a*, \\\"b\\\"\"\n",
    "\xEF\xBB\xBF# c\nlog=debug\nseed = 0xffff_ffff_ffff_ffff\n[other]\nx = 1\n[poireau]\nruntimes = 'sample'\n",
    "sample_period = 1_000 TB\ndeepbind = keep\nexclude = []\nsample_period_bytes=18446744073709551616",
    "callers = \"a=1/0,b=1025,c+0x=1,,d=\"\nsampl_period = \"\\x\"\nonly = [\"a\" \"b\"\n",
    "guard = 1000001\nguard = 0x10\nguard_mechanism = auto\non_error = \"abort\"\nstack_depth = 129\npoison = on\n",
    nullptr};

namespace poireau::config {
namespace {

void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "config_fuzz: %s\n", what);
  std::abort();
}

void check_values() {
  const uint64_t period = options.sample_period.load();
  require(period <= Size::kMost || period == kAutoPeriod, "sample_period is out of range");
  require(options.sample_by.load() <= SampleBy::calls, "sample_by is no choice");
  require(options.log.load() <= LogLevel::debug, "log is no choice");
  require(options.deepbind.load() <= Deepbind::keep, "deepbind is no choice");
  require(options.runtimes.load() <= Runtimes::sample, "runtimes is no choice");
  const uint64_t guard = options.guard.load();
  require(guard <= kGuardMostRate || guard >= kGuardGoverned, "guard is out of range");
  require(options.guard_mechanism.load() <= GuardMechanism::none, "guard_mechanism is no choice");
  require(options.on_error.load() <= OnError::abort, "on_error is no choice");
  require(options.stack_depth.load() <= Depth::kMost, "stack_depth is out of range");
  require(options.only.view().size() <= 512 && options.exclude.view().size() <= 512, "names are too long");
  const uint32_t highest = options.callers.highest_rate();
  require(highest >= 1 && highest <= Callers::kMostRate, "the highest rate is out of range");
  for (const char* module : {"a", "libssl.so.3", "redis-server"}) {
    const Rate rate = options.callers.rate_for(module_hash(module), 0x4a3b0);
    require(rate.denominator >= 1 && rate.denominator <= Callers::kMostRate, "a denominator is out of range");
    require(rate.numerator <= highest, "a rate is above the highest");
  }
}

void try_setting(std::string_view name, std::string_view value) {
  Text line, before, after, again;
  const OptionInfo* option = find(name);
  const std::string old(option == nullptr ? "" : option->show(before));
  const SetResult result = set(name, value, "fuzz", Phase::at_load);
  require((result == SetResult::unknown) == (option == nullptr), "an option is known and unknown");
  if (result != SetResult::ok) explain(line, name, result);
  for (const char c : line.view()) require(printable(c), "an unprintable message");
  if (option == nullptr) return;
  const std::string now(option->show(after));
  if (result != SetResult::ok) require(now == old, "a refused text changed the value");
  require(set(name, now, "fuzz", Phase::at_load) == SetResult::ok, "a shown text is refused");
  require(option->show(again) == now, "a shown text means something else");
  static_cast<void>(names_match(value, old));
}

}  // namespace
}  // namespace poireau::config

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace poireau::config;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  static char scratch[300];
  TomlReader reader(text, scratch);
  uint32_t last = 0;
  for (TomlLine line; reader.next(line);) {
    require(line.number > last, "lines run backwards");
    last = line.number;
    if (line.error.empty()) try_setting(line.key, line.value);
  }
  std::string_view value = text;
  const std::string_view name = trimmed(take_until(value, '='));
  try_setting(name, value);
  if (size > 0) try_setting(all_options()[data[0] % all_options().size()].name(), value);
  check_values();
  return 0;
}
