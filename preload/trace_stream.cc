#include "preload/trace_stream.h"

#include <algorithm>
#include <atomic>
#include <cerrno>

#include "preload/base/sys.h"
#include "preload/clock.h"
#include "preload/sandbox.h"
#include "preload/trace_files.h"
#include "preload/trace_room.h"

namespace poireau::trace {
namespace {

constexpr size_t kEmpty = sizeof(ctf::PacketHeader);
// A packet is begun before more is taken for it: a process of few samples has one. From its half on there are four
// steps in it, one more than a file of one packet needs for the next to be ready.
constexpr size_t kFirstLook = ctf::kPacket / 2, kNextLook = ctf::kPacket / 8;
constexpr size_t kBatch = 3072;  // with the event that makes it full mostly one write
constexpr uint64_t kTriesPerSecond = 10;

bool silent() noexcept { return sandbox::state() > sandbox::State::inherited; }

Trouble trouble_of(int error) noexcept {
  switch (error) {
    case 0:
      return Trouble::none;
    case ENOENT:
    case ESTALE:
    case ENOTDIR:
    case EACCES:
    case EPERM:
    case EROFS:
    case ELOOP:
      return Trouble::gone;
    default:
      return Trouble::full;
  }
}

void publish_size(char* packet, size_t used) noexcept {
  auto& bits = reinterpret_cast<ctf::PacketHeader*>(packet)->content_bits;
  std::atomic_ref(bits).store(used * 8, std::memory_order_release);
}

}  // namespace

bool Stream::open(const Place& place, const Identity& identity, std::string_view name, const Limits& limits) noexcept {
  if (count_ == 0) {
    place_ = &place;
    identity_ = identity;
    name_ = name;
    limits_ = limits;
    mapped_ = place.mappable;
    oldest_ = 1;
    trouble_ = Trouble::none;
    if (!next_file()) return false;
  }
  if (!mapped_ && (buffer_ = static_cast<char*>(sys::map(ctf::kPacket))) == nullptr) return done(ENOMEM);
  begin_packet(0);
  return true;
}

char* Stream::reserve(size_t size) noexcept {
  if (used_ == 0 || size > ctf::kPacket - kEmpty || (!mapped_ && silent())) return nullptr;
  if (used_ + size > ctf::kPacket && !advance()) [[unlikely]]
    return nullptr;
  return packet() + used_;
}

void Stream::commit(size_t size) noexcept {
  used_ += size;
  if (mapped_)
    publish_size(packet(), used_);
  else if (used_ - written_ >= kBatch && may_try())
    static_cast<void>(write_out());
  if (used_ >= look_at_) [[unlikely]]
    look_ahead();
}

uint32_t Stream::file() const noexcept { return files_[current_].number; }
uint32_t Stream::oldest() const noexcept { return recording_ ? files_[(current_ + 1) % count_].number : oldest_; }
Trouble Stream::trouble() const noexcept { return silent() ? Trouble::sandbox : trouble_; }

bool Stream::remove_oldest() noexcept {
  if (silent() || recording_ || oldest_ >= file()) return false;
  uint64_t size = packets_of(oldest_) * ctf::kPacket;  // of one that somebody else has removed
  const int error = remove(*place_, FileName(name_, oldest_), &size);
  if (error != 0 && error != ENOENT) return false;
  if (files_[0].number == oldest_) drop_first_files(1);
  packets_ -= std::min<uint64_t>(packets_, size / ctf::kPacket);
  ++oldest_;
  return true;
}

void Stream::flush() noexcept {
  if (!mapped_ && !silent()) static_cast<void>(write_out());
}

void Stream::trim() noexcept {
  if (used_ == 0 || silent() || recording_) return;
  if (grown_ != 0) {
    if (remove(*place_, hidden(last_ + 1)) != 0) return;
    give_back(grown_);
    grown_ = 0;
  }
  while (ahead() != 0) {
    if (remove(*place_, FileName(name_, last_)) != 0) return;
    const File file = files_[--count_];
    --last_;
    std::atomic_signal_fence(std::memory_order_seq_cst);
    unmap(file);
    give_back(file.packets);
  }
}

void Stream::limit_packets(uint32_t most) noexcept {
  if (most < limits_.most_packets) trim();
  limits_.most_packets = most;
}

void Stream::prepare_for_sandbox() noexcept {
  flush();
  if (used_ == 0 || !mapped_ || silent() || recording_ || ahead() > 1) return;
  trim();
  drop_first_files(current_);
  while (count_ < kFiles && grow() && add_file()) {
  }
  // What was recorded so far stays; but overwriting in one file only would be to forget all time and again.
  if (!limits_.recorder || ahead() < 2) return;
  drop_first_files(1);
  begin_packet(0);
}

void Stream::forget() noexcept {
  if (!silent()) {
    drop_first_files(count_);
    if (buffer_ != nullptr) sys::unmap(buffer_, ctf::kPacket);
  }
  *this = Stream();
}

FileName Stream::hidden(uint32_t number) const noexcept { return {name_, number, FileName::Seen::hidden}; }

char* Stream::packet() const noexcept { return mapped_ ? files_[current_].base + packet_ * ctf::kPacket : buffer_; }

uint32_t Stream::packets_of(uint32_t number) const noexcept {
  return number > 31 ? limits_.most_packets : std::min(uint32_t{1} << (number - 1), limits_.most_packets);
}

void Stream::begin_packet(uint32_t packet) noexcept {
  packet_ = packet;
  used_ = written_ = kEmpty;
  look_at_ = kFirstLook;
}

[[gnu::noinline]] bool Stream::advance() noexcept {
  if (!mapped_ && written_ != used_ && !(may_try() && write_out())) return false;
  // The file keeps what we forget: resident pages of it would count as the program's.
  const auto forget_packet = [&] {
    if (mapped_ && !silent()) static_cast<void>(sys::advise(packet(), ctf::kPacket, sys::Advice::forget));
  };
  if (packet_ + 1 < files_[current_].packets) {
    forget_packet();
    begin_packet(packet_ + 1);
    return true;
  }
  if (ahead() == 0 && !recording_ && !next_file()) {
    if (!mapped_ || !limits_.recorder || trouble() < Trouble::gone) return false;
    recording_ = true;
  }
  forget_packet();
  if (recording_) {
    current_ = (current_ + 1) % count_;
    overwrite(files_[current_]);
  } else {
    ++current_;
    // A recorder keeps the one before at hand: to have more than one should the directory be lost.
    if (!silent()) drop_first_files(limits_.recorder ? current_ - 1 : current_);
  }
  begin_packet(0);
  return true;
}

bool Stream::maps(uintptr_t address) const noexcept {
  return mapped_ && std::any_of(files_.begin(), files_.begin() + count_, [&](const File& file) {
           return address - reinterpret_cast<uintptr_t>(file.base) < file.packets * ctf::kPacket;
         });
}

void Stream::unmap(const File& file) noexcept {
  if (mapped_) sys::unmap(file.base, file.packets * ctf::kPacket);
}

// A fork child of another thread unmaps what is in the list: nothing must be that is not mapped.
void Stream::drop_first_files(uint32_t count) noexcept {
  const std::array<File, kFiles> before = files_;
  std::copy(files_.begin() + count, files_.begin() + count_, files_.begin());
  count_ -= count;
  current_ -= std::min(current_, count);
  std::atomic_signal_fence(std::memory_order_seq_cst);
  std::for_each_n(before.begin(), count, [&](const File& file) { unmap(file); });
}

// In each file time only goes forward, whenever the process ends: so all of it goes before any of it is used.
void Stream::overwrite(File& file) noexcept {
  file.number = ++last_;
  overwritten_ += file.packets;
  for (uint32_t i = 0; i < file.packets; ++i) publish_size(file.base + i * ctf::kPacket, kEmpty);
  for (uint32_t i = 0; i < file.packets; ++i) {
    auto& header = *reinterpret_cast<ctf::PacketHeader*>(file.base + i * ctf::kPacket);
    header.sequence = sequence_++;
    header.file = file.number;
  }
}

bool Stream::may_try() const noexcept {
  return !silent() &&
         (trouble_ == Trouble::none || clock::ticks() - tried_ >= clock::ticks_per_second() / kTriesPerSecond);
}

bool Stream::done(int error) noexcept {
  trouble_ = trouble_of(error);
  if (error != 0) tried_ = clock::ticks();
  return error == 0;
}

bool Stream::next_file() noexcept { return may_try() && (grown_ != 0 || grow()) && add_file(); }

[[gnu::noinline]] void Stream::look_ahead() noexcept {
  if (ahead() != 0 || recording_ || silent()) {
    look_at_ = SIZE_MAX;
  } else if (may_try() && (grown_ < packets_of(last_ + 1) ? grow() : add_file())) {
    look_at_ += kNextLook;
  }
}

bool Stream::grow() noexcept {
  ctf::PacketHeader header{ctf::kMagic, {}, 0, kEmpty * 8, ctf::kPacket * 8, sequence_, identity_.process, last_ + 1};
  std::copy(std::begin(identity_.uuid), std::end(identity_.uuid), header.uuid);
  const FileName name = hidden(last_ + 1);
  int error = ENOSPC;
  if (make_room(*place_, ctf::kPacket)) error = add_packet(*place_, name, grown_, header, mapped_);
  if (error == EOPNOTSUPP && mapped_ && count_ == 0) {
    mapped_ = false;
    error = add_packet(*place_, name, grown_, header, mapped_);
  }
  if (error != 0) return grown_ != 0 ? add_file() : done(error);  // a shorter one
  ++grown_;
  ++packets_;
  ++sequence_;
  return done(0);
}

bool Stream::add_file() noexcept {
  char* base = nullptr;
  const int error = publish(*place_, hidden(last_ + 1), FileName(name_, last_ + 1), grown_, mapped_ ? &base : nullptr);
  if (error == 0) {
    files_[count_] = {base, ++last_, grown_};
    std::atomic_signal_fence(std::memory_order_seq_cst);
    ++count_;
    grown_ = 0;
  }
  if (error == ENOENT) {  // somebody removed it, if not all
    give_back(grown_);
    grown_ = 0;
  }
  return done(error);
}

// Their numbers too: readers take one that is missing for a packet that was lost.
void Stream::give_back(uint32_t packets) noexcept {
  packets_ -= packets;
  sequence_ -= packets;
}

bool Stream::write_out() noexcept {
  if (written_ == used_) return true;
  const int error = write_events(*place_, FileName(name_, file()), packet_, buffer_, written_, used_);
  if (error == 0) written_ = used_;
  return done(error);
}

}  // namespace poireau::trace
