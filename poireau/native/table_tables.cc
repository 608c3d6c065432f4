#include "poireau/native/table_tables.h"

#include <sys/random.h>

#include <algorithm>
#include <string>

namespace poireau::native {
namespace {

template <typename Item>
std::span<const Item> part(const std::vector<Item>& all, const std::vector<uint64_t>& ends, uint32_t number) {
  const uint64_t begin = number == 0 ? 0 : ends[number - 1];
  return std::span(all).subspan(begin, ends[number] - begin);
}

template <typename Item>
uint32_t add(std::vector<Item>& all, std::vector<uint64_t>& ends, std::span<const Item> items) {
  all.insert(all.end(), items.begin(), items.end());
  ends.push_back(all.size());
  return static_cast<uint32_t>(ends.size() - 1);
}

/// The number of what is equal, or of what `make` adds.
template <typename Same, typename Make>
uint32_t number_of(Index& index, uint64_t hash, Same&& same, Make&& make) {
  const uint32_t found = index.find(hash, [&](const Index::Slot& slot) { return same(slot.number); });
  if (found != kNone) return found;
  const uint32_t made = make();
  index.add(hash, made);
  return made;
}

}  // namespace

uint64_t hash_seed() {
  uint64_t seed = 0;
  static_cast<void>(getrandom(&seed, sizeof seed, GRND_NONBLOCK));
  return seed;
}

Tables::Tables() : seed_(hash_seed()) {
  string({});
  stack({});
  module_path_.push_back(0);
  module_build_id_.push_back(0);
}

uint32_t Tables::string(std::string_view text) {
  return number_of(
      strings_, hash_of(text, seed_), [&](uint32_t number) { return string_at(number) == text; },
      [&] { return add(string_bytes_, string_ends_, std::span(text)); });
}

uint32_t Tables::hexadecimal(std::span<const uint8_t> bytes) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  text.reserve(2 * bytes.size());
  for (const uint8_t byte : bytes) (text += kDigits[byte >> 4]) += kDigits[byte & 15];
  return string(text);
}

uint32_t Tables::module(uint32_t path, uint32_t build_id) {
  const uint32_t what[] = {path, build_id};
  return number_of(
      modules_, hash_of(std::span<const uint32_t>(what), seed_),
      [&](uint32_t number) { return module_path_[number] == path && module_build_id_[number] == build_id; },
      [&] {
        module_path_.push_back(path);
        module_build_id_.push_back(build_id);
        return static_cast<uint32_t>(module_path_.size() - 1);
      });
}

uint32_t Tables::frame(uint32_t module, uint32_t process, uint64_t address) {
  const uint64_t what[] = {uint64_t{process} << 32 | module, address};
  return number_of(
      frames_, hash_of(std::span<const uint64_t>(what), seed_),
      [&](uint32_t number) {
        return frame_address_[number] == address && frame_module_[number] == module &&
               frame_process_[number] == process;
      },
      [&] {
        frame_module_.push_back(module);
        frame_process_.push_back(process);
        frame_address_.push_back(address);
        return static_cast<uint32_t>(frame_address_.size() - 1);
      });
}

uint32_t Tables::stack(std::span<const uint32_t> frames) {
  return number_of(
      stacks_, hash_of(frames, seed_),
      [&](uint32_t number) { return std::ranges::equal(part(stack_frames_, stack_ends_, number), frames); },
      [&] { return add(stack_frames_, stack_ends_, frames); });
}

uint32_t Tables::process(std::string_view source, uint32_t id) {
  process_source_.push_back(string(source));
  process_ids_.push_back(id);
  return processes() - 1;
}

void Tables::lose(uint32_t process, std::string_view cause, uint64_t count) {
  const uint32_t why = string(cause);
  for (size_t at = loss_count_.size(); at-- > 0 && loss_process_[at] == process;)
    if (loss_cause_[at] == why) {
      loss_count_[at] += count;
      return;
    }
  loss_process_.push_back(process);
  loss_cause_.push_back(why);
  loss_count_.push_back(count);
}

void Tables::forget_losses() {
  loss_process_.clear();
  loss_cause_.clear();
  loss_count_.clear();
}

std::string_view Tables::string_at(uint32_t number) const {
  const auto text = part(string_bytes_, string_ends_, number);
  return {text.data(), text.size()};
}

void Tables::show(PoireauTables& out) const {
  out = {.strings = string_ends_.size(),
         .string_ends = string_ends_.data(),
         .string_bytes = string_bytes_.data(),
         .modules = module_path_.size(),
         .module_path = module_path_.data(),
         .module_build_id = module_build_id_.data(),
         .frames = frame_address_.size(),
         .frame_module = frame_module_.data(),
         .frame_process = frame_process_.data(),
         .frame_address = frame_address_.data(),
         .stacks = stack_ends_.size(),
         .stack_ends = stack_ends_.data(),
         .stack_frames = stack_frames_.data(),
         .processes = process_ids_.size(),
         .process_source = process_source_.data(),
         .process_id = process_ids_.data(),
         .losses = loss_count_.size(),
         .loss_process = loss_process_.data(),
         .loss_cause = loss_cause_.data(),
         .loss_count = loss_count_.data()};
}

}  // namespace poireau::native
