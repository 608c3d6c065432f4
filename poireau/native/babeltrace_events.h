#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "poireau/native/babeltrace_plan.h"
#include "poireau/native/table_addresses.h"
#include "poireau/native/table_columns.h"
#include "poireau/native/table_tables.h"

/// Events of libbabeltrace2 as rows, and whose they are.
namespace poireau::native::babeltrace {

class Events {
 public:
  Events(Tables& tables, Columns& columns) : tables_(tables), columns_(columns) {}

  /// As if nothing had been read; but what has a number keeps it.
  void rewind();
  /// The number of the trace of this name. `source` is shown as its processes'.
  uint32_t trace(const std::string& name, const std::string& source);
  /// When the event was written.
  [[nodiscard]] static int64_t stamp_of(const bt_message* message, Plans& plans);
  /// Makes a row of it; false: it is none of ours.
  bool take(const bt_message* message, int64_t stamp, uint32_t trace, Plans& plans);

 private:
  using RunId = std::pair<uint64_t, uint64_t>;
  struct Range {
    uint64_t begin, end;
  };
  /// What runs in a process from one exec to the next.
  struct Image {
    uint32_t number;
    std::unique_ptr<Addresses> addresses;
    RunId run_id{};
    uint64_t order = 0;
    std::vector<Range> modules{};  // of our own events; LTTng's are for where these are missing
  };
  /// As LTTng has them.
  struct Binary {
    uint64_t size, base;
    std::string path;
    std::vector<uint8_t> build_id{};
  };
  /// A number that the system gives to one process after the other.
  struct Process {
    std::vector<Image> images;
    size_t current = 0;
    std::map<uint64_t, Binary> binaries{};  // of the first image, by where they begin
  };
  struct Traced {
    std::string source;
    std::map<uint64_t, Process> processes;
  };

  static uint64_t process_of(const Plan& plan, const bt_event* event);
  Image& image(Process& process, uint32_t trace, uint64_t id);
  Image& image_of(const Plan& plan, const bt_event* event, uint32_t trace);
  void add_module(Image& image, const Plan& plan, const bt_field* payload);
  void take_statedump(const Plan& plan, const bt_event* event, uint32_t trace);
  static void add_binary(Image& image, uint64_t begin, const Binary& binary);

  Tables& tables_;
  Columns& columns_;
  std::map<std::string, uint32_t> names_;
  std::vector<Traced> traces_;
  std::vector<uint64_t> frames_;
  std::vector<uint8_t> bytes_;
};

}  // namespace poireau::native::babeltrace
