// The rows of hooks.def that make up the library being built: libc, cxx and loader, or those of one extension library.
// Include with HOOK_ROW(shape, library, name, result, parameters, arguments, bytes, alignment) defined for all of
// them, or with LIBC_ROW or CXX_ROW for only those of libpoireau.so's two families.
#define HOOK(shape, library, ...) HOOK_OF_##library(shape, library, __VA_ARGS__)
#define HOOK_NONE(...)
#define HOOK_OF_own HOOK_NONE
#define HOOK_OF_libc HOOK_NONE
#define HOOK_OF_cxx HOOK_NONE
#define HOOK_OF_loader HOOK_NONE
#define HOOK_OF_jemalloc HOOK_NONE
#define HOOK_OF_tcmalloc HOOK_NONE
#define HOOK_OF_mimalloc HOOK_NONE
#define HOOK_OF_dlmalloc HOOK_NONE

#if defined(POIREAU_EXTENSION_jemalloc)
#undef HOOK_OF_jemalloc
#define HOOK_OF_jemalloc HOOK_ROW
#elif defined(POIREAU_EXTENSION_tcmalloc)
#undef HOOK_OF_tcmalloc
#define HOOK_OF_tcmalloc HOOK_ROW
#elif defined(POIREAU_EXTENSION_mimalloc)
#undef HOOK_OF_mimalloc
#define HOOK_OF_mimalloc HOOK_ROW
#elif defined(POIREAU_EXTENSION_dlmalloc)
#undef HOOK_OF_dlmalloc
#define HOOK_OF_dlmalloc HOOK_ROW
#elif defined(HOOK_ROW)
#undef HOOK_OF_libc
#undef HOOK_OF_cxx
#undef HOOK_OF_loader
#define HOOK_OF_libc HOOK_ROW
#define HOOK_OF_cxx HOOK_ROW
#define HOOK_OF_loader HOOK_ROW
#elif defined(LIBC_ROW)
#undef HOOK_OF_libc
#define HOOK_OF_libc LIBC_ROW
#elif defined(CXX_ROW)
#undef HOOK_OF_cxx
#define HOOK_OF_cxx CXX_ROW
#endif

#include "preload/hooks.def"

#undef HOOK
#undef HOOK_NONE
#undef HOOK_OF_own
#undef HOOK_OF_libc
#undef HOOK_OF_cxx
#undef HOOK_OF_loader
#undef HOOK_OF_jemalloc
#undef HOOK_OF_tcmalloc
#undef HOOK_OF_mimalloc
#undef HOOK_OF_dlmalloc
#undef HOOK_ROW
#undef LIBC_ROW
#undef CXX_ROW
