#include "preload/control_verbs.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <map>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "config/options.h"
#include "preload/auto_period.h"
#include "preload/clock.h"
#include "preload/poireau.h"
#include "preload/process.h"
#include "preload/report.h"
#include "preload/sampled.h"
#include "preload/thread.h"
#include "preload/trace.h"
#include "tracked_alloc/homes.h"

extern "C" {
void* poireau_malloc(size_t);
void poireau_free(void*);
}

namespace poireau::control {
namespace {

/// JSON as strictly as it can be: no space, no key twice, whole numbers only. Its fields by their paths: "stats.live",
/// "options.3.name"; what is open and empty has a field of that path with its bracket.
class Fields {
 public:
  explicit Fields(std::string_view line) : rest_(line) {
    read("");
    expect('\n');
    EXPECT_TRUE(rest_.empty()) << line;
    EXPECT_FALSE(wrong_) << line;
  }
  [[nodiscard]] bool has(const std::string& path) const { return all_.contains(path); }
  [[nodiscard]] std::string operator[](const std::string& path) const {
    const auto found = all_.find(path);
    return found == all_.end() ? "(no " + path + ")" : found->second;
  }
  [[nodiscard]] uint64_t number(const std::string& path) const {
    EXPECT_TRUE(has(path)) << path;
    return has(path) ? std::stoull(all_.at(path)) : 0;
  }
  [[nodiscard]] std::vector<std::string> order() const { return order_; }

 private:
  char take() {
    wrong_ = wrong_ || rest_.empty();
    if (wrong_) return 0;
    const char c = rest_.front();
    rest_.remove_prefix(1);
    return c;
  }
  void expect(char c) { wrong_ = take() != c || wrong_; }
  std::string read_text() {
    std::string text;
    expect('"');
    for (char c; (c = take()) != '"' && !wrong_; text += c) {
      wrong_ = wrong_ || static_cast<unsigned char>(c) < ' ';
      if (c == '\\' && (c = take()) == 'u') {
        for (int i = 0; i < 4; ++i) wrong_ = !isxdigit(take()) || wrong_;
        c = '?';
      }
    }
    return text;
  }
  void keep(const std::string& path, std::string value) {
    wrong_ = !all_.emplace(path, std::move(value)).second || wrong_;
    order_.push_back(path);
  }
  void read(const std::string& path) {
    const char next = rest_.empty() ? 0 : rest_.front();
    const std::string below = path.empty() ? path : path + ".";
    if (next == '"') {
      keep(path, read_text());
    } else if (next == '{' || next == '[') {
      const char end = next == '{' ? '}' : ']';
      take();
      if (!rest_.empty() && rest_.front() == end)
        keep(path, std::string(1, take()));
      else
        for (int n = 0; !wrong_; ++n) {
          std::string name = std::to_string(n);
          if (next == '{') {
            name = read_text();
            expect(':');
          }
          read(below + name);
          const char then = take();
          if (then == end) break;
          wrong_ = then != ',' || wrong_;
        }
    } else {
      std::string word;
      while (!rest_.empty() && (isalnum(rest_.front()) != 0)) word += take();
      const bool truth = word == "true" || word == "false";
      const bool number = !word.empty() && word.find_first_not_of("0123456789") == std::string::npos;
      wrong_ = wrong_ || (!truth && !number) || (number && word[0] == '0' && word != "0");
      keep(path, word);
    }
  }

