#include "preload/stack_row.h"

#include "preload/stack_description.h"

// Runs the programs of .eh_frame for the registers that a row knows. Where libgcc and the text of DWARF's standard
// differ it is libgcc that programs are tried with, so we do as it does.

namespace poireau::stack {
namespace {

enum Register : uint64_t { kRbp = 6, kRsp = 7, kReturnAddress = 16 };

/// Where the caller's content of a register is.
struct Rule {
  enum Kind : uint8_t { unsaved, at_offset, at_expression, undefined, other } kind = unsaved;
  int64_t offset = 0;  // from the caller's stack pointer
  Reader expression;
};

struct State {
  bool by_expression = false;  // the caller's stack pointer; else reg + offset
  uint64_t reg = 0;
  int64_t offset = 0;
  Reader expression;
  Rule rbp, rsp, return_address;

  [[nodiscard]] Rule* rule_of(uint64_t which) noexcept {
    switch (which) {
      case kRbp:
        return &rbp;
      case kRsp:
        return &rsp;
      case kReturnAddress:
        return &return_address;
      default:
        return nullptr;
    }
  }
};

class Machine {
 public:
  explicit Machine(const Description& description) noexcept : of_(description) {}

  State state;

  /// Runs a program up to `pc`, beginning at `location`; false: it has something that we don't know.
  bool run(Reader program, uintptr_t location, uintptr_t pc) noexcept {
    while (!program.done()) {
      uint64_t advance = 0;
      if (!step(program, advance)) return false;
      location += advance * of_.code_unit;
      if (location > pc) break;
    }
    return true;
  }

 private:
  void set(uint64_t which, Rule rule) noexcept {
    if (Rule* const to = state.rule_of(which); to != nullptr) *to = rule;
  }
  void set_offset(uint64_t which, int64_t units) noexcept { set(which, {Rule::at_offset, units * of_.data_unit, {}}); }
  /// libgcc takes it for unsaved, whatever the common program says.
  bool restore(uint64_t which) noexcept {
    set(which, {});
    return which != kRsp && which != kReturnAddress;
  }
  void set_base(uint64_t which, int64_t offset) noexcept {
    state.reg = which;
    state.offset = offset;
    state.by_expression = false;
  }

  bool step(Reader& program, uint64_t& advance) noexcept {
    const uint8_t op = program.byte(), operand = op & 0x3f;
    switch (op >> 6) {
      case 1:
        advance = operand;
        return true;
      case 2:
        set_offset(operand, static_cast<int64_t>(program.number()));
        return true;
      case 3:
        return restore(operand);
      default:
        return step_extended(operand, program, advance);
    }
  }

  bool step_extended(uint8_t op, Reader& program, uint64_t& advance) noexcept {
    const auto number = [&] { return program.number(); };
    const auto offset = [&] { return static_cast<int64_t>(program.number()); };
    uint64_t which;
    switch (op) {
      case 0x00:  // nop
        return true;
      case 0x02:  // advance_loc1, 2, 4
      case 0x03:
      case 0x04:
        advance = program.fixed(size_t{1} << (op - 2));
        return true;
      case 0x05:  // offset_extended
        which = number();
        set_offset(which, offset());
        return true;
      case 0x06:  // restore_extended
        return restore(number());
      case 0x07:  // undefined
        set(number(), {Rule::undefined, 0, {}});
        return true;
      case 0x08:  // same_value
        set(number(), {});
        return true;
      case 0x09:  // register
      case 0x14:  // val_offset
      case 0x15:  // val_offset_sf
        set(number(), {Rule::other, 0, {}});
        number();
        return true;
      case 0x0a:  // remember_state
        if (remembered_ == sizeof memory_ / sizeof *memory_) return false;
        memory_[remembered_++] = state;
        return true;
      case 0x0b:  // restore_state
        if (remembered_ == 0) return false;
        state = memory_[--remembered_];
        return true;
      case 0x0c:  // def_cfa
        which = number();
        set_base(which, offset());
        return true;
      case 0x0d:  // def_cfa_register
        set_base(number(), state.offset);
        return true;
      case 0x0e:  // def_cfa_offset; an expression stays one
        state.offset = offset();
        return true;
      case 0x0f:  // def_cfa_expression
        state.by_expression = true;
        state.expression = program.part(number());
        return true;
      case 0x10:  // expression
        which = number();
        set(which, {Rule::at_expression, 0, program.part(number())});
        return true;
      case 0x11:  // offset_extended_sf
        which = number();
        set_offset(which, program.signed_number());
        return true;
      case 0x12:  // def_cfa_sf
        which = number();
        set_base(which, program.signed_number() * of_.data_unit);
        return true;
      case 0x13:  // def_cfa_offset_sf
        state.offset = program.signed_number() * of_.data_unit;
        return true;
      case 0x16:  // val_expression
        set(number(), {Rule::other, 0, {}});
        program.skip(number());
        return true;
      case 0x2e:  // GNU_args_size
        number();
        return true;
      case 0x2f:  // GNU_negative_offset_extended
        which = number();
        set_offset(which, -offset());
        return true;
      default:
        return false;
    }
  }

