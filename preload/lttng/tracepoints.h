/* The tracepoints poireau:alloc, poireau:free, ..., made of event.def. LTTng reads this file many times over. */
#undef LTTNG_UST_TRACEPOINT_PROVIDER
#define LTTNG_UST_TRACEPOINT_PROVIDER poireau
#undef LTTNG_UST_TRACEPOINT_INCLUDE
#define LTTNG_UST_TRACEPOINT_INCLUDE "preload/lttng/tracepoints.h"

#if !defined(POIREAU_LTTNG_TRACEPOINTS_H) || defined(LTTNG_UST_TRACEPOINT_HEADER_MULTI_READ)
#define POIREAU_LTTNG_TRACEPOINTS_H
#include <lttng/tracepoint.h>

#include "preload/lttng/rows.h"

#define TRACE_u8(name) lttng_ust_field_integer(uint8_t, name, row->name)
#define TRACE_u16(name) lttng_ust_field_integer(uint16_t, name, row->name)
#define TRACE_u32(name) lttng_ust_field_integer(uint32_t, name, row->name)
#define TRACE_u64(name) lttng_ust_field_integer(uint64_t, name, row->name)
#define TRACE_hex(name) lttng_ust_field_integer_hex(uint64_t, name, row->name)
#define TRACE_text(name) lttng_ust_field_string(name, row->name)
#define TRACE_bytes(name) lttng_ust_field_sequence(uint8_t, name, row->name, uint16_t, row->name##_length)
#define TRACE_frames(name) lttng_ust_field_sequence_hex(uintptr_t, name, row->name, uint16_t, row->name##_length)
#define FIELD(kind, name, help) TRACE_##kind(name)
#define EVENT(name, Name, help, ...)                                                              \
  LTTNG_UST_TRACEPOINT_EVENT(poireau, name, LTTNG_UST_TP_ARGS(const struct poireau_##name*, row), \
                             LTTNG_UST_TP_FIELDS(__VA_ARGS__))
#include "preload/event.def"
#undef EVENT
#undef FIELD
#undef TRACE_u8
#undef TRACE_u16
#undef TRACE_u32
#undef TRACE_u64
#undef TRACE_hex
#undef TRACE_text
#undef TRACE_bytes
#undef TRACE_frames

#endif
#include <lttng/tracepoint-event.h>
