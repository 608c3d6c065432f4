#pragma once
#include <cstdint>
#include <memory>

#include "poireau/native/decode_files.h"
#include "poireau/native/decode_packet.h"
#include "poireau/native/decode_stream.h"

/// The events of one process: its facts and its samples, in the order of their time stamps.
namespace poireau::native {

class Process {
 public:
  /// nullptr: the directory is no trace of ours.
  static std::unique_ptr<Process> open(Tables& tables, uint32_t number, std::unique_ptr<Directory> directory);

  [[nodiscard]] static uint64_t bytes_in(Directory& directory);

  /// Adds rows until there are `most` events. False: there are no more, now.
  [[nodiscard]] bool read(Columns& columns, uint64_t most);
  /// Holds no descriptor and no buffer until it is read again.
  void rest();
  [[nodiscard]] uint64_t done() const { return facts_.done() + samples_.done(); }

 private:
  Process(Tables& tables, uint32_t number, std::unique_ptr<Directory> directory, int64_t clock_offset);
  void decode(Stream& stream, Columns& columns);

  const std::unique_ptr<Directory> directory_;
  Stream facts_, samples_;
  Decoder decoder_;
  // There were none when they were asked for, after what is at hand of the other stream was written: so what comes yet
  // is younger than that.
  bool no_facts_ = false, no_samples_ = false;
};

}  // namespace poireau::native