  std::string_view rest_;
  bool wrong_ = false;
  std::map<std::string, std::string> all_{};
  std::vector<std::string> order_{};
};

bool add_to(void* to, std::string_view piece) noexcept {
  static_cast<std::string*>(to)->append(piece);
  return true;
}

/// What is answered, however many turns it takes; at most `most`.
std::string line_of(const Request& request, int most = 1 << 20) {
  std::string line;
  char room[64];
  Answer answer(room, add_to, &line);
  Done done = carry_out(request, answer);
  if (done == Done::later) {
    EXPECT_TRUE(line.empty());
    EXPECT_TRUE(is_at_work());
  }
  for (; done == Done::later && most > 0; --most) done = go_on(&answer);
  EXPECT_EQ(done, Done::now);
  EXPECT_FALSE(is_at_work());
  EXPECT_TRUE(answer.finish());
  return line;
}

Fields ask(std::string_view verb) { return Fields(line_of({.verb = verb})); }
Fields get(std::string_view option) { return Fields(line_of({.verb = "get", .option = option, .has_option = true})); }
Fields set(std::string_view option, std::string_view value) {
  return Fields(line_of({.verb = "set", .option = option, .value = value, .has_option = true, .has_value = true}));
}

constexpr const char* kReading[] = {"hello", "list", "stats"};
constexpr const char* kChanging[] = {"arm", "disarm", "flush", "snapshot", "verify", "quit", "sweep", "holders"};

// Before our own constructor there is nothing but zeros.
constinit bool came_first = false;
char first_lines[4][16384];
[[gnu::constructor(101)]] void ask_first() {
  came_first = !tracked_alloc::begun();
  const char* const verbs[] = {"hello", "stats", "verify", "flush"};
  for (int i = 0; i < 4; ++i) {
    static size_t used;
    used = 0;
    static char* line;
    line = first_lines[i];
    char room[64];
    const auto keep = [](void*, std::string_view piece) noexcept {
      std::memcpy(line + used, piece.data(), piece.size());
      used += piece.size();
      return true;
    };
    Answer answer(room, keep, nullptr);
    Done done = carry_out({.verb = verbs[i]}, answer);
    while (done == Done::later) done = go_on(&answer);
    static_cast<void>(answer.finish());
  }
}

/// Each test is a process of its own: what is set, and who has let go, stays so.
class ControlVerbs : public testing::Test {
 protected:
  template <typename Body>
  void alone(Body&& body) {
    std::string pattern = testing::TempDir() + "control_verbs_XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    const std::string folder = std::filesystem::canonical(pattern);
    fflush(stdout);
    const pid_t child = fork();
    if (child == 0) {
      EXPECT_EQ(config::set("trace", folder, "test", config::Phase::at_load), config::SetResult::ok);
      EXPECT_EQ(config::set("log", "off", "test", config::Phase::at_load), config::SetResult::ok);
      body();
      fflush(stdout);
      _exit(HasFailure() ? 1 : 0);
    }
    int status = -1;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    std::filesystem::remove_all(folder);
    EXPECT_EQ(status, 0);
  }

