#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "preload/base/words.h"

// The rows of hooks.def that ask for memory, and those that give it back.
#define KIND_allocate(...) KIND_ROW(__VA_ARGS__)
#define KIND_resize(...) KIND_ROW(__VA_ARGS__)
#define KIND_store(...) KIND_ROW(__VA_ARGS__)
#define KIND_release(...) RELEASE_ROW(__VA_ARGS__)
#define KIND_ask(...)
#define KIND_answer(...)
#define KIND_other(...)
#define HOOK(shape, library, name, result, parameters, arguments, bytes, alignment) KIND_##shape(name, bytes)

namespace poireau {

/// Which exported function a request for memory came through.
enum class Kind : uint8_t {
#define KIND_ROW(name, bytes) name,
#define RELEASE_ROW(name, bytes)
#include "preload/hooks.def"
#undef KIND_ROW
#undef RELEASE_ROW
};

/// Which one gave a block back.
enum class Release : uint8_t {
#define KIND_ROW(name, bytes)
#define RELEASE_ROW(name, bytes) name,
#include "preload/hooks.def"
#undef KIND_ROW
#undef RELEASE_ROW
};

/// A block's, where it is an object of a pool (poireau.h).
constexpr uint8_t kOfPool = UINT8_MAX;
/// One that was freed so long ago that no more is known of it.
constexpr uint8_t kForgotten = UINT8_MAX - 1;

/// What a release says the block's size is when it says nothing.
constexpr size_t kNoSize = SIZE_MAX;

/// Whose blocks are whose to release. `any` releases all of them; no block is of it.
enum class Family : uint8_t { c, scalar_new, array_new, any };

constexpr bool may_release(Family function, Family block) noexcept {
  return function == block || function == Family::any;
}

// What follows from the names, for each row once, at compile time.
inline constexpr std::string_view kKindSymbols[] = {
#define KIND_ROW(name, bytes) #name,
#define RELEASE_ROW(name, bytes)
#include "preload/hooks.def"
#undef KIND_ROW
#undef RELEASE_ROW
};
inline constexpr std::string_view kReleaseSymbols[] = {
#define KIND_ROW(name, bytes)
#define RELEASE_ROW(name, bytes) #name,
#include "preload/hooks.def"
#undef KIND_ROW
#undef RELEASE_ROW
};
template <const auto& symbols, typename Answer>
consteval auto for_each_symbol(Answer answer) {
  std::array<decltype(answer(symbols[0])), std::size(symbols)> answers{};
  std::transform(std::begin(symbols), std::end(symbols), answers.begin(), answer);
  return answers;
}

/// The name that the linker knows. Empty for a value that is none.
constexpr std::string_view symbol_of(Kind kind) noexcept { return kWords<kKindSymbols>[static_cast<size_t>(kind)]; }
constexpr std::string_view symbol_of(Release release) noexcept {
  return kWords<kReleaseSymbols>[static_cast<size_t>(release)];
}

/// The name that people know: "malloc", "operator new[]". For a value that is no Kind: "an unknown function".
[[nodiscard]] std::string_view name_of(Kind kind) noexcept;
[[nodiscard]] std::string_view name_of(Release release) noexcept;

/// Of the blocks that a function makes.
inline constexpr auto kFamilies = for_each_symbol<kKindSymbols>([](std::string_view name) {
  if (name.starts_with("_Zna") || name.starts_with("tc_newarray")) return Family::array_new;
  if (name.starts_with("_Znw") || name.starts_with("tc_new") || name.starts_with("mi_new")) return Family::scalar_new;
  return Family::c;
});
constexpr Family family_of(Kind kind) noexcept {
  const auto row = static_cast<size_t>(kind);
  return row < kFamilies.size() ? kFamilies[row] : Family::c;
}

inline constexpr auto kFamiliesTaken = for_each_symbol<kReleaseSymbols>([](std::string_view name) {
  if (name.starts_with("mi_")) return Family::any;
  if (name.starts_with("_Zda") || name.starts_with("tc_deletearray")) return Family::array_new;
  if (name.starts_with("_Zdl") || name.starts_with("tc_delete")) return Family::scalar_new;
  return Family::c;
});
constexpr Family family_of(Release release) noexcept { return kFamiliesTaken[static_cast<size_t>(release)]; }

/// Whether it is an operator delete.
inline constexpr auto kOperators =
    for_each_symbol<kReleaseSymbols>([](std::string_view name) { return name.starts_with("_Z"); });
constexpr bool is_operator(Release release) noexcept { return kOperators[static_cast<size_t>(release)]; }

/// Whose blocks a resize takes.
inline constexpr auto kOfMimalloc =
    for_each_symbol<kKindSymbols>([](std::string_view name) { return name.starts_with("mi_"); });
constexpr Family taken_by(Kind resize) noexcept {
  return kOfMimalloc[static_cast<size_t>(resize)] ? Family::any : family_of(resize);
}

/// Whether the memory may have to be zeroed: always, or when flags say so that we don't look at.
inline constexpr auto kZeroes = for_each_symbol<kKindSymbols>([](std::string_view name) {
  const auto has = [name](std::string_view part) { return name.find(part) != name.npos; };
  return has("calloc") || has("zalloc") || has("llocx");
});
constexpr bool zeroes(Kind kind) noexcept { return kZeroes[static_cast<size_t>(kind)]; }

/// Whether a block may be ours instead of the allocator's: it is released alone, by a function that we see, and nothing
/// more is asked of its address than an alignment.
inline constexpr auto kPlaceable = for_each_symbol<kKindSymbols>([](std::string_view name) {
  return !name.starts_with("mi_heap_")         // may be released with its heap
         && !name.starts_with("independent_")  // many blocks in one
         && !name.ends_with("_aligned_at");    // aligned at an offset
});
constexpr bool placeable(Kind kind) noexcept { return kPlaceable[static_cast<size_t>(kind)]; }

}  // namespace poireau

#undef HOOK
#undef KIND_allocate
#undef KIND_resize
#undef KIND_store
#undef KIND_release
#undef KIND_ask
#undef KIND_answer
#undef KIND_other
