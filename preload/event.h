#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

/// What event.def says, for C++: a struct for each event, and its fields in order.
namespace poireau::event {

/// Of fields.
namespace kinds {
using u8 = uint8_t;
using u16 = uint16_t;
using u32 = uint32_t;
using u64 = uint64_t;
struct hex {
  uint64_t value = 0;
  constexpr hex() noexcept = default;
  constexpr hex(uint64_t number) noexcept : value(number) {}  // as good as a number
};
using text = std::string_view;
using bytes = std::span<const uint8_t>;
using frames = std::span<const uintptr_t>;
}  // namespace kinds

enum class Type : uint16_t {
#define FIELD(kind, name, help)
#define EVENT(name, Name, help, ...) name,
#include "preload/event.def"
#undef EVENT
#undef FIELD
  count
};
constexpr size_t kTypes = static_cast<size_t>(Type::count);

#define FIELD(kind, name, help) kinds::kind name{};
#define EVENT(name, Name, help, ...)            \
  struct Name {                                 \
    static constexpr Type kType = Type::name;   \
    static constexpr const char* kName = #name; \
    __VA_ARGS__                                 \
  };
#include "preload/event.def"
#undef EVENT
#undef FIELD

/// Calls `visit(name, value)` for each field in turn.
#define FIELD(kind, name, help) visit(#name, event.name);
#define EVENT(name, Name, help, ...)                                         \
  template <typename Visit>                                                  \
  constexpr void for_each_field(const Name& event, Visit&& visit) noexcept { \
    __VA_ARGS__                                                              \
  }
#include "preload/event.def"
#undef EVENT
#undef FIELD

/// Any of them, for as long as the struct is there.
class Any {
 public:
  template <typename Event>
  constexpr Any(const Event& event) noexcept : type_(Event::kType), event_(&event) {}
  [[nodiscard]] constexpr Type type() const noexcept { return type_; }
  [[nodiscard]] constexpr const void* data() const noexcept { return event_; }

  /// Calls `visit` with the struct that it is.
  template <typename Visit>
  decltype(auto) visit(Visit&& visit) const noexcept {
    switch (type_) {
#define FIELD(kind, name, help)
#define EVENT(name, Name, help, ...) \
  case Type::name:                   \
    return visit(*static_cast<const Name*>(event_));
#include "preload/event.def"
#undef EVENT
#undef FIELD
      case Type::count:
        break;
    }
    __builtin_unreachable();
  }

 private:
  Type type_;
  const void* event_;
};

}  // namespace poireau::event
