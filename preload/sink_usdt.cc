#include "preload/sink.h"

namespace poireau::sink {

constinit const Sink kUsdt{"usdt", [](event::Type) noexcept { return false; }, [](const event::Any&) noexcept {}};

}  // namespace poireau::sink
