#pragma once
#include <string_view>

/// libbabeltrace2 goes as deep as types are nested, and makes as many objects as a type has fields and as an event says
/// that an array has items, before it looks at how much there is of the trace. It is kept from what nobody means.
namespace poireau::native::babeltrace {

/// Whether types are nested no deeper than anybody would, and have together, arrays of a fixed size included, a million
/// fields at most.
[[nodiscard]] bool is_bounded(std::string_view metadata);

/// Makes ItemLimit work. To be called before libbabeltrace2 loads what reads CTF.
void intercept_items();

/// While it is there, arrays of a size of their own get four million items in all; an event that says that it has more
/// is a damaged one to libbabeltrace2. Of this thread.
class ItemLimit {
 public:
  ItemLimit();
  ~ItemLimit();
  ItemLimit(const ItemLimit&) = delete;
  ItemLimit& operator=(const ItemLimit&) = delete;
};

}  // namespace poireau::native::babeltrace
