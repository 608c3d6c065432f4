#ifndef POIREAU_LTTNG_ROWS_H
#define POIREAU_LTTNG_ROWS_H
#include <stdint.h>

/* The events of event.def as LTTng's probes, which are C, take them: texts are ended. */
#define ROW_u8(name) uint8_t name;
#define ROW_u16(name) uint16_t name;
#define ROW_u32(name) uint32_t name;
#define ROW_u64(name) uint64_t name;
#define ROW_hex(name) uint64_t name;
#define ROW_text(name) const char* name;
#define ROW_bytes(name) \
  const uint8_t* name;  \
  uint16_t name##_length;
#define ROW_frames(name) \
  const uintptr_t* name; \
  uint16_t name##_length;
#define FIELD(kind, name, help) ROW_##kind(name)
#define EVENT(name, Name, help, ...) \
  struct poireau_##name {            \
    __VA_ARGS__                      \
  };
#include "preload/event.def"
#undef EVENT
#undef FIELD

#endif
