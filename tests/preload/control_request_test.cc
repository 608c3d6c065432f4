#include "preload/control_request.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cstring>
#include <string>

namespace poireau::control {
namespace {

using namespace std::literals;

constexpr std::string_view kWhole =
    "{\"do\": \"set\", \"option\" : \"callers\", \"value\":\"a\\u00e9\\ud83d\\ude00\\udcff\\\\b\xc3\xa9\"}";

/// Lines end where nothing can be read any more.
class ControlRequest : public testing::Test {
 protected:
  static constexpr size_t kPage = 4096;

  void SetUp() override {
    void* const pages = mmap(nullptr, 3 * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ASSERT_NE(pages, MAP_FAILED);
    begin_ = static_cast<char*>(pages);
    end_ = begin_ + 2 * kPage;
    ASSERT_EQ(mprotect(end_, kPage, PROT_NONE), 0);
  }
  void TearDown() override { munmap(begin_, 3 * kPage); }

  Request parsed(std::string_view line) {
    char* const at = end_ - line.size();
    std::memcpy(at, line.data(), line.size());
    const Request request = parse({at, line.size()});
    if (!request.wrong.empty()) {
      EXPECT_FALSE(lies_in(request.wrong, at));
      EXPECT_TRUE(request.verb.empty() && !request.has_option && !request.has_value);
      return request;
    }
    EXPECT_TRUE(lies_in(request.verb, at) && !request.verb.empty());
    EXPECT_EQ(request.has_option, lies_in(request.option, at));
    EXPECT_EQ(request.has_value, lies_in(request.value, at));
    return request;
  }

  std::string verb(std::string_view line) {
    const Request request = parsed(line);
    return request.wrong.empty() ? std::string(request.verb) : "wrong: " + std::string(request.wrong);
  }
  /// What a text between quotes stands for, or what is wrong with it.
  std::string text(std::string_view between) { return verb("{\"do\":\"" + std::string(between) + "\"}"); }
  /// What a value that is no text is taken for.
  std::string value(std::string_view literal) {
    const Request request = parsed("{\"do\":\"set\",\"value\":" + std::string(literal) + "}");
    return request.wrong.empty() ? std::string(request.value) : "wrong: " + std::string(request.wrong);
  }

 private:
  bool lies_in(std::string_view text, const char* line) const {
    return text.data() >= line && text.data() + text.size() <= end_;
  }
  char *begin_ = nullptr, *end_ = nullptr;
};

TEST_F(ControlRequest, IsTakenApart) {
  const Request request = parsed(kWhole);
  EXPECT_EQ(request.wrong, "");
  EXPECT_EQ(request.verb, "set");
  EXPECT_EQ(request.option, "callers");
  EXPECT_EQ(request.value, "a\xc3\xa9\xf0\x9f\x98\x80\xff\\b\xc3\xa9");
  EXPECT_TRUE(request.has_option && request.has_value);
}

TEST_F(ControlRequest, HasItsKeysInAnyOrder) {
  const Request request = parsed(R"({"value":"","do":"set"})");
  EXPECT_EQ(request.verb, "set");
  EXPECT_TRUE(request.has_value && !request.has_option);
  EXPECT_EQ(request.value, "");
  EXPECT_EQ(parsed(R"({"\u0064o":"get","o\u0070tion":"log"})").option, "log");
}

TEST_F(ControlRequest, MayHaveSpaceBetweenTokens) {
  EXPECT_EQ(verb("\t {  \"do\" \r:\t\"list\" } \r"), "list");
  EXPECT_EQ(verb("{\"do\":\"list\"}\r"), "list");
  EXPECT_EQ(text(" a "), " a ");
}

TEST_F(ControlRequest, TakesNumbersAndTruthsForTheirTexts) {
  for (const auto literal :
       {"0", "-0", "12", "-1.50", "0.5e3", "1E+2", "1e-02", "18446744073709551616", "true", "false"})
    EXPECT_EQ(value(literal), literal);
  for (const auto literal : {"null", "[]", "{}", "[1]", "-", "+1", ".5", "NaN", "Infinity", "True", "'a'", "tru", "",
                             "1.", "1e", "1e+", "x"})
    EXPECT_EQ(value(literal), "wrong: a value is a text, a number, true or false") << literal;
  for (const auto literal : {"01", "truex", "1 2", "0x10", "1.2.3", "true false", "-01", "\"a\"b"})
    EXPECT_EQ(value(literal), "wrong: not a flat object of JSON") << literal;
}

TEST_F(ControlRequest, UndoesEscapes) {
  EXPECT_EQ(text(R"(\"\\\/)"), "\"\\/");
  EXPECT_EQ(text(R"(\u0041\u007e\u00e9\u20AC\uFFFF)"), "A~\u00e9\u20ac\uffff");
  EXPECT_EQ(text(R"(\ud800\udc00\uDBFF\uDFFF)"), "\U00010000\U0010ffff");
  EXPECT_EQ(text(R"(\udc80\udcff\udcc3\udca9)"), "\x80\xff\xc3\xa9");
  EXPECT_EQ(text(R"(\ud83d\udc80)"), "\U0001f480");  // the second half alone would be a byte
  for (const auto escape :
       {R"(\ud800)", R"(\ud800x)", R"(\ud800\n)",     R"(\ud800\u0041)", R"(\ud800\ud800)", R"(\udc7f)",
        R"(\udd00)", R"(\udfff)",  R"(\udc00\ud800)", R"(\x41)",         R"(\a)",           R"(\u)",
        R"(\u12)",   R"(\u004)",   R"(\u00g1)",       R"(\u 041)",       R"(\u+041)",       R"(\U0041)",
        R"(\')",     "\\u004\x11", "\\\xc3\xa9"})
    EXPECT_EQ(text(escape), "wrong: a text has a bad escape") << escape;
}

TEST_F(ControlRequest, HasNoControlCharacters) {
  for (const auto escape : {R"(\n)", R"(\t)", R"(\b)", R"(\f)", R"(\r)", R"(\u0000)", R"(\u001f)", R"(\u007f)"})
    EXPECT_EQ(text(escape), "wrong: a text has control characters") << escape;
  for (int c = 0; c < 0x80; ++c) {
    const bool is_control = c < 0x20 || c == 0x7f;
    EXPECT_EQ(text("a"s + static_cast<char>(c)) == "wrong: a text has control characters", is_control) << c;
  }
  EXPECT_EQ(verb("{\"do\":\"list\"}\0"sv), "wrong: not a flat object of JSON");
  EXPECT_EQ(verb("\0{\"do\":\"list\"}"sv), "wrong: not a flat object of JSON");
}

TEST_F(ControlRequest, IsUtf8) {
  EXPECT_EQ(text("\u00e9\u20ac\U0010ffff"), "\u00e9\u20ac\U0010ffff");
  for (const auto bytes :
       {"\x80", "\xc3", "\xc0\x80", "\xe0\x80\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xff", "\xc3("})
    EXPECT_EQ(text(bytes), "wrong: a text is not UTF-8");
  EXPECT_NE(parsed("\xef\xbb\xbf{\"do\":\"list\"}").wrong, "");
}

TEST_F(ControlRequest, HasTheKnownKeysOnceAndAVerb) {
  EXPECT_EQ(verb(R"({"do":"a","do":"a"})"), "wrong: a key is there twice");
  EXPECT_EQ(verb(R"({"do":"","do":"a"})"), "wrong: a key is there twice");
  EXPECT_EQ(verb(R"({"do":"a","value":1,"value":1})"), "wrong: a key is there twice");
  for (const auto key : {"", "Do", "do ", "dox", "opt", "options", "\\u0064", "id"})
    EXPECT_EQ(verb("{\"" + std::string(key) + "\":\"a\"}"), "wrong: a key is neither do nor option nor value") << key;
  for (const auto line : {"{}", "{ }", R"({"do":""})", R"({"option":"log"})"})
    EXPECT_EQ(verb(line), "wrong: the key do is missing") << line;
  for (const auto line : {"",
                          " ",
                          "x",
                          "[]",
                          "1",
                          "\"do\"",
                          "null",
                          "{",
                          "}",
                          "{,}",
                          R"({"do":"a",})",
                          R"({,"do":"a"})",
                          R"({"do"})",
                          R"({"do","a"})",
                          R"({do:"a"})",
                          R"({"do":"a"}})",
                          R"({"do":"a"}{)",
                          R"([{"do":"a"}])",
                          R"({"do":"a" "value":1})",
                          R"({"do":"a";"value":1})",
                          R"({"do":"a"} // b)"})
    EXPECT_EQ(verb(line), "wrong: not a flat object of JSON") << line;
}

TEST_F(ControlRequest, IsNoLongerThanALine) {
  const std::string longest = "{\"do\":\"" + std::string(kMostLine - 9, 'a') + "\"}";
  ASSERT_EQ(longest.size(), kMostLine);
  EXPECT_EQ(verb(longest).size(), kMostLine - 9);
  EXPECT_EQ(verb(longest + " "), "wrong: the line is too long");
  EXPECT_NE(parsed(std::string(kMostLine, '[')).wrong, "");
  EXPECT_NE(parsed(std::string(kMostLine, ' ')).wrong, "");
}

TEST_F(ControlRequest, NoBeginningOfOneIsOne) {
  for (size_t size = 0; size < kWhole.size(); ++size) EXPECT_NE(parsed(kWhole.substr(0, size)).wrong, "") << size;
}

TEST_F(ControlRequest, AnyByteMayBeAnother) {
  for (size_t at = 0; at < kWhole.size(); ++at)
    for (int byte = 0; byte < 256; ++byte) {
      std::string line(kWhole);
      line[at] = static_cast<char>(byte);
      static_cast<void>(parsed(line));
      line.erase(at, 1);
      static_cast<void>(parsed(line));
    }
}

}  // namespace
}  // namespace poireau::control
