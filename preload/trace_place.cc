#include "preload/trace_place.h"

#include <linux/magic.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <utility>

#include "config/explain.h"
#include "config/options.h"
#include "config/scan.h"
#include "preload/base/random.h"
#include "preload/base/sys.h"
#include "preload/base/text.h"
#include "preload/process.h"
#include "preload/sandbox.h"
#include "preload/trace_directory.h"
#include "preload/trace_names.h"

namespace poireau::trace {
namespace {

constexpr size_t kMostParent = 1024;  // as of the option
static_assert(kMostParent + 2 * (1 + kMostName) < sizeof(Place::path));
constexpr uint32_t kSticky = 01000, kOthersMayWrite = 022, kOthersMayAnything = 077;
constexpr int kTries = 8;

struct Parent {
  std::string_view path;
  size_t of_user = 0;   // so much of the path has to be the user's, if it is there
  size_t given = 0;     // so much of it we never make
  bool named = false;   // by the option, so somebody means just that
  bool linked = false;  // may be a symbolic link: systemd makes one of a DynamicUser's $STATE_DIRECTORY
};

constinit std::array<char, kMostParent> environment_path{};
constinit Parent environment_parent{};
constinit Name run{};  // empty: none yet
constinit std::atomic<uint64_t> others{0};

/// A view of a C string. Not strlen: nothing of libc may run yet.
std::string_view view(const char* text) noexcept {
  size_t length = 0;
  while (text[length] != '\0') ++length;
  return {text, length};
}

/// The variable's value; empty when it is not set.
std::string_view variable(const char* const* environment, std::string_view name) noexcept {
  for (; *environment != nullptr; ++environment) {
    std::string_view value = view(*environment);
    if (config::take_until(value, '=') == name) return value;
  }
  return {};
}

void keep(std::string_view theirs, std::string_view ours, Parent rest) noexcept {
  const size_t size = theirs.size() + ours.size();
  if (size > kMostParent) return;
  std::copy(ours.begin(), ours.end(), std::copy(theirs.begin(), theirs.end(), environment_path.begin()));
  environment_parent = rest;
  environment_parent.path = {environment_path.data(), size};
}

Parent parent() noexcept {
  std::string_view named = options.trace.view();
  while (named.size() > 1 && named.ends_with('/')) named.remove_suffix(1);  // or a link would be followed
  return named.empty() ? environment_parent : Parent{named, 0, 0, true, false};
}

/// A path that grows, and what to say when it can't be gone.
class Way {
 public:
  Way(std::span<char> path, std::string_view& why, std::span<char> room) noexcept
      : path_(path), why_(why), room_(room) {}

  void append(std::string_view part) noexcept {
    std::copy(part.begin(), part.end(), path_.begin() + size_);
    size_ += part.size();
    path_[size_] = '\0';
  }
  void append(const Name& name) noexcept {
    append("/");
    append(view(name.data()));
  }
  void cut(size_t size) noexcept { path_[size_ = size] = '\0'; }
  [[nodiscard]] size_t size() const noexcept { return size_; }
  [[nodiscard]] const char* path() const noexcept { return path_.data(); }

  /// Makes what is missing of it, but for the first `given` bytes. Returns the error's number; 0: done.
  [[nodiscard]] int make(size_t given) noexcept {
    for (size_t end = given + 1; end <= size_; ++end) {
      if (path_[end] != '/' && end != size_) continue;
      const char next = std::exchange(path_[end], '\0');
      const int error = sys::make_directory(sys::kAnywhere, path());
      path_[end] = next;
      if (error != 0 && error != EEXIST) return error;
    }
    return 0;
  }

  /// These say what the matter is, and return false.
  [[gnu::cold]] bool blocked(std::string_view reason, std::string_view joint = " ") noexcept {
    Text text;
    config::add_foreign(text, {path_.data(), size_}, 400);
    text << joint << reason;
    const size_t fits = std::min(text.view().size(), room_.size());
    std::copy_n(text.view().begin(), fits, room_.begin());
    return say({room_.data(), fits});
  }
  [[gnu::cold]] bool blocked(int error) noexcept {
    sys::EntryInfo info;
    if (sys::entry_info(sys::kAnywhere, path(), info) == 0 && info.link) return blocked("is a symbolic link");
    return blocked(sys::error_text(error), ": ");
  }
  bool say(std::string_view text) noexcept {
    why_ = text;
    return false;
  }

