#pragma once
#include <ucontext.h>

#include <array>
#include <cstdint>

/// What a signal handler is told of the thread that it interrupted: its ucontext_t. One such file a processor.
namespace poireau::context {

inline uintptr_t at(const void* context, int which) noexcept {
  return static_cast<uintptr_t>(static_cast<const ucontext_t*>(context)->uc_mcontext.gregs[which]);
}
inline uintptr_t instruction(const void* context) noexcept { return at(context, REG_RIP); }
inline uintptr_t stack_pointer(const void* context) noexcept { return at(context, REG_RSP); }
inline uintptr_t frame_pointer(const void* context) noexcept { return at(context, REG_RBP); }

struct Register {
  char name[7];  // in place: a pointer would have to be relocated
  int which;
};
inline constexpr std::array kRegisters = {
    Register{"rax", REG_RAX}, Register{"rbx", REG_RBX},    Register{"rcx", REG_RCX}, Register{"rdx", REG_RDX},
    Register{"rsi", REG_RSI}, Register{"rdi", REG_RDI},    Register{"rbp", REG_RBP}, Register{"rsp", REG_RSP},
    Register{"r8", REG_R8},   Register{"r9", REG_R9},      Register{"r10", REG_R10}, Register{"r11", REG_R11},
    Register{"r12", REG_R12}, Register{"r13", REG_R13},    Register{"r14", REG_R14}, Register{"r15", REG_R15},
    Register{"rip", REG_RIP}, Register{"eflags", REG_EFL},
};

}  // namespace poireau::context
