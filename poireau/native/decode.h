#pragma once
#include <cstdint>

#include "poireau/native/reader.h"

/// What libpoireau-decode.so has besides the functions of a reader.
extern "C" {

/// 1: the directory is a process's trace of our own layout. 0: it is not, or can't be read.
int32_t poireau_recognizes(const char* directory);
/// Another input, read after those there are. Returns its process number; UINT32_MAX: there is no memory.
uint32_t poireau_add(PoireauReader* reader, const char* directory);
}
