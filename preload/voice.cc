#include "preload/voice.h"

#include <unistd.h>

#include "preload/base/sys.h"
#include "preload/process.h"
#include "preload/sandbox.h"

namespace poireau::voice {
namespace {

bool in_the_open() noexcept { return sandbox::state() == sandbox::State::open; }

}  // namespace

Text line() noexcept {
  const std::string_view called_as = process::called_as();
  Text text;
  text << "poireau: " << (called_as.empty() ? process::program() : called_as);
  if (in_the_open()) text << "[" << static_cast<uint64_t>(sys::process_id()) << "]";
  text << ": ";
  return text;
}

void say(std::string_view text) noexcept {
  Text line;
  line << text << "\n";
  say_lines(line.view());
}

void say_lines(std::string_view lines) noexcept {
  if (in_the_open())
    sys::write_safely(STDERR_FILENO, lines);
  else
    sys::write(STDERR_FILENO, lines);
}

}  // namespace poireau::voice
