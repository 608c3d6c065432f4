#pragma once
#include <cerrno>
#include <cstddef>
#include <type_traits>

#include "preload/real.h"
#include "preload/sampled.h"
#include "preload/sampler.h"
#include "tracked_alloc/tracked_alloc.h"

/// The code of a hook, by its shape in hooks.def: for each row a hot function that counts, compares and jumps on, and
/// a cold twin for the rest.
namespace poireau {

constexpr size_t kAnyType = alignof(max_align_t);
constexpr size_t kPage = 4096;

/// What pvalloc makes of a size.
constexpr size_t whole_pages(size_t size) noexcept {
  return size > SIZE_MAX - kPage ? size : (size + kPage - 1) & -kPage;
}

/// The bytes of an array; SIZE_MAX, which no one has either, if they are more than can be counted.
inline size_t product(size_t count, size_t size) noexcept {
  size_t bytes;
  if (__builtin_mul_overflow(count, size, &bytes)) [[unlikely]]
    return SIZE_MAX;
  return bytes;
}

inline size_t sum(size_t count, const size_t* sizes) noexcept {
  size_t bytes = 0;
  for (size_t i = 0; i < count; ++i) bytes += sizes[i];
  return bytes;
}

/// What MALLOCX_ALIGN and MALLOCX_LG_ALIGN leave in the flags. With MALLOCX_ARENA none, for which nobody has a home:
/// all that is in an arena may be released with it.
constexpr size_t jemalloc_alignment(int flags) noexcept { return flags >> 20 != 0 ? 0 : size_t{1} << (flags & 63); }

/// What the cold twins have in common: a request that the hot path did not pass on.
struct Attempt {
  enum class Shape : uint8_t { allocate, resize, store };
  enum class Step : uint8_t { again, answered, ask };

  sampled::Request request;
  bool through;  // what is next is to be asked, and comes by us again
  void* answer;
  sampled::Verdict verdict;
  Sampler::Mark before;

  Attempt(Kind kind, size_t size, size_t alignment, const void* caller, bool passed) noexcept
      : request{kind, size, alignment, caller}, through(passed) {}
  [[gnu::cold, gnu::noinline]] Step begin(Shape shape, void* ptr) noexcept {
    answer = nullptr;
    if (through) {
      before = mark();
      return Step::ask;
    }
    verdict = sampled::judge(request);
    if (verdict.way == sampled::Way::again) return Step::again;
    if (verdict.way == sampled::Way::early) {
      answer = shape == Shape::resize ? sampled::early_resize(request, ptr) : sampled::early(request);
      return Step::answered;
    }
    if (verdict.period == 0) return Step::ask;
    if (shape == Shape::resize)
      answer = sampled::move_in(request, verdict, ptr);
    else if (shape == Shape::allocate || request.alignment % sizeof(void*) == 0)
      answer = sampled::place(request, verdict);
    return answer != nullptr ? Step::answered : Step::ask;
  }
  [[gnu::cold, gnu::noinline]] void end(bool granted) noexcept {
    if (through) {
      if (granted && mark() == before) sampled::afterwards(request);
    } else if (verdict.way == sampled::Way::real) {
      sampled::settle(request, verdict, granted);
    }
  }
};

/// How `ask` answers for a block of ours: with how much may be used; with the block, if that is enough. In place it
/// doesn't grow.
template <typename Result>
Result answer_of([[maybe_unused]] void* ptr, size_t usable, [[maybe_unused]] size_t wanted) noexcept {
  if constexpr (std::is_pointer_v<Result>)
    return wanted <= usable ? ptr : nullptr;
  else
    return usable;
}

}  // namespace poireau

#define HOOK_EXPORT extern "C" [[gnu::visibility("default"), gnu::aligned(16)]]
#define HOOK_COLD [[gnu::cold, gnu::noinline]] static

// The twin is tail-called, so its return address is the program's. It takes the charge back first: whatever happens
// from then on, the thread's state is one that it can go on with.
//
// real.name, or what is beneath it, == through_name: what is asked for comes by us again under another name, in some
// sizes at least, and is counted there; where it isn't, it is counted after the fact.
#define HOOK_TWIN(shape, name, result, parameters, arguments, bytes, alignment, ptr, in_home, granted) \
  HOOK_EXPORT result name parameters;                                                                  \
  HOOK_COLD result through_##name parameters;                                                          \
  HOOK_COLD result sampled_##name parameters {                                                         \
    uncharge(bytes);                                                                                   \
    const bool through = real.name == through_##name || beneath.name == through_##name;                \
    Attempt attempt(Kind::name, bytes, alignment, __builtin_return_address(0), through);               \
    const Attempt::Step step = attempt.begin(Attempt::Shape::shape, ptr);                              \
    if (step == Attempt::Step::again) return name arguments;                                           \
    if (step == Attempt::Step::answered) return in_home;                                               \
    result const got = (attempt.through ? next.name : real.name)arguments;                             \
    attempt.end(granted);                                                                              \
    return got;                                                                                        \
  }                                                                                                    \
  HOOK_COLD result through_##name parameters { return sampled_##name arguments; }
