#pragma once

/// The hooks of operator new and delete. The functions here are for lifecycle.cc, in this order.
namespace poireau::operators {

/// A safe start: what is next gets each request, and what it asks malloc for is counted there.
void complete() noexcept;

/// Looks who is next, and has each request counted here with its true kind where that is safe. Everything must be
/// relocated by now: it tries the next operator new.
void classify() noexcept;

/// As hooks::protect, and behind it.
void protect(bool on) noexcept;

}  // namespace poireau::operators