  const Description& of_;
  State memory_[3];
  size_t remembered_ = 0;
};

/// What an expression comes to: `base`'s content, or 0 (constant), plus `offset`; or what lies there in memory.
struct Value {
  enum Base : uint8_t { constant, rsp, rbp } base = constant;
  int64_t offset = 0;
  bool in_memory = false;
};

/// Works an expression out as far as can be done without a frame; false: it takes more than a Value can hold.
bool evaluate(Reader expression, uintptr_t pc, Value& result) noexcept {
  Value stack[8];
  size_t depth = 0;
  const auto push = [&](Value value) {
    if (depth == 8) return false;
    stack[depth++] = value;
    return true;
  };
  const auto push_number = [&](uint64_t number) { return push({Value::constant, static_cast<int64_t>(number)}); };
  while (!expression.done()) {
    const uint8_t op = expression.byte();
    bool known = true;
    if (op >= 0x30 && op <= 0x4f) {  // lit
      known = push_number(op - 0x30u);
    } else if (op >= 0x70 && op <= 0x8f) {  // breg
      const uint64_t which = op - 0x70u;
      const int64_t offset = expression.signed_number();
      if (which == kReturnAddress)
        known = push_number(pc + static_cast<uint64_t>(offset));
      else
        known = (which == kRsp || which == kRbp) && push({which == kRsp ? Value::rsp : Value::rbp, offset});
    } else if (op == 0x08 || op == 0x09) {  // const1
      const uint8_t byte = expression.byte();
      known = push_number(op == 0x08 ? byte : static_cast<uint64_t>(int64_t{static_cast<int8_t>(byte)}));
    } else if (op == 0x10) {  // constu
      known = push_number(expression.number());
    } else if (op == 0x11) {  // consts
      known = push_number(static_cast<uint64_t>(expression.signed_number()));
    } else if (op == 0x23) {  // plus_uconst
      const uint64_t more = expression.number();
      known = depth > 0;
      if (known) stack[depth - 1].offset += static_cast<int64_t>(more);
    } else if (op == 0x06) {  // deref
      known = depth == 1 && stack[0].base != Value::constant && expression.done();
      if (known) stack[0].in_memory = true;
    } else {
      if (depth < 2) return false;
      const Value right = stack[--depth];
      Value& left = stack[depth - 1];
      if (op == 0x22) {  // plus
        known = left.base == Value::constant || right.base == Value::constant;
        left = {left.base == Value::constant ? right.base : left.base, left.offset + right.offset};
      } else {
        known = left.base == Value::constant && right.base == Value::constant;
        const auto bits = static_cast<uint64_t>(left.offset);
        if (op == 0x1a)  // and
          left.offset &= right.offset;
        else if (op == 0x1c)  // minus
          left.offset -= right.offset;
        else if (op == 0x24)  // shl
          left.offset = static_cast<int64_t>(bits << (right.offset & 63));
        else if (op == 0x2a)  // ge
          left.offset = left.offset >= right.offset;
        else
          return false;
      }
    }
    if (!known) return false;
  }
  result = stack[0];
  return depth == 1;
}

/// Whether `rule` has the content lie at `base` + `offset`.
bool lies_at(const Rule& rule, uintptr_t pc, Value::Base base, int64_t offset) noexcept {
  Value value;
  return rule.kind == Rule::at_expression && evaluate(rule.expression, pc, value) && !value.in_memory &&
         value.base == base && value.offset == offset;
}

constexpr Row kBeyond = Row::make(Row::beyond);

/// Whether this is the frame of <asm/sigcontext.h>, the only one that walks know.
bool is_signal_frame(const State& state, uintptr_t pc) noexcept {
  Value stack_pointer;
  return state.by_expression && evaluate(state.expression, pc, stack_pointer) && stack_pointer.in_memory &&
         stack_pointer.base == Value::rsp && stack_pointer.offset == SignalFrame::kRsp &&
         lies_at(state.return_address, pc, Value::rsp, SignalFrame::kRip) &&
         lies_at(state.rbp, pc, Value::rsp, SignalFrame::kRbp);
}

Row row_of_realigned(const State& state, uintptr_t pc, int64_t offset) noexcept {
  if (!lies_at(state.rbp, pc, Value::rbp, 0)) return kBeyond;
  const auto below = static_cast<uint64_t>(-offset);
  return offset <= 0 && below % 8 == 0 && below <= Row::kMostOffset ? Row::make(Row::realigned, below) : kBeyond;
}

Row row_of(const State& state, bool is_signals, uintptr_t pc) noexcept {
  if (is_signals) return is_signal_frame(state, pc) ? Row::make(Row::signal) : kBeyond;
  if (state.return_address.kind == Rule::undefined) return Row::make(Row::end);
  if (state.return_address.kind != Rule::at_offset || state.return_address.offset != -8) return kBeyond;
  if (state.rsp.kind != Rule::unsaved) return kBeyond;

  Value base;
  if (state.by_expression) {
    if (!evaluate(state.expression, pc, base)) return kBeyond;
    if (base.in_memory) return base.base == Value::rbp ? row_of_realigned(state, pc, base.offset) : kBeyond;
  } else {
    base.base = state.reg == kRsp ? Value::rsp : state.reg == kRbp ? Value::rbp : Value::constant;
    base.offset = state.offset;
  }
  if (base.base == Value::constant || base.offset < 8 || base.offset % 8 != 0) return kBeyond;
  const auto offset = static_cast<uint64_t>(base.offset);
  uint64_t saved = Row::kUnchanged;
  if (state.rbp.kind == Rule::at_offset) {
    saved = static_cast<uint64_t>(-state.rbp.offset);
    if (state.rbp.offset > -16 || saved % 8 != 0) return kBeyond;
  } else if (state.rbp.kind != Rule::unsaved && state.rbp.kind != Rule::undefined) {
    return kBeyond;
  }
  if (offset > Row::kMostOffset || saved > Row::kMostSaved) return kBeyond;
  return Row::make(base.base == Value::rsp ? Row::rsp : Row::rbp, offset, saved);
}

}  // namespace

Row row_at(uintptr_t pc) noexcept {
  Description description;
  switch (describe(pc, description)) {
    case Described::yes:
      break;
    case Described::no:
      return Row::make(Row::end);
    case Described::no_file:
      return Row::make(Row::stray);
    case Described::unknown:
      return kBeyond;
  }
  if (description.return_address != kReturnAddress) return kBeyond;
  Machine machine(description);
  if (!machine.run(description.common, 0, UINTPTR_MAX) || !machine.run(description.own, description.begin, pc))
    return kBeyond;
  return row_of(machine.state, description.is_signals, pc);
}

}  // namespace poireau::stack
