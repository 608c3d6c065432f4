#pragma once
#include <cstddef>
#include <cstdint>
#include <string_view>

// The rows of hooks.def that ask for memory, and those that give it back.
#define KIND_allocate(...) KIND_ROW(__VA_ARGS__)
#define KIND_resize(...) KIND_ROW(__VA_ARGS__)
#define KIND_store(...) KIND_ROW(__VA_ARGS__)
#define KIND_release(...) RELEASE_ROW(__VA_ARGS__)
#define KIND_ask(...)
#define KIND_answer(...)
#define KIND_watch(...)
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

/// What a release says the block's size is when it says nothing.
constexpr size_t kNoSize = SIZE_MAX;

/// Whose blocks are whose to release. `any` releases all of them; no block is of it.
enum class Family : uint8_t { c, scalar_new, array_new, any };

constexpr bool may_release(Family function, Family block) noexcept {
  return function == block || function == Family::any;
}

/// The name that the linker knows.
constexpr std::string_view symbol_of(Kind kind) noexcept {
  switch (kind) {
#define KIND_ROW(name, bytes) \
  case Kind::name:            \
    return #name;
#define RELEASE_ROW(name, bytes)
#include "preload/hooks.def"
#undef KIND_ROW
#undef RELEASE_ROW
  }
  return {};
}
constexpr std::string_view symbol_of(Release release) noexcept {
  switch (release) {
#define KIND_ROW(name, bytes)
#define RELEASE_ROW(name, bytes) \
  case Release::name:            \
    return #name;
#include "preload/hooks.def"
#undef KIND_ROW
#undef RELEASE_ROW
  }
  return {};
}

/// The name that people know: "malloc", "operator new[]". For a value that is no Kind: "an unknown function".
[[nodiscard]] std::string_view name_of(Kind kind) noexcept;
[[nodiscard]] std::string_view name_of(Release release) noexcept;

/// Of the blocks that a function makes.
constexpr Family family_of(Kind kind) noexcept {
  const std::string_view name = symbol_of(kind);
  if (name.starts_with("_Zna") || name.starts_with("tc_newarray")) return Family::array_new;
  if (name.starts_with("_Znw") || name.starts_with("tc_new") || name.starts_with("mi_new")) return Family::scalar_new;
  return Family::c;
}
constexpr Family family_of(Release release) noexcept {
  const std::string_view name = symbol_of(release);
  if (name.starts_with("mi_")) return Family::any;
  if (name.starts_with("_Zda") || name.starts_with("tc_deletearray")) return Family::array_new;
  if (name.starts_with("_Zdl") || name.starts_with("tc_delete")) return Family::scalar_new;
  return Family::c;
}
/// Whose blocks a resize takes.
constexpr Family taken_by(Kind resize) noexcept {
  return symbol_of(resize).starts_with("mi_") ? Family::any : family_of(resize);
}

/// Whether the caller says what size the block is.
constexpr bool carries_size(Release release) noexcept {
  switch (release) {
#define KIND_ROW(name, bytes)
#define RELEASE_ROW(name, bytes) \
  case Release::name:            \
    return std::string_view(#bytes) != "kNoSize";
#include "preload/hooks.def"
#undef KIND_ROW
#undef RELEASE_ROW
  }
  return false;
}

/// Whether the memory may have to be zeroed: always, or when flags say so that we don't look at.
constexpr bool zeroes(Kind kind) noexcept {
  const std::string_view name = symbol_of(kind);
  const auto has = [name](std::string_view part) { return name.find(part) != name.npos; };
  return has("calloc") || has("zalloc") || has("llocx");
}

/// Whether a block may be ours instead of the allocator's: it is released alone, by a function that we see, and nothing
/// more is asked of its address than an alignment.
constexpr bool placeable(Kind kind) noexcept {
  const std::string_view name = symbol_of(kind);
  return !name.starts_with("mi_heap_")         // may be released with its heap
         && !name.starts_with("independent_")  // many blocks in one
         && !name.ends_with("_aligned_at");    // aligned at an offset
}

}  // namespace poireau

#undef HOOK
#undef KIND_allocate
#undef KIND_resize
#undef KIND_store
#undef KIND_release
#undef KIND_ask
#undef KIND_answer
#undef KIND_watch
#undef KIND_other
