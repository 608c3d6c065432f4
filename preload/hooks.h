#pragma once

/// The malloc family's hooks. The functions here are for lifecycle.cc, in this order.
namespace poireau::hooks {

/// Fills in `real` what `next` lacks.
void complete() noexcept;

/// Finds the functions of the allocator beneath that come back to our hooks, and has them counted there only.
void route() noexcept;

/// Has `real` lead to protection (protect.h), or not any more.
void protect(bool on) noexcept;

}  // namespace poireau::hooks
