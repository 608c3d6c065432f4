#include "poireau/native/symbols.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <mutex>
#include <span>

#include "poireau/native/symbols_answer.h"
#include "poireau/native/symbols_debug.h"
#include "poireau/native/symbols_file.h"
#include "poireau/native/symbols_name.h"
#include "poireau/native/symbols_table.h"

struct PoireauSymbols {
  int32_t state = poireau_symbols_unreadable;
  std::string bytes;
  PoireauSymbolColumns columns{};
  std::vector<uint64_t> nothing;  // the ends of addresses of which nothing is known
};

namespace poireau::symbols {
namespace {

using Clock = std::chrono::steady_clock;
constexpr size_t kMostBytes = size_t{2} << 30;  // of an answer

std::optional<Answer> look_up(const PoireauSymbolFiles& files, std::span<const uint64_t> addresses, bool places) {
  const File binary(files.binary), apart(files.debug), supplement(files.supplement);
  if (!binary && !apart) return std::nullopt;
  const File compressed = File::inside(binary);
  const Code code(binary ? binary : apart);
  Table table(code);
  for (const File* file : {&apart, &binary, &compressed}) table.add(*file);
  table.add(stubs_of(binary));
  table.sort();
  Answer answer;
  static const File none;
  Debug debug(!places ? none : apart ? apart : binary, supplement, code, table, answer);
  for (const uint64_t address : addresses) {
    if (!(debug && debug.add(address))) {
      const Table::Symbol* symbol = table.find(address);
      if (symbol != nullptr) answer.add(answer.functions.number(as_written(symbol->name)), 0, 0, false);
    }
    answer.end();
  }
  return answer;
}

/// In the child: everything that could do harm.
[[noreturn]] void work(const PoireauSymbolFiles& files, std::span<const uint64_t> addresses, bool places, int out) {
  int status = EXIT_FAILURE;
  try {
    if (const auto answer = look_up(files, addresses, places)) {
      const std::string bytes = answer->pack();
      size_t done = 0;
      while (done < bytes.size()) {
        const ssize_t wrote = write(out, bytes.data() + done, bytes.size() - done);
        if (wrote <= 0) break;
        done += static_cast<size_t>(wrote);
      }
      status = EXIT_SUCCESS;
    }
  } catch (...) {
    abort();  // no memory left: as if libdw had come to that first
  }
  _exit(status);
}

/// Bytes of address space that we have.
uint64_t own_size() {
  uint64_t pages = 0;
  if (FILE* file = fopen("/proc/self/statm", "re")) {
    if (fscanf(file, "%lu", &pages) != 1) pages = 0;
    fclose(file);
  }
  return pages * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
}

/// What the caller made of signals is not for the child, and whatever ends it is not for anybody to hear of.
void confine(uint64_t memory, double seconds, pid_t parent) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(EXIT_FAILURE);
  for (int signal = 1; signal < SIGRTMIN; ++signal) ::signal(signal, SIG_DFL);
  sigset_t all;
  sigfillset(&all);
  sigprocmask(SIG_UNBLOCK, &all, nullptr);
  const int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
  if (null >= 0) dup2(null, STDERR_FILENO);
  const auto limit = [](auto resource, uint64_t most) {
    rlimit now{};
    if (getrlimit(resource, &now) == 0 && most < now.rlim_cur) setrlimit(resource, &(now.rlim_cur = most, now));
  };
  limit(RLIMIT_CORE, 0);
  limit(RLIMIT_AS, memory);
  limit(RLIMIT_CPU, static_cast<uint64_t>(seconds) + 1);
}

struct Child {
  pid_t pid = -1;
  int from = -1;
};

Child start(const PoireauSymbolFiles& files, std::span<const uint64_t> addresses, const PoireauSymbolLimits& limits) {
  // A child that is born while another one's end is open would keep it open.
  static std::mutex one_at_a_time;
  const std::lock_guard guard(one_at_a_time);
  const uint64_t memory = own_size() + limits.memory;
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return {};
  const pid_t parent = getpid();
  const pid_t pid = fork();
  if (pid == 0) {
    confine(memory, limits.seconds, parent);
    work(files, addresses, limits.no_places == 0, ends[1]);
  }
  close(ends[1]);
  if (pid < 0) {
    close(ends[0]);
    return {};
  }
  return {pid, ends[0]};
}

/// All it writes until its end. False: the time is up, or it is too much.
bool read_all(int from, double seconds, std::string& bytes) {
  const auto until = Clock::now() + std::chrono::duration<double>(seconds);
  std::string part(size_t{1} << 20, '\0');
  for (;;) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(until - Clock::now()).count();
    pollfd waiting{from, POLLIN, 0};
    if (left <= 0 || bytes.size() > kMostBytes) return false;
    const int ready = poll(&waiting, 1, static_cast<int>(std::min<int64_t>(left, 60'000)));
    if (ready < 0 && errno != EINTR) return false;
    if (ready <= 0) continue;
    const ssize_t got = read(from, part.data(), part.size());
    if (got == 0) return true;
    if (got > 0) bytes.append(part, 0, static_cast<size_t>(got));
    if (got < 0 && errno != EINTR) return true;
  }
}

void run(const PoireauSymbolFiles& files, std::span<const uint64_t> addresses, const PoireauSymbolLimits& limits,
         PoireauSymbols& out) {
  const Child child = start(files, addresses, limits);
  if (child.pid < 0) return;
  const bool in_time = read_all(child.from, limits.seconds, out.bytes);
  close(child.from);
  if (!in_time) kill(child.pid, SIGKILL);
  int status = 0;
  pid_t waited = 0;
  do {
    waited = waitpid(child.pid, &status, 0);
  } while (waited < 0 && errno == EINTR);
  // Who ignores SIGCHLD is not told how it ended; then what it wrote must do.
  const bool ended = waited < 0 || (WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SUCCESS);
  bool partial = false;
  std::optional<PoireauSymbolColumns> columns;
  if (in_time && ended) columns = unpack(out.bytes, addresses.size(), partial);
  if (columns) {
    out.columns = *columns;
    out.state = partial ? poireau_symbols_partial : poireau_symbols_good;
  } else if (!in_time || (waited > 0 && WIFSIGNALED(status) && WTERMSIG(status) == SIGXCPU)) {
    out.state = poireau_symbols_too_long;
  } else if (waited > 0 && WIFSIGNALED(status)) {
    out.state = WTERMSIG(status) == SIGINT ? poireau_symbols_interrupted : poireau_symbols_crashed;
  }
}

}  // namespace
}  // namespace poireau::symbols

#define EXPORT extern "C" __attribute__((visibility("default")))

EXPORT PoireauSymbols* poireau_symbolize(const PoireauSymbolFiles* files, const uint64_t* addresses, size_t count,
                                         const PoireauSymbolLimits* limits) {
  static PoireauSymbols no_memory;
  PoireauSymbols* out = nullptr;
  try {
    out = new PoireauSymbols;
    poireau::symbols::run(*files, {addresses, count}, *limits, *out);
    if (out->columns.ends == nullptr) {
      out->nothing.assign(count + 1, 0);  // never empty: it has an address
      out->columns = {};
      out->columns.addresses = count;
      out->columns.ends = out->nothing.data();
    }
    return out;
  } catch (...) {
    delete out;
    return &no_memory;
  }
}

EXPORT int32_t poireau_symbols_state(const PoireauSymbols* symbols) { return symbols->state; }

EXPORT void poireau_symbols_columns(const PoireauSymbols* symbols, PoireauSymbolColumns* columns) {
  *columns = symbols->columns;
}

EXPORT void poireau_symbols_free(PoireauSymbols* symbols) {
  if (symbols->columns.ends != nullptr) delete symbols;
}
