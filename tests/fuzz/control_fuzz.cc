// Any bytes as a line on the control socket: what is a request is carried out, all but `quit`, in a process that has
// samples. Each answer is one line of JSON, for a peer that reads it and for one that goes away.
#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "config/options.h"
#include "preload/base/utf8.h"
#include "preload/control_verbs.h"

extern "C" {
void* poireau_malloc(size_t);
void poireau_free(void*);
}

namespace poireau::control {
namespace {

constexpr int kMostTurns = 100'000;
constexpr size_t kMostAnswer = 64 << 10;

/// Before the library's own constructor, which reads them.
[[gnu::constructor(101)]] void set_environment() {
  static char traces[] = "/tmp/poireau-fuzz-XXXXXX";
  if (std::getenv("POIREAU_TRACE") == nullptr && mkdtemp(traces) != nullptr) setenv("POIREAU_TRACE", traces, 1);
  setenv("POIREAU_TRACE_LIMIT", "4MiB", 1);
  setenv("POIREAU_SAMPLE_PERIOD", "4KiB", 1);
  setenv("POIREAU_LOG", "off", 1);
}

void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "control_fuzz: %s\n", what);
  std::abort();
}

bool has_controls(std::string_view text) {
  return std::any_of(text.begin(), text.end(), [](unsigned char c) { return is_control(c); });
}

/// Recognizes JSON, without space between its tokens.
class Json {
 public:
  explicit Json(std::string_view text) : rest_(text) {}
  bool whole() { return value(0) && rest_.empty(); }

 private:
  bool take(std::string_view token) {
    if (!rest_.starts_with(token)) return false;
    rest_.remove_prefix(token.size());
    return true;
  }
  bool value(int depth) {
    if (depth > 32) return false;
    if (take("{")) return list(depth, '}');
    if (take("[")) return list(depth, ']');
    return take("true") || take("false") || number() || string();
  }
  bool list(int depth, char end) {
    if (take({&end, 1})) return true;
    do
      if ((end == '}' && (!string() || !take(":"))) || !value(depth + 1)) return false;
    while (take(","));
    return take({&end, 1});
  }
  bool number() {
    const size_t digits = std::min(rest_.find_first_not_of("0123456789"), rest_.size());
    const bool good = digits == 1 || (digits > 1 && rest_[0] != '0');
    rest_.remove_prefix(good ? digits : 0);
    return good;
  }
  bool string() {
    if (!take("\"")) return false;
    while (!take("\"")) {
      size_t size = utf8_size(rest_);
      if (size == 0 || is_control(static_cast<unsigned char>(rest_[0]))) return false;
      if (take("\\")) {
        if (take("\"") || take("\\")) continue;
        if (!take("u") || rest_.size() < 4 || rest_.find_first_not_of("0123456789abcdef") < 4) return false;
        size = 4;
      }
      rest_.remove_prefix(size);
    }
    return true;
  }

  std::string_view rest_;
};

/// Takes so many pieces, then goes away.
struct Peer {
  std::string all{};
  size_t most;
  bool gone = false;

  static bool take(void* to, std::string_view piece) noexcept {
    Peer& peer = *static_cast<Peer*>(to);
    require(!peer.gone, "a piece for a peer that is gone");
    require(!piece.empty(), "an empty piece");
    peer.gone = peer.most == 0;
    if (peer.gone) return false;
    --peer.most;
    peer.all += piece;
    require(peer.all.size() <= kMostAnswer, "an endless answer");
    return true;
  }
};

void finish(Answer& answer, const Peer& peer) {
  const bool sent = answer.finish();
  require(sent == !peer.gone, "an answer that was and was not sent");
  if (!sent) return;
  require(peer.all.ends_with('\n'), "a line has no end");
  const std::string_view line(peer.all.data(), peer.all.size() - 1);
  require(Json(line).whole(), "an answer is not JSON");
  require(line.starts_with("{\"ok\":true") || line.starts_with("{\"ok\":false,\"error\":\""),
          "an answer is not ok or not");
}

void ask(const Request& request, size_t room_size, size_t pieces) {
  std::array<char, 512> room;
  Peer peer{.most = pieces};
  Answer answer({room.data(), room_size}, Peer::take, &peer);
  Done done = carry_out(request, answer);
  for (int turn = 0; done == Done::later; ++turn) {
    require(is_at_work(), "it takes longer, but is not at work");
    require(turn < kMostTurns, "it takes for ever");
    done = go_on(peer.gone ? nullptr : &answer);
  }
  require(!is_at_work(), "it is at work for nobody");
  finish(answer, peer);
}

/// Blocks that come and go, some of them samples.
void allocate_some() {
  static std::array<void*, 1024> blocks;
  static size_t next = 0;
  for (const size_t size : {24, 300, 9000, 50}) {
    void*& block = blocks[next++ % blocks.size()];
    poireau_free(block);
    block = poireau_malloc(size);
  }
}

void check(const Request& request, std::string_view line) {
  const auto lies_in_line = [&](std::string_view text) {
    return text.data() >= line.data() && text.data() + text.size() <= line.data() + line.size();
  };
  if (!request.wrong.empty()) {
    require(!lies_in_line(request.wrong), "words that do not stay");
    require(request.verb.data() == nullptr && !request.has_option && !request.has_value, "a request that is wrong");
    return;
  }
  require(!request.verb.empty() && lies_in_line(request.verb), "a verb out of nowhere");
  require(request.has_option == lies_in_line(request.option), "an option out of nowhere");
  require(request.has_value == lies_in_line(request.value), "a value out of nowhere");
  for (const std::string_view text : {request.verb, request.option, request.value})
    require(!has_controls(text), "a control character");
}

}  // namespace
}  // namespace poireau::control

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace poireau;
  const auto line = std::make_unique<char[]>(size);  // of its very size, so that a sanitizer sees what is beyond it
  std::copy_n(data, size, line.get());
  const control::Request request = control::parse({line.get(), size});
  control::check(request, {line.get(), size});
  static unsigned tried = 0;
  if (tried++ % 16 == 0) control::allocate_some();
  if (request.verb != "quit") control::ask(request, 1 + tried % 512, tried % 8 == 0 ? tried / 8 % 16 : SIZE_MAX);
  // A mutation of a line is seldom a new value for an option.
  const std::string_view value = request.has_value ? request.value : std::string_view(line.get(), size);
  const std::string_view option = config::all_options()[size % config::all_options().size()].name();
  if (!control::has_controls(value))
    control::ask({.verb = "set", .option = option, .value = value, .has_option = true, .has_value = true}, 512,
                 SIZE_MAX);
  // The next one may do everything, there is something to do, and no disk is filled.
  constexpr std::pair<const char*, const char*> kAgain[] = {{"control", "full"},     {"armed", "on"},
                                                            {"record", "on"},        {"sample_period", "4KiB"},
                                                            {"trace_limit", "4MiB"}, {"trace_total", "64MiB"}};
  for (const auto& [name, text] : kAgain)
    control::require(config::set(name, text, "fuzz", config::Phase::live) == config::SetResult::ok,
                     "an option is stuck");
  return 0;
}
