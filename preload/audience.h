#pragma once
#include <cstdint>
#include <span>

#include "preload/event.h"

/// Who is told: `readers` of the trace, and `listeners` of the other sinks. What an event needs to be understood (the
/// modules of its stack, the name of its thread) they are told once before it. What they have been told is kept in
/// bounded sets that forget when they are full, so that things are at worst told twice. Any thread, any time; readers
/// are told by who has the trace's turn.
namespace poireau::journal {

enum class Audience : uint8_t { readers, listeners };

/// Whatever an event with this stack (and its number, 0: none), of this thread, needs to be understood.
void prepare(Audience audience, uint32_t stack, std::span<const uintptr_t> frames, uint32_t thread) noexcept;
/// Says whose process this is, to who has been told nothing yet.
void introduce_to(Audience audience) noexcept;
/// Files have been unloaded: where they were there may be others.
void forget_modules() noexcept;
/// In a fork child.
void forget_audiences() noexcept;

}  // namespace poireau::journal