#define SHAPE_allocate(name, result, parameters, arguments, bytes, alignment)         \
  HOOK_TWIN(allocate, name, result, parameters, arguments, bytes, alignment, nullptr, \
            static_cast<result>(attempt.answer), got != nullptr)                      \
  HOOK_EXPORT result name parameters {                                                \
    if (charge(bytes)) [[unlikely]]                                                   \
      return sampled_##name arguments;                                                \
    return real.name arguments;                                                       \
  }

// A block of ours is resized where it is, or moves to another home, or is lent to the real allocator as a block of its
// own.
#define SHAPE_resize(name, result, parameters, arguments, bytes, alignment)                                     \
  HOOK_TWIN(resize, name, result, parameters, arguments, bytes, alignment, ptr, attempt.answer, got != nullptr) \
  HOOK_COLD result owned_##name parameters {                                                                    \
    const sampled::Request request{Kind::name, bytes, alignment, __builtin_return_address(0)};                  \
    sampled::Loan loan = sampled::borrow(request, ptr);                                                         \
    if (loan.way == sampled::Loan::Way::done) return loan.ptr;                                                  \
    if (loan.way == sampled::Loan::Way::theirs) {                                                               \
      if (charge(bytes)) return sampled_##name arguments;                                                       \
      return real.name arguments;                                                                               \
    }                                                                                                           \
    ptr = loan.ptr;                                                                                             \
    result const got = real.name arguments;                                                                     \
    sampled::repay(request, loan, got != nullptr);                                                              \
    return got;                                                                                                 \
  }                                                                                                             \
  HOOK_EXPORT result name parameters {                                                                          \
    if (tracked_alloc::owns(ptr)) [[unlikely]]                                                                  \
      return owned_##name arguments;                                                                            \
    if (charge(bytes)) [[unlikely]]                                                                             \
      return sampled_##name arguments;                                                                          \
    return real.name arguments;                                                                                 \
  }

#define SHAPE_store(name, result, parameters, arguments, bytes, alignment)         \
  HOOK_TWIN(store, name, result, parameters, arguments, bytes, alignment, nullptr, \
            (*out = attempt.answer) == nullptr ? ENOMEM : 0, got == 0)             \
  HOOK_EXPORT result name parameters {                                             \
    if (charge(bytes)) [[unlikely]]                                                \
      return sampled_##name arguments;                                             \
    return real.name arguments;                                                    \
  }

#define SHAPE_release(name, result, parameters, arguments, bytes, alignment)                            \
  HOOK_COLD result owned_##name parameters {                                                            \
    if (!sampled::release(ptr, Release::name, bytes, __builtin_return_address(0))) real.name arguments; \
  }                                                                                                     \
  HOOK_EXPORT result name parameters {                                                                  \
    if (tracked_alloc::owns(ptr)) [[unlikely]]                                                          \
      return owned_##name arguments;                                                                    \
    return real.name arguments;                                                                         \
  }

// The first question comes here whatever block it is about, real.name == owned_name: that there are any is to be known.
#define SHAPE_ask(name, result, parameters, arguments, bytes, alignment)             \
  HOOK_COLD result owned_##name parameters {                                         \
    size_t usable;                                                                   \
    if (sampled::measure(ptr, usable)) return answer_of<result>(ptr, usable, bytes); \
    __atomic_store_n(&real.name, next.name, __ATOMIC_RELAXED);                       \
    return next.name arguments;                                                      \
  }                                                                                  \
  HOOK_EXPORT result name parameters {                                               \
    if (tracked_alloc::owns(ptr)) [[unlikely]]                                       \
      return owned_##name arguments;                                                 \
    return __atomic_load_n(&real.name, __ATOMIC_RELAXED) arguments;                  \
  }

// The size asked, not the one rounded up: a sampled block may be exactly as large as it was asked for.
#define SHAPE_answer(name, result, parameters, arguments, bytes, alignment) \
  HOOK_EXPORT result name parameters { return bytes; }

#define SHAPE_other(...)
