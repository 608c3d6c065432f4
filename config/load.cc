#include "config/load.h"

#include <cerrno>
#include <initializer_list>

#include "config/toml.h"
#include "preload/base/sys.h"

namespace poireau::config {
namespace {

constexpr size_t kMostFile = 64 << 10, kMostPath = 4096, kMostKey = 64;
constexpr size_t kMostVariable = 128 << 10;  // the kernel passes no longer one
constexpr std::string_view kPrefix = "POIREAU_", kConfigFile = "POIREAU_CONFIG";
constexpr std::string_view kRun = "POIREAU_RUN";  // for trace_place.h

// Static, for the stack may be small: we run before main, but perhaps not on the first thread's stack. The paths
// (the system's, the user's, the one named) stay because they become origins; one behind the other, so that most
// processes touch but one page.
constinit std::array<char, 3 * kMostPath> paths{};
constinit size_t paths_end = 0;
[[gnu::section(".lbss")]] constinit std::array<char, kMostFile + 1> file_text{};
[[gnu::section(".lbss")]] constinit std::array<char, 2048> value_text{};  // longer than any value can be
[[gnu::section(".lbss")]] constinit PendingComplaints pending{};

/// A view of a C string. Not strlen: nothing of libc may run yet.
std::string_view view(const char* text) noexcept {
  size_t length = 0;
  while (length < kMostVariable && text[length] != '\0') ++length;
  return {text, length};
}

/// The variable's value; empty when it is not set.
std::string_view variable(const char* const* environment, std::string_view name) noexcept {
  for (; *environment != nullptr; ++environment) {
    std::string_view value = view(*environment);
    if (take_until(value, '=') == name) return value;
  }
  return {};
}

/// Puts the parts together in `paths` with a final '\0'; empty when they are too long.
std::string_view join(std::initializer_list<std::string_view> parts) noexcept {
  char* const path = paths.data() + paths_end;
  size_t used = 0;
  for (const std::string_view part : parts) {
    if (part.size() >= kMostPath - used) return {};
    std::memcpy(path + used, part.data(), part.size());
    used += part.size();
  }
  path[used] = '\0';
  paths_end += used + 1;
  return {path, used};
}

struct Contents {
  std::string_view text, problem;
  bool missing = false;
};

Contents read_all(int descriptor) noexcept {
  sys::FileInfo info;
  if (!sys::file_info(descriptor, info)) return {{}, "it can't be examined"};
  if (!info.regular) return {{}, "it is not a regular file"};
  if (info.world_writable) return {{}, "anybody may write to it"};
  size_t used = 0;
  while (used < file_text.size()) {
    const int64_t got = sys::read(descriptor, std::span(file_text).subspan(used));
    if (got < 0) return {{}, sys::error_text(static_cast<int>(-got))};
    if (got == 0) return {{file_text.data(), used}, {}};
    used += static_cast<size_t>(got);
  }
  return {{}, "it is larger than 64KiB"};
}

Contents read_file(const char* path) noexcept {
  const int descriptor = sys::open_to_read(path);
  if (descriptor < 0) {
    // A daemon may not even enter its former user's home: what may be there is none of its business.
    const bool missing = descriptor == -ENOENT || descriptor == -ENOTDIR || !sys::exists(path);
    return {{}, sys::error_text(-descriptor), missing};
  }
  const Contents contents = read_all(descriptor);
  sys::close(descriptor);
  return contents;
}

void apply(const Place& place, std::string_view origin) noexcept {
  const SetResult result = set(place.key, place.value, origin, Phase::at_load);
  if (result != SetResult::ok) pending.about_setting(place, result);
}

enum class IfMissing : bool { silent, complain };

void load_file(std::string_view path, IfMissing if_missing) noexcept {
  if (path.empty()) return;
  Source source{path};
  const Contents contents = read_file(path.data());
  if (!contents.problem.empty()) {
    if (!contents.missing || if_missing == IfMissing::complain) pending.about_source(source, contents.problem);
    return;
  }
  TomlReader reader(contents.text, value_text);
  for (TomlLine line; reader.next(line);) {
    const Place place{source, line.number, line.key, line.value};
    if (line.error.empty())
      apply(place, path);
    else
      pending.about_line(place, line.error);
  }
}

void load_user_file(const char* const* environment) noexcept {
  // A relative path would let whoever owns the working directory of a daemon configure it.
  const std::string_view config = variable(environment, "XDG_CONFIG_HOME"), home = variable(environment, "HOME");
  if (config.starts_with('/'))
    load_file(join({config, "/poireau/config.toml"}), IfMissing::silent);
  else if (home.starts_with('/'))
    load_file(join({home, "/.config/poireau/config.toml"}), IfMissing::silent);
}

void load_named_file(const char* const* environment) noexcept {
  const std::string_view path = variable(environment, kConfigFile);
  if (path.empty()) return;
  Source source{kConfigFile};
  if (!path.starts_with('/'))
    pending.about_source(source, "it must be an absolute path");
  else if (const std::string_view copy = join({path}); copy.empty())
    pending.about_source(source, "the path is too long");
  else
    load_file(copy, IfMissing::complain);
}

void load_variable(std::string_view value, Source& source, bool aliases) noexcept {
  if (!value.starts_with(kPrefix)) return;
  const std::string_view name = take_until(value, '=');
  if (name == kConfigFile || name == kRun) return;
  std::array<char, kMostKey> key;
  const size_t length = std::min(name.size() - kPrefix.size(), key.size());
  std::transform(name.begin() + kPrefix.size(), name.begin() + kPrefix.size() + length, key.begin(), lower);

  const Place place{source, 0, {key.data(), length}, value};
  const OptionInfo* option = find(place.key);
  const bool is_alias = option != nullptr && option->name() != place.key;
  if (is_alias == aliases) apply(place, "environment");
}

void load_environment(const char* const* environment) noexcept {
  Source source{"environment"};
  size_t count = 0;
  while (environment[count] != nullptr) ++count;
  // Of two variables of one name getenv sees the first, and a name wins over its aliases; here the last one wins.
  for (const bool aliases : {true, false})
    for (size_t i = count; i-- > 0;) load_variable(view(environment[i]), source, aliases);
}

}  // namespace

void load(const char* const* environment, Complaints sink, std::string_view system_directory) noexcept {
  constexpr const char* kEmpty[] = {nullptr};
  if (environment == nullptr) environment = kEmpty;
  paths_end = 0;
  load_file(join({system_directory, "/poireau.toml"}), IfMissing::silent);
  load_user_file(environment);
  load_named_file(environment);
  load_environment(environment);
  pending.settle(options.log.load(std::memory_order_relaxed) == LogLevel::off ? nullptr : sink);
}

}  // namespace poireau::config
