#include "preload/trace_stream.h"

namespace poireau::trace {

bool Stream::open(const Place&, const Identity&, std::string_view, const Limits&) noexcept { return false; }
char* Stream::reserve(size_t) noexcept { return nullptr; }
void Stream::commit(size_t) noexcept {}
uint32_t Stream::file() const noexcept { return 0; }
uint32_t Stream::oldest() const noexcept { return 0; }
uint64_t Stream::bytes() const noexcept { return 0; }
bool Stream::remove_oldest() noexcept { return false; }
void Stream::flush() noexcept {}
void Stream::prepare_for_sandbox() noexcept {}
void Stream::forget() noexcept {}
Trouble Stream::trouble() const noexcept { return Trouble::none; }

}  // namespace poireau::trace