 private:
  std::span<char> path_;
  size_t size_ = 0;
  std::string_view& why_;
  std::span<char> room_;
};

/// What is wrong with the parent; empty: nothing. Below a sticky directory nobody else can replace what is ours, and
/// what root does he answers for.
std::string_view objection(const sys::EntryInfo& info, uint32_t user, const Parent& to) noexcept {
  const bool trusted = info.owner == user || (to.named && (info.owner == 0 || user == 0));
  if (!trusted) return "belongs to another user";
  const bool protected_from_others = to.named && (info.permissions & kSticky) != 0;
  if ((info.permissions & kOthersMayWrite) != 0 && !protected_from_others) return "may be written by others";
  return {};
}

/// The same of a directory of ours.
std::string_view objection(const sys::EntryInfo& info, uint32_t user) noexcept {
  if (info.owner != user) return "belongs to another user";
  return (info.permissions & kOthersMayAnything) != 0 ? "is open to others" : std::string_view();
}

bool can_be_mapped(int directory) noexcept {
  const uint64_t kind = sys::file_system(directory);
  return kind == EXT4_SUPER_MAGIC || kind == XFS_SUPER_MAGIC || kind == TMPFS_MAGIC || kind == OVERLAYFS_SUPER_MAGIC;
}

/// As names need it: nobody can know it before. Not from the option `seed`: two runs must not meet.
uint32_t random(uint64_t salt) noexcept {
  const process::RunId id = process::run_id();
  return static_cast<uint32_t>(scramble(id.high ^ scramble(id.low + salt)) >> 32);
}

bool open_parent(const Parent& to, uint32_t user, Way& way, Directory& out) noexcept {
  way.append({to.path.data(), to.of_user});
  sys::EntryInfo info;
  // Else root, by way of sudo, would make directories in a user's home that the user has no use for.
  if (to.of_user != 0 && sys::entry_info(sys::kAnywhere, way.path(), info, sys::Links::follow) == 0 &&
      info.owner != user)
    return way.blocked("belongs to another user");
  way.append({to.path.data() + to.of_user, to.path.size() - to.of_user});
  const sys::Links links = to.linked ? sys::Links::follow : sys::Links::refuse;
  out = Directory(sys::kAnywhere, way.path(), links);
  if (out.error() == ENOENT) {
    if (const int error = way.make(to.given); error != 0) return way.blocked(error);
    out = Directory(sys::kAnywhere, way.path(), links);
  }
  if (out.error() != 0) return way.blocked(out.error());
  const std::string_view wrong = objection(out.info(), user, to);
  return wrong.empty() || way.blocked(wrong);
}

/// One that others may have made, and may remove while it is empty.
Directory make_or_open(int at, const char* name) noexcept {
  for (int left = kTries;; --left) {
    if (const int error = sys::make_directory(at, name); error != 0 && error != EEXIST) return Directory(error);
    Directory got(at, name);
    if (got.error() != ENOENT || left == 0) return got;
  }
}

/// A run of another user can't be ours: a daemon may have given up its rights, or a script called sudo.
bool is_of_others(int at, const char* name, uint32_t user) noexcept {
  sys::EntryInfo info;
  return sys::entry_info(at, name, info) == 0 && info.directory && info.owner != user;
}

/// Below `in`, which is `way`.
bool open_run(const Directory& in, int64_t time, uint32_t process, uint32_t user, Way& way, Directory& out) noexcept {
  if (run[0] == '\0' || is_of_others(in.descriptor(), run.data(), user))
    run = name_of_run(time, process::program(), process, random(0));
  way.append(run);
  out = make_or_open(in.descriptor(), run.data());
  if (out.error() != 0) return way.blocked(out.error());
  const std::string_view wrong = objection(out.info(), user);
  return wrong.empty() || way.blocked(wrong);
}

/// Returns the error's number; 0: done.
int make_process(const Directory& in, int64_t time, const Maker& maker, Way& way, Directory& out) noexcept {
  Name name;
  int error;
  uint64_t salt = 0;
  do {
    name = name_of_process(time, process::program(), maker, random(++salt));
    error = sys::make_directory(in.descriptor(), name.data());
  } while (error == EEXIST && salt < kTries);
  way.append(name);
  if (error != 0) return error;
  out = Directory(in.descriptor(), name.data());
  if (out.error() != 0) static_cast<void>(sys::remove_directory(in.descriptor(), name.data()));
  return out.error();
}

bool make(Place& out, const Parent& to, Way& way) noexcept {
  uint32_t user;
  Maker maker;
  if (!sys::user_id(user) || !know_ourselves(maker)) return way.say("who we are can't be found out");
  const int64_t time = sys::calendar_time();
  Directory parent(0), all(0), own(0);
  if (!open_parent(to, user, way, parent)) return false;
  const size_t size = way.size();
  int error;
  int left = kTries;
  do {
    way.cut(size);
    if (!open_run(parent, time, maker.process, user, way, all)) return false;
    error = make_process(all, time, maker, way, own);
  } while (error == ENOENT && --left > 0);  // a run that is empty may be removed by another process (make_room)
  if (error != 0) return way.blocked(error);
  others.store(std::max<uint64_t>(all.info().names, 2) - 2, std::memory_order_relaxed);
  out.device = own.info().device;
  out.inode = own.info().inode;
  out.mappable = can_be_mapped(own.descriptor());
  return true;
}

}  // namespace

void look_at_environment(const char* const* environment) noexcept {
  constexpr const char* kEmpty[] = {nullptr};
  if (environment == nullptr) environment = kEmpty;
  // A relative path would be another one after a chdir.
  std::string_view services = variable(environment, "STATE_DIRECTORY");
  const std::string_view state = variable(environment, "XDG_STATE_HOME"), home = variable(environment, "HOME");
  environment_parent = {};
  if (services = config::take_until(services, ':'); services.starts_with('/'))
    keep(services, "", {{}, services.size(), services.size(), false, true});
  else if (state.starts_with('/'))
    keep(state, "/poireau/traces", {{}, state.size(), 0, false, false});
  else if (home.starts_with('/'))
    keep(home, "/.local/state/poireau/traces", {{}, home.size(), home.size(), false, false});

  run = {};
  const std::string_view name = variable(environment, "POIREAU_RUN");
  if (is_name_of_run(name)) std::copy(name.begin(), name.end(), run.begin());
}

bool make_place(Place& out, std::string_view& why, std::span<char> room) noexcept {
  out = {};
  Way way(out.path, why, room);
  const Parent to = parent();
  const sandbox::State state = sandbox::state();
  // In a sandbox that came with us, whoever named the directory or the run knows that it lets files be made.
  if (state != sandbox::State::open && !(state == sandbox::State::inherited && (to.named || run[0] != '\0')))
    return way.say("in a seccomp sandbox");
  if (to.path.empty()) return way.say("no directory for it: set trace, or HOME");
  if (make(out, to, way)) return true;
  out.path[0] = '\0';
  return false;
}

void unmake_place(Place& place) noexcept {
  if (place.path[0] == '\0') return;
  if (const int directory = open_place(place); directory >= 0) {
    static_cast<void>(sys::remove_file(directory, "metadata"));
    sys::close(directory);
    if (sys::remove_directory(sys::kAnywhere, place.path.data()) == 0) {
      place.path[std::string_view(place.path.data()).rfind('/')] = '\0';
      static_cast<void>(sys::remove_directory(sys::kAnywhere, place.path.data()));
    }
  }
  place = {};
}

uint64_t processes_before() noexcept { return others.load(std::memory_order_relaxed); }

void forked_place() noexcept {
  // Another thread may have been about to write it, and is gone.
  if (!is_name_of_run(view(run.data()))) run = {};
}

int open_place(const Place& place) noexcept {
  Directory found(sys::kAnywhere, place.path.data());
  if (found.error() != 0) return -found.error();
  if (found.info().device != place.device || found.info().inode != place.inode) return -ESTALE;
  return found.release();
}

}  // namespace poireau::trace
