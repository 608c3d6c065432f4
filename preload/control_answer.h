#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

/// One line of JSON for whoever asked, written as it is made: in pieces of the room that there is.
namespace poireau::control {

class Answer {
 public:
  /// `send` takes a piece; false: nobody is there any more, and the rest is not made.
  using Send = bool (*)(void* to, std::string_view piece) noexcept;
  /// The room is of any size but 0.
  Answer(std::span<char> room, Send send, void* to) noexcept : room_(room), send_(send), to_(to) {}

  // Fields of the object that is open, or (an empty name) elements of the list that is. Texts are what they are, bytes
  // that are not UTF-8 as lone surrogates (U+DC80 + byte - 0x80), as Python's os.fsdecode has them.
  Answer& text(std::string_view name, std::string_view value) noexcept;
  Answer& number(std::string_view name, uint64_t value) noexcept;
  Answer& truth(std::string_view name, bool value) noexcept;
  Answer& begin(std::string_view name, char bracket) noexcept;  // '{' or '[', up to 32 within each other
  Answer& end() noexcept;

  /// The whole line: opens it, and ends it with all that is open. `finish` returns whether all of it was sent.
  Answer& start() noexcept { return begin({}, '{'); }
  [[nodiscard]] bool finish() noexcept;
  /// Instead: {"ok":false,"error":"..."}.
  void fail(std::string_view error) noexcept { start().truth("ok", false).text("error", error); }

 private:
  static constexpr unsigned kMostDepth = 32;

  void flush() noexcept;
  void put(char c) noexcept;
  void put(std::string_view text) noexcept;
  void put_text(std::string_view text) noexcept;
  void next(std::string_view name) noexcept;

  std::span<char> room_;
  Send send_;
  void* to_;
  size_t used_ = 0;
  unsigned depth_ = 0;
  uint32_t lists_ = 0;  // bit n: what is open at depth n is a list
  bool first_ = true, gone_ = false;
};

}  // namespace poireau::control
