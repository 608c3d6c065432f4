#pragma once
#include "preload/poireau.h"

/// What is counted of protection, gathered from those who count.
namespace poireau {

void gather(poireau_protection& out) noexcept;
/// At the end of the process: says it on standard error, in a few lines.
void say_protection() noexcept;

}  // namespace poireau