  static char* sampled(size_t size) {
    options.sample_period.store(1);
    char* const block = static_cast<char*>(poireau_malloc(size));
    EXPECT_TRUE(tracked_alloc::owns(block));
    return block;
  }
  static void everything_plain() { options.guard.store(kGuardOff); }
};

TEST_F(ControlVerbs, AnswerBeforeAnythingIsKnown) {
  EXPECT_TRUE(came_first);
  EXPECT_EQ(Fields(first_lines[0])["ok"], "true");
  const Fields stats(first_lines[1]);
  EXPECT_EQ(stats["ok"], "true");
  EXPECT_EQ(stats["samples"], "0");
  EXPECT_EQ(stats["live_by_class"], "]");
  EXPECT_EQ(Fields(first_lines[2])["blocks"], "0");
  EXPECT_EQ(Fields(first_lines[3])["ok"], "false");
}

TEST_F(ControlVerbs, GreetWithWhoWeAre) {
  std::string line;
  char room[64];
  Answer answer(room, add_to, &line);
  greet(answer);
  ASSERT_TRUE(answer.finish());
  const Fields greeting(line);
  EXPECT_EQ(greeting["poireau"], poireau_version());
  EXPECT_EQ(greeting["protocol"], "1");
  EXPECT_EQ(greeting["control"], "full");
  EXPECT_EQ(greeting["program"], "control_verbs_test");
  EXPECT_EQ(greeting["run_id"].size(), 32u);
  char wanted[40];
  const process::RunId id = process::run_id();
  snprintf(wanted, sizeof wanted, "%016lx%016lx", id.high, id.low);
  EXPECT_EQ(greeting["run_id"], wanted);
  for (const char* field : {"pid", "start", "uid"}) static_cast<void>(greeting.number(field));

  const Fields hello = ask("hello");
  EXPECT_EQ(hello["ok"], "true");
  EXPECT_EQ(hello["do"], "hello");
  EXPECT_EQ(hello["armed"], "true");
  EXPECT_EQ(hello["period"], "512KiB");
  EXPECT_EQ(hello["run_id"], greeting["run_id"]);
  EXPECT_LT(hello.number("age_ns"), 3600u * 1'000'000'000);
  EXPECT_LE(hello.number("age_ns"), ask("hello").number("age_ns"));
}

TEST_F(ControlVerbs, ListEveryOption) {
  const Fields list = ask("list");
  size_t n = 0;
  for (const config::OptionInfo& option : config::all_options()) {
    const std::string at = "options." + std::to_string(n++) + ".";
    const Fields one = get(option.name());
    Text scratch;
    EXPECT_EQ(list[at + "name"], option.name());
    EXPECT_EQ(list[at + "default"], option.show_default(scratch));
    EXPECT_EQ(list[at + "range"], option.range());
    EXPECT_EQ(list[at + "changes"], option.changes == config::Phase::live ? "while running" : "at load");
    for (const char* field : {"name", "value", "default", "origin", "range", "changes"})
      EXPECT_EQ(one[field], list[at + field]) << field;
  }
  EXPECT_FALSE(list.has("options." + std::to_string(n) + ".name"));
}

TEST_F(ControlVerbs, SetEveryOptionThatCanChange) {
  alone([] {
    const std::map<std::string_view, const char*> others{{"sample_by", "calls"},
                                                         {"callers", "libc.so.6=8"},
                                                         {"armed", "off"},
                                                         {"guard", "17"},
                                                         {"poison", "on"},
                                                         {"on_error", "report"},
                                                         {"overhead_budget", "0.7%"},
                                                         {"record", "off"},
                                                         {"stack_depth", "17"},
                                                         {"revoke", "runs"},
                                                         {"exhausted", "abort"},
                                                         {"sweep", "on-demand"},
                                                         {"quarantine_share", "10%"},
                                                         {"zero", "on"},
                                                         {"control", "full"}};
    for (const config::OptionInfo& option : config::all_options()) {
      const auto found = others.find(option.name());
      const std::string_view value = found != others.end() ? found->second : "17";
      const Fields before = get(option.name()), answer = set(option.name(), value);
      if (option.changes == config::Phase::at_load) {
        EXPECT_EQ(answer["error"], std::string(option.name()) + " can only be set before the program starts");
        EXPECT_EQ(get(option.name())["value"], before["value"]);
        continue;
      }
      EXPECT_EQ(answer["ok"], "true") << option.name() << ": " << answer["error"];
      EXPECT_EQ(answer["value"], value);
      EXPECT_EQ(answer["before"], before["value"]);
      EXPECT_EQ(answer["origin"], "control socket");
      EXPECT_EQ(get(option.name())["value"], value);
    }
  });
}

TEST_F(ControlVerbs, KeepNothingOfTheLine) {
  alone([] {
    std::string name = "callers", value = "a.so=" + std::string("8, b.so=1/16");
    EXPECT_EQ(set(name, value)["ok"], "true");
    value.assign(value.size(), 'x');
    EXPECT_EQ(get("callers")["value"], "a.so=8, b.so=1/16");
    const std::string longest = "b" + std::string(1010, 'c') + ".so=8";
    EXPECT_EQ(set("callers", longest)["before"], "a.so=8, b.so=1/16");
    EXPECT_EQ(set("callers", "")["before"], longest);
    EXPECT_EQ(get("callers")["origin"], "control socket");
    EXPECT_EQ(set("sample_period_bytes", "64K")["name"], "sample_period") << "an alias";
  });
}

TEST_F(ControlVerbs, AnAutomaticPeriodIsShownAsSuchAndStartsOverWhenSetAgain) {
  alone([] {
    EXPECT_EQ(set("sample_period", "auto")["value"], "auto");
    EXPECT_EQ(get("sample_period")["period"], "1");
    for (uint64_t i = 0; i < uint64_t{3} << auto_period::kMost; ++i) auto_period::count(0);
    EXPECT_EQ(get("sample_period")["value"], "auto");
    EXPECT_EQ(get("sample_period")["period"], "8");
    const Fields stats = ask("stats");
    EXPECT_EQ(stats["sample_period"], "auto");
    EXPECT_EQ(stats["period"], "8");
    EXPECT_EQ(stats["governor.period"], "governed");
    EXPECT_EQ(set("sample_period", "auto")["before"], "auto");
    EXPECT_EQ(get("sample_period")["period"], "1");
  });
}

TEST_F(ControlVerbs, SayWhatIsWantedInstead) {
  EXPECT_EQ(set("sample_period", "12Q")["error"],
            "sample_period: 12Q is not auto or a size (a whole number, with a suffix like 512KiB or 32M if you like) "
            "(auto, 0..1TiB)");
  EXPECT_EQ(set("sample_period", "2TiB")["error"], "sample_period: 2TiB is out of range (auto, 0..1TiB)");
  EXPECT_EQ(set("sample_period", "")["error"].substr(0, 45), "sample_period: an empty text is not auto or a");
  EXPECT_EQ(set("control", "on")["error"], "control: on is not one of off, read, full");
  EXPECT_EQ(set("sample_perod", "1")["error"], "no option is called \"sample_perod\"; did you mean sample_period?");
  EXPECT_EQ(get("\n\xff")["error"], "no option is called \"\\x0a\\xff\"");
  EXPECT_EQ(Fields(line_of({.verb = "get"}))["error"], "get needs an option");
  EXPECT_EQ(Fields(line_of({.verb = "set", .option = "armed", .has_option = true}))["error"],
            "set needs an option and a value");
  EXPECT_EQ(ask("reboot")["error"],
            "\"reboot\" is no verb; there are hello, list, get, stats, set, arm, disarm, flush, snapshot, verify, "
            "quit, sweep, holders");
  EXPECT_EQ(ask("")["ok"], "false");
  EXPECT_EQ(ask("hello, list")["ok"], "false");
  EXPECT_EQ(ask(" hello")["ok"], "false");
  EXPECT_EQ(Fields(line_of({.verb = "hello", .wrong = "nonsense"}))["error"], "nonsense");
  EXPECT_EQ(get("sample_period")["origin"], "built-in");
}

TEST_F(ControlVerbs, TakeAnyBytesForAnOption) {
  std::mt19937 random(1);
  for (int round = 0; round < 2000; ++round) {
    std::string name(random() % 50, 0), value(random() % 1500, 0);
    for (char& c : name) c = static_cast<char>(random());
    for (char& c : value) c = static_cast<char>(random() % 2 == 0 ? random() : '"');
    EXPECT_EQ(set(name, value)["ok"], "false");
    EXPECT_EQ(get(name)["ok"], "false");
    EXPECT_EQ(ask(value)["ok"], "false");
    EXPECT_EQ(set("guard", value)["ok"], "false");
  }
}

TEST_F(ControlVerbs, AreAllowedByTheOptionControl) {
  alone([] {
    EXPECT_EQ(set("control", "read")["value"], "read");
    for (const char* verb : kReading) EXPECT_EQ(ask(verb)["ok"], "true") << verb;
    EXPECT_EQ(get("armed")["ok"], "true");
    for (const char* verb : kChanging)
      EXPECT_EQ(ask(verb)["error"], "\"" + std::string(verb) + "\" is not allowed: control = read");
    EXPECT_EQ(set("control", "full")["ok"], "false");
    EXPECT_EQ(set("armed", "off")["ok"], "false");
    EXPECT_EQ(get("armed")["value"], "on");
    EXPECT_EQ(ask("hello")["control"], "read");
    options.control.store(Control::off);
    for (const char* verb : kReading) EXPECT_EQ(ask(verb)["ok"], "false") << verb;
  });
}

TEST_F(ControlVerbs, ArmAndDisarm) {
  alone([] {
    EXPECT_EQ(ask("disarm")["armed"], "false");
    EXPECT_EQ(get("armed")["value"], "off");
    EXPECT_EQ(ask("hello")["period"], "0");
    EXPECT_EQ(ask("stats")["armed"], "false");
    EXPECT_EQ(ask("stats")["period"], "0");
    const Fields armed = ask("arm");
    EXPECT_EQ(armed["armed"], "true");
    EXPECT_EQ(armed["period"], "512KiB");
    EXPECT_EQ(get("armed")["origin"], "control socket");
  });
}

TEST_F(ControlVerbs, CountLiveBlocksByClass) {
  alone([] {
    std::map<unsigned, std::vector<uint64_t>> wanted;
    std::vector<char*> blocks;
    for (const size_t size : {1u, 3u, 100u, 120u, 127u, 128u, 5000u, 300'000u}) {
      blocks.push_back(sampled(size));
      auto& its = wanted[tracked_alloc::class_of(size, {.period = 1})];
      its.resize(3);
      ++its[0];
      its[1] += size;
      its[2] += 1;
    }
    options.sample_period.store(0);
    const Fields stats = ask("stats");
    EXPECT_EQ(stats["live"], "8");
    EXPECT_EQ(stats["placed"], "8");
    EXPECT_EQ(stats["samples"], "8");
    EXPECT_EQ(stats.number("live_bytes"), 1u + 3 + 100 + 120 + 127 + 128 + 5000 + 300'000);
    int n = 0;
    for (const auto& [number, its] : wanted) {
      const std::string at = "live_by_class." + std::to_string(n++) + ".";
      EXPECT_EQ(stats.number(at + "0"), number);
      for (int i = 0; i < 3; ++i) EXPECT_EQ(stats.number(at + std::to_string(i + 1)), its[static_cast<size_t>(i)]);
    }
    EXPECT_FALSE(stats.has("live_by_class." + std::to_string(n) + ".0"));
    for (char* block : blocks) poireau_free(block);
    EXPECT_EQ(ask("stats")["live_by_class"], "]");
    EXPECT_EQ(ask("stats")["live_bytes"], "0");
  });
}

TEST_F(ControlVerbs, TellAllNumbers) {
  alone([] {
    sampled(100);
    const Fields stats = ask("stats");
    for (const char* field : {"samples",
                              "sampled_bytes",
                              "counted_bytes",
                              "live",
                              "live_bytes",
                              "guarded",
                              "placed",
                              "errors",
                              "dropped",
                              "early",
                              "stackless",
                              "cycles",
                              "generation",
                              "sample_period",
                              "period",
                              "age_ns",
                              "cycles_per_second",
                              "overlong_cycles",
                              "trace_bytes",
                              "trace_dropped",
                              "trace_lost",
                              "governor.cost_ppm",
                              "governor.budget_ppm",
                              "control.connections",
                              "control.failures"})
      EXPECT_TRUE(stats.has(field)) << field;
    EXPECT_EQ(stats["samples"], "1");
    EXPECT_EQ(stats["generation"], "1") << "a fork child";
    EXPECT_EQ(stats["sampled_bytes"], "100");
    EXPECT_EQ(stats["sample_period"], "1");
    EXPECT_EQ(stats["by_calls"], "false");
    EXPECT_GT(stats.number("cycles_per_second"), 1'000'000u);
    EXPECT_GT(stats.number("cycles"), 0u);
    EXPECT_EQ(stats["trace"], trace::directory());
    EXPECT_NE(stats["trace"], "");
    EXPECT_GT(stats.number("trace_bytes"), 0u);
    EXPECT_NE(stats["unwinder"], "");
    EXPECT_NE(stats["guards"], "");
    EXPECT_TRUE(stats.has("drops.never written"));
    EXPECT_TRUE(stats.has("drops.no home: sandbox"));
  });
}

TEST_F(ControlVerbs, VerifyFindsEachErrorButTellsItOnce) {
  alone([] {
    everything_plain();
    std::vector<char*> blocks;
    for (int i = 0; i < 1000; ++i) blocks.push_back(sampled(20 + static_cast<size_t>(i)));
    EXPECT_EQ(ask("verify")["blocks"], "1000");
    EXPECT_EQ(ask("verify")["errors"], "0");
    for (const size_t i : {0u, 500u, 999u}) blocks[i][20 + i] ^= 1;
    const Fields found = ask("verify");
    EXPECT_EQ(found["blocks"], "1000");
    EXPECT_EQ(found["errors"], "3");
    EXPECT_EQ(report::errors(), 3u);
    EXPECT_EQ(ask("verify")["errors"], "3") << "still there";
    EXPECT_EQ(report::errors(), 3u);
    for (char* block : blocks) poireau_free(block);
    EXPECT_EQ(report::errors(), 3u);
    char* const next = sampled(20);  // a home that had an error has a past no more
    next[20] ^= 1;
    poireau_free(next);
    EXPECT_EQ(report::errors(), 4u);
  });
}

TEST_F(ControlVerbs, VerifyIsDoneInParts) {
  alone([] {
    everything_plain();
    for (int i = 0; i < 1000; ++i) sampled(20);
    std::string line;
    char room[64];
    Answer answer(room, add_to, &line);
    ASSERT_EQ(carry_out({.verb = "verify"}, answer), Done::later);
    ASSERT_EQ(go_on(nullptr), Done::later);
    Answer another(room, add_to, &line);
    for (const char* verb : {"verify", "flush", "snapshot"}) {
      EXPECT_EQ(carry_out({.verb = verb}, another), Done::now);
      EXPECT_TRUE(another.finish());
      EXPECT_EQ(Fields(line)["ok"], "false");
      line.clear();
    }
    int turns = 1;
    while (go_on(nullptr) == Done::later) ++turns;
    EXPECT_GE(turns, 3);
    EXPECT_FALSE(is_at_work());
    ASSERT_EQ(carry_out({.verb = "verify"}, answer), Done::later);
    forget_work();
    EXPECT_FALSE(is_at_work());
    EXPECT_EQ(go_on(&answer), Done::now);
    EXPECT_TRUE(line.empty());
  });
}

/// Runs `body` where little is left of the stack.
template <typename Body>
[[gnu::noinline]] void cramped(Body& body) {
  volatile char frame[512];
  frame[0] = 0;
  if (room_on_stack(8 << 10))
    cramped(body);
  else
    body();
  frame[0] = 1;
}

TEST_F(ControlVerbs, VerifySaysWhereNobodyHasRoomForIt) {
  alone([] {
    everything_plain();
    sampled(20);
    std::string line;
    line.reserve(200);
    char room[64];
    Answer answer(room, add_to, &line);
    ASSERT_EQ(carry_out({.verb = "verify"}, answer), Done::later);
    const uint64_t begin = clock::ticks(), second = clock::ticks_per_second();
    uint64_t end = 0;
    auto go_on_cramped = [&] {
      while (clock::ticks() - begin < 10 * second && go_on(&answer) == Done::later) usleep(1000);
      end = clock::ticks();
    };
    std::thread([&] { cramped(go_on_cramped); }).join();
    EXPECT_FALSE(is_at_work());
    EXPECT_GE(end - begin, 4 * second);
    EXPECT_LT(end - begin, 7 * second);
    EXPECT_TRUE(answer.finish());
    EXPECT_EQ(Fields(line)["error"], "no thread has room on its stack for it");
    EXPECT_EQ(ask("verify")["blocks"], "1");
  });
}

TEST_F(ControlVerbs, FlushAndSnapshotTellWhereAllThatLivesIs) {
  alone([] {
    for (int i = 0; i < 100; ++i) sampled(1000);
    const Fields flush = ask("flush");
    EXPECT_EQ(flush["ok"], "true") << flush["error"];
    EXPECT_EQ(flush["trace"], trace::directory());
    EXPECT_EQ(flush["live"], "100");
    EXPECT_EQ(flush["live_bytes"], "100000");
    EXPECT_GT(flush.number("time"), 0u);
    EXPECT_TRUE(std::filesystem::exists(flush["trace"] + "/samples_" + flush["file"]));
    const Fields snapshot = ask("snapshot");
    EXPECT_EQ(snapshot["ok"], "true") << snapshot["error"];
    EXPECT_EQ(snapshot["stats.live"], "100");
    EXPECT_EQ(snapshot["stats.live_by_class.0.1"], "100");
    EXPECT_GE(snapshot.number("file"), flush.number("file"));
  });
}

TEST_F(ControlVerbs, FlushSaysWhyThereIsNoTrace) {
  alone([] { EXPECT_EQ(ask("flush")["error"].substr(0, 19), "there is no trace: "); });
  alone([] {
    EXPECT_EQ(set("record", "off")["ok"], "true");
    EXPECT_EQ(ask("snapshot")["error"], "there is no trace: record = off");
  });
  alone([] {
    EXPECT_EQ(config::set("sink", "none", "test", config::Phase::at_load), config::SetResult::ok);
    sampled(100);
    EXPECT_EQ(ask("flush")["error"], "there is no trace: sink = none");
  });
}

TEST_F(ControlVerbs, QuitLetsGoAndLiveHomesStay) {
  alone([] {
    everything_plain();
    char* const one = sampled(100);
    char* const other = sampled(100);
    std::memset(one, 1, 100);
    EXPECT_EQ(ask("quit")["ok"], "true");
    EXPECT_EQ(get("armed")["value"], "on");
    EXPECT_EQ(ask("stats")["period"], "0");
    for (int i = 0; i < 1000; ++i) {
      void* const block = poireau_malloc(100'000);
      EXPECT_FALSE(tracked_alloc::owns(block));
      poireau_free(block);
    }
    EXPECT_EQ(one[99], 1);
    poireau_free(one);
    EXPECT_EQ(report::errors(), 0u);
    poireau_free(one);
    EXPECT_EQ(report::errors(), 1u) << "a double free";
    other[100] ^= 1;
    poireau_free(other);
    EXPECT_EQ(report::errors(), 2u);
  });
}

}  // namespace
}  // namespace poireau::control
