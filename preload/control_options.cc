#include "preload/control_options.h"

#include <algorithm>

#include "config/explain.h"
#include "preload/auto_period.h"
#include "preload/journal.h"

namespace poireau::control {
namespace {

using config::OptionInfo;
using config::SetResult;

[[gnu::noinline]] void add_shown(Answer& answer, std::string_view field, const OptionInfo& option,
                                 std::string_view (OptionInfo::*show)(Text&) const noexcept) noexcept {
  Text scratch;
  answer.text(field, (option.*show)(scratch));
}

/// `option` is nullptr if there is none of that name.
[[gnu::noinline]] void refuse(Answer& answer, const OptionInfo* option, std::string_view name, std::string_view value,
                              SetResult why) noexcept {
  constexpr size_t kMostValue = 100;
  Text text;
  if (option != nullptr) {
    name = option->name();
    text << name << (why == SetResult::too_late ? " " : ": ");
    if (why != SetResult::too_late) {
      config::add_foreign(text, value, kMostValue);
      text << (value.empty() ? "an empty text is " : " is ");
    }
  }
  config::explain(text, name, why);
  if (why == SetResult::malformed && !option->wanted().ends_with(option->range()))
    text << " (" << option->range() << ")";
  answer.fail(text.view());
}

/// The value that an option had before.
class Before {
 public:
  [[gnu::noinline]] void keep(const OptionInfo& option) noexcept {
    Text scratch;
    const std::string_view text = option.show(scratch);
    size_ = std::min(text.size(), sizeof text_);
    std::copy_n(text.begin(), size_, text_);
  }
  [[nodiscard]] std::string_view view() const noexcept { return {text_, size_}; }

 private:
  char text_[1024]{};
  size_t size_ = 0;
};
constinit Before before{};

}  // namespace

void add_option(Answer& answer, const OptionInfo& option) noexcept {
  answer.text("name", option.name());
  add_shown(answer, "value", option, &OptionInfo::show);
  add_shown(answer, "default", option, &OptionInfo::show_default);
  answer.text("origin", config::origin(option))
      .text("range", option.range())
      .text("changes", option.changes == config::Phase::live ? "while running" : "at load");
}

const OptionInfo* look_up(Answer& answer, std::string_view name) noexcept {
  const OptionInfo* const option = config::find(name);
  if (option == nullptr) refuse(answer, nullptr, name, {}, SetResult::unknown);
  return option;
}

const OptionInfo* change(Answer& answer, std::string_view name, std::string_view value) noexcept {
  const OptionInfo* const option = config::find(name);
  if (option != nullptr) before.keep(*option);
  const SetResult result = config::set(name, value, "control socket", config::Phase::live);
  if (result != SetResult::ok) {
    refuse(answer, option, name, value, result);
    return nullptr;
  }
  if (option == config::find("sample_period")) auto_period::start_over();
  Text scratch;
  const std::string_view now = option->show(scratch);
  if (now != before.view()) journal::option_changed(option->name(), now);
  return option;
}

std::string_view value_before() noexcept { return before.view(); }

}  // namespace poireau::control
