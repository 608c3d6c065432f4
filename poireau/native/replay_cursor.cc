#include "poireau/native/replay_cursor.h"

namespace poireau::replay {

bool Cursor::advance() noexcept {
  while (decoder.empty()) {
    if (block == Calls::kNone) return false;
    if (!the.calls->read(block, room, decoder)) fail("the file of calls has changed");
    block = the.calls->next_block(block);
    if (the.wishes.most_memory != 0 && resident("VmRSS:") > the.wishes.most_memory)
      fail("more memory is needed than it may take (--max-memory)");
  }
  if (!decoder.next(the.calls->functions(), call)) fail("the file of calls has changed");
  return true;
}

Cursors::Cursors(uint32_t first, uint32_t step) noexcept
    : next_(first), step_(step), count_(static_cast<uint32_t>(the.calls->threads().size())) {
  const size_t most = next_ < count_ ? (count_ - next_ - 1) / step_ + 1 : 0;
  open_ = most > 1 ? static_cast<Cursor**>(need(most * sizeof(Cursor*))) : &only_;
}

Cursor* Cursors::earliest() noexcept {
  if (size_ != 0) sink();
  while (next_ < count_ && (size_ == 0 || the.calls->threads()[next_].first <= open_[0]->call.number)) {
    Cursor* const fresh = cursor_of(next_);
    next_ += step_;
    if (!fresh->advance()) fail("the file of calls has changed");
    size_t at = size_++;
    for (; at != 0 && fresh->call.number < open_[(at - 1) / 2]->call.number; at = (at - 1) / 2)
      open_[at] = open_[(at - 1) / 2];
    open_[at] = fresh;
  }
  return size_ == 0 ? nullptr : open_[0];
}
/// The top has changed.
void Cursors::sink() noexcept {
  Cursor* const top = open_[0];
  size_t at = 0;
  for (size_t child; (child = 2 * at + 1) < size_; at = child) {
    if (child + 1 < size_ && open_[child + 1]->call.number < open_[child]->call.number) ++child;
    if (top->call.number <= open_[child]->call.number) break;
    open_[at] = open_[child];
  }
  open_[at] = top;
}
void Cursors::close() noexcept {
  Cursor* const done = open_[0];
  the.made[done->thread] = done->made;
  open_[0] = open_[--size_];
  done->next = free_;
  free_ = done;
}
Cursor* Cursors::cursor_of(uint32_t thread) noexcept {
  if (free_ == nullptr) {
    free_ = static_cast<Cursor*>(need(sizeof(Cursor) + kMostBlock));
    free_->room = reinterpret_cast<unsigned char*>(free_ + 1);
    free_->next = nullptr;
  }
  Cursor* const cursor = free_;
  free_ = cursor->next;
  cursor->thread = thread;
  cursor->block = the.calls->first_block(thread);
  cursor->decoder = Decoder();
  cursor->made = 0;
  return cursor;
}

}  // namespace poireau::replay
