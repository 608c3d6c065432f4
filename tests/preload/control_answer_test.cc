#include "preload/control_answer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <random>
#include <string>
#include <vector>

#include "preload/control_request.h"

namespace poireau::control {
namespace {

using namespace std::literals;

/// Who was asked for it: takes so many pieces, then is gone.
struct Peer {
  std::vector<std::string> pieces{};
  size_t most = SIZE_MAX;
  int refused = 0;

  static bool take(void* to, std::string_view piece) noexcept {
    Peer& peer = *static_cast<Peer*>(to);
    if (peer.pieces.size() == peer.most) return ++peer.refused, false;
    peer.pieces.emplace_back(piece);
    return true;
  }
  [[nodiscard]] std::string all() const {
    std::string all;
    for (const std::string& piece : pieces) all += piece;
    return all;
  }
};

/// What `make` makes of an answer.
template <typename Make>
std::string line(Make&& make, size_t room = 64) {
  Peer peer;
  std::vector<char> memory(room);
  Answer answer(memory, Peer::take, &peer);
  make(answer);
  EXPECT_TRUE(answer.finish());
  for (size_t i = 0; i < peer.pieces.size(); ++i)
    EXPECT_TRUE(peer.pieces[i].size() == room || (i + 1 == peer.pieces.size() && !peer.pieces[i].empty()));
  return peer.all();
}

std::string text(std::string_view value) {
  const std::string all = line([&](Answer& answer) { answer.begin({}, '[').text({}, value); });
  return all.size() < 6 ? all : all.substr(2, all.size() - 5);
}

void make_some_of_all(Answer& answer) {
  answer.start().truth("ok", true).text("do", "list").number("n", UINT64_MAX).begin("options", '[');
  answer.begin({}, '{').text("name", "log").end().begin({}, '{').end();
  answer.number({}, 0).truth({}, false).text({}, "").begin({}, '[').end().end().begin("last", '{').truth("open", true);
}
constexpr std::string_view kSomeOfAll =
    R"({"ok":true,"do":"list","n":18446744073709551615,"options":[{"name":"log"},{},0,false,"",[]],"last":{"open":true}})"
    "\n";

TEST(ControlAnswer, IsOneCompactLineInRoomOfAnySize) {
  for (size_t room = 1; room <= kSomeOfAll.size() + 1; ++room)
    EXPECT_EQ(line(make_some_of_all, room), kSomeOfAll) << room;
}

TEST(ControlAnswer, OfFailureSaysWhy) {
  EXPECT_EQ(line([](Answer& answer) { answer.fail("no \"such\" verb"); }),
            "{\"ok\":false,\"error\":\"no \\\"such\\\" verb\"}\n");
}

TEST(ControlAnswer, EscapesWhatIsNoTextOfJson) {
  EXPECT_EQ(text("\"\\/"), R"(\"\\/)");
  EXPECT_EQ(text("\0\n\x1f\x7f ~"sv), R"(\u0000\u000a\u001f\u007f ~)");
  EXPECT_EQ(text("\u00e9\u20ac\U0010ffff"), "\u00e9\u20ac\U0010ffff");
  EXPECT_EQ(text("\x80\xff\xc3"), R"(\udc80\udcff\udcc3)");
  EXPECT_EQ(text("\xe2\x82 \xed\xa0\x80\xc0\xaf"), R"(\udce2\udc82 \udced\udca0\udc80\udcc0\udcaf)");
}

TEST(ControlAnswer, NestsThirtyTwoDeep) {
  std::string expected;
  const auto nest = [](Answer& answer, int depth) {
    for (int i = 0; i < depth; ++i) answer.begin({}, i % 3 == 0 ? '{' : '[');
  };
  for (int i = 0; i < 32; ++i) expected += i % 3 == 0 ? "{" : i % 3 == 1 && i > 0 ? "\"\":[" : "[";
  for (int i = 32; i-- > 0;) expected += i % 3 == 0 ? '}' : ']';
  EXPECT_EQ(line([&](Answer& answer) { nest(answer, 32); }), expected + '\n');
  Peer peer;
  char room[16];
  Answer answer(room, Peer::take, &peer);
  nest(answer, 33);
  EXPECT_FALSE(answer.finish());
}

TEST(ControlAnswer, WithoutAPeerIsNotMade) {
  for (const size_t most : {0, 1, 3}) {
    Peer peer{.most = most};
    char room[8];
    Answer answer(room, Peer::take, &peer);
    make_some_of_all(answer);
    EXPECT_FALSE(answer.finish());
    EXPECT_FALSE(answer.finish());
    EXPECT_EQ(peer.refused, 1);
    EXPECT_EQ(peer.all(), kSomeOfAll.substr(0, 8 * most));
  }
}

TEST(ControlAnswer, OfAnyBytesIsReadBackAsTheRequestItWas) {
  const char* const given = std::getenv("POIREAU_SEED");
  const uint32_t seed = given != nullptr ? static_cast<uint32_t>(std::strtoul(given, nullptr, 0)) : 5;
  SCOPED_TRACE("POIREAU_SEED=" + std::to_string(seed));
  std::mt19937 random(seed);
  const auto some_text = [&] {
    std::string text(random() % 200, '\0');
    const uint32_t high = random() % 2 == 0 ? 0x100 : 0x80;
    for (char& c : text) do
        c = static_cast<char>(random() % high);
      while (static_cast<unsigned char>(c) < 0x20 || c == 0x7f);
    if (random() % 2 == 0) text += "\u00e9\U0001f480";
    return text;
  };
  for (int i = 0; i < 20'000; ++i) {
    const std::string verb = "x" + some_text(), option = some_text(), value = some_text();
    const auto make = [&](Answer& answer) {
      answer.start().text("do", verb).text("option", option).text("value", value);
    };
    std::string all = line(make, 1 + random() % 100);
    ASSERT_EQ(std::count(all.begin(), all.end(), '\n'), 1);
    all.pop_back();
    const Request request = parse(all);
    ASSERT_EQ(request.wrong, "");
    ASSERT_EQ(request.verb, verb);
    ASSERT_EQ(request.option, option);
    ASSERT_EQ(request.value, value);
  }
}

}  // namespace
}  // namespace poireau::control
