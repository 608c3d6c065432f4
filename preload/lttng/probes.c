/* In C: LTTng's descriptions of fields are compound literals, which C++ doesn't have. */
#define LTTNG_UST_TRACEPOINT_CREATE_PROBES
#define LTTNG_UST_TRACEPOINT_DEFINE
#include "preload/lttng/tracepoints.h"
