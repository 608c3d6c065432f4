#pragma once
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "poireau/native/reader.h"
#include "poireau/native/table_index.h"

/// What columns name by number, see reader.h. It grows with what is distinct, and keeps the numbers it has given.
namespace poireau::native {

class Tables {
 public:
  Tables();
  Tables(const Tables&) = delete;
  Tables& operator=(const Tables&) = delete;

  uint32_t string(std::string_view text);
  /// Bytes are strings of hexadecimal digits.
  uint32_t hexadecimal(std::span<const uint8_t> bytes);
  /// Of strings. Never 0.
  uint32_t module(uint32_t path, uint32_t build_id);
  /// `process`: of an address in no module; otherwise 0.
  uint32_t frame(uint32_t module, uint32_t process, uint64_t address);
  uint32_t stack(std::span<const uint32_t> frames);
  /// A new one, numbered from 0.
  uint32_t process(std::string_view source, uint32_t id);
  void set_process_id(uint32_t process, uint32_t id) { process_ids_[process] = id; }
  /// `process` may be kNone.
  void lose(uint32_t process, std::string_view cause, uint64_t count = 1);
  void forget_losses();

  [[nodiscard]] uint32_t processes() const { return static_cast<uint32_t>(process_ids_.size()); }
  [[nodiscard]] std::string_view string_at(uint32_t number) const;
  /// Views of what is here, good until it grows.
  void show(PoireauTables& out) const;

 private:
  const uint64_t seed_;
  Index strings_, modules_, frames_, stacks_;
  std::vector<uint64_t> string_ends_;
  std::vector<char> string_bytes_;
  std::vector<uint32_t> module_path_, module_build_id_;
  std::vector<uint32_t> frame_module_, frame_process_;
  std::vector<uint64_t> frame_address_;
  std::vector<uint64_t> stack_ends_;
  std::vector<uint32_t> stack_frames_;
  std::vector<uint32_t> process_source_, process_ids_;
  std::vector<uint32_t> loss_process_, loss_cause_;
  std::vector<uint64_t> loss_count_;
};

}  // namespace poireau::native
