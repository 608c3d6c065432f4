#pragma once
#ifdef __x86_64__
#include "preload/base/cpu_x86_64.h"
#else
#error "Poireau runs on x86-64 Linux only: write preload/base/cpu_*.h and sys_linux_*.cc for this processor."
#endif
