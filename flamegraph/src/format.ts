/** Figures, times and other people's names as people read them: what poireau/text.py and report/words.py print. */

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
const EVEN = 0.15; // ends of an interval that differ by less are as good as the same
const LONGEST = 4096; // characters of a name that is looked at

export type Form = (value: number, like?: number) => string;

/** 512KiB, 4.51MiB. `like`: what says the unit and the digits; a size that would be nothing in them has its own. */
export function size(value: number, like = value): string {
  like = Math.abs(like);
  const sign = value < 0 ? '-' : '';
  let unit = 0;
  while (unit < UNITS.length - 1 && like >= (unit === 0 ? 1024 : 1000)) {
    like /= 1024;
    unit += 1;
  }
  if (unit === 0 || like === 0) return sign + asSize(Math.abs(value));
  const text = fixed(value / 1024 ** unit, like >= 100 ? 0 : like >= 10 ? 1 : 2);
  if (value && !Number(text)) return sign + asSize(Math.abs(value));
  return text + UNITS[unit];
}

export const byteSeconds: Form = (value, like = value) => `${size(value, like)}·s`;

/** To the one below ten thousand, else three digits: 12.3k, 4.56M. */
export function number(value: number, like = value): string {
  like = Math.abs(like);
  if (like < 10_000) return like >= 10 ? grouped(fixed(value, 0)) : fixed(value, 1).replace(/\.0$/, '');
  let unit = '';
  for (unit of ['k', 'M', 'G', 'T']) {
    like /= 1000;
    value /= 1000;
    if (like < 1000) break;
  }
  return fixed(value, like >= 100 ? 0 : like >= 10 ? 1 : 2) + unit;
}

/** `± 0.30MiB`, `1.20 to 7.81MiB`, `< 1.50MiB` of nothing; empty: the figure is exact, as far as it is written. */
export function between(value: number, low: number, high: number, form: Form = size): string {
  if (low === high) return '';
  if (value === 0 && low === 0) return `< ${form(high)}`;
  if (Math.abs(high - value - (value - low)) <= EVEN * (high - low))
    return `± ${form(Math.max(high - value, value - low), value)}`;
  const first = form(low, value);
  const last = form(high, value);
  if (first === last) return '';
  const unit = last.replace(/^[+\-0-9,.]+/, '');
  return `${unit && first.endsWith(unit) ? first.slice(0, -unit.length) : first} to ${last}`;
}

/** `4.51MiB ± 0.30MiB`. */
export function whole(value: number, low: number, high: number, form: Form = size): string {
  const within = between(value, low, high, form);
  if (within.startsWith('<')) return within;
  return within ? `${form(value)} ${within.startsWith('±') ? within : `(${within})`}` : form(value);
}

export const share = (part: number, all: number): string => (all ? `${fixed((100 * part) / all, 1)} %` : '');

export const counted = (count: number, what: string): string =>
  `${grouped(String(count))} ${what}${count === 1 ? '' : 's'}`;

/** config.cc:123. */
export function place(file: string, line: number): string {
  const name = plain(file.slice(file.lastIndexOf('/') + 1));
  return name && line ? `${name}:${line}` : name;
}

/** Of milliseconds: the time of day here; `long`: with the date. */
export function clock(moment: number, long = false): string {
  const date = new Date(moment);
  if (Number.isNaN(date.getTime())) return `@${Math.floor(moment / 1000)}`;
  const two = (part: number): string => String(part).padStart(2, '0');
  const time = [date.getHours(), date.getMinutes(), date.getSeconds()].map(two).join(':');
  return long ? `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())} ${time}` : time;
}

/** Of milliseconds, to two digits however short: 3.8 s, 12 ms, 2 h. */
export function duration(milliseconds: number): string {
  const seconds = milliseconds / 1000;
  if (seconds < 0.995) return `${fixed(milliseconds, milliseconds < 9.95 ? 1 : 0).replace(/\.0$/, '')} ms`;
  if (seconds < 9.95) return `${fixed(seconds, 1).replace(/\.0$/, '')} s`;
  for (const [limit, unit, length] of [
    [120, 's', 1],
    [7200, 'min', 60],
    [172_800, 'h', 3600],
  ] as const)
    if (seconds < limit) return `${fixed(seconds / length, 0)} ${unit}`;
  return `${fixed(seconds / 86_400, 0)} days`;
}

/** What cannot be seen, or turns what is beside it around, is spelled out: \x1b, \u202e. */
export function plain(text: string): string {
  return text.replace(HIDDEN, (found) => {
    const code = found.codePointAt(0)!;
    if (found === '\n') return '\\n';
    if (found === '\r') return '\\r';
    if (found === '\t') return '\\t';
    const digits = code.toString(16);
    if (code < 0x100) return `\\x${digits.padStart(2, '0')}`;
    return code < 0x10000 ? `\\u${digits.padStart(4, '0')}` : `\\U${digits.padStart(8, '0')}`;
  });
}

const HIDDEN = /[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Cn}\p{Zl}\p{Zp}]|(?! )\p{Zs}/gu;
const INLINE = 'std::(?:__cxx11::|__1::)?'; // the standard library's own version of itself
const OF_CHAR = new RegExp(
  `${INLINE}basic_(\\w+)<char(?:, ${INLINE}char_traits<char>)?(?:, ${INLINE}allocator<char>)? ?>`,
  'g',
);
const ALLOCATOR = new RegExp(`, ${INLINE}allocator<(?:[^<>]|<[^<>]*>)*> ?(?=>)`, 'g');
const DECORATED = /[<( ]/;
const OPERATOR = /\(anonymous namespace\)|\boperator ?(?:\(\)|<=>|<<=?|>>=?|[<>]=?|->\*?|(?=\w))/g;
const INNERMOST = /<[^<>()]*>|\([^<>()]*\)/g;
const QUALIFIERS = /(?: (?:const|volatile|&&?|noexcept|\[clone [^\]]*\])| +)*$/;
const KEPT = '<>() '; // in names of operators; \x01 to \x05 in the meantime

/** std::string and std::vector<int>, rather than what these stand for. */
export function asWritten(name: string): string {
  if (!name.includes('std::') || name.length > LONGEST) return plain(name);
  name = name.replace(OF_CHAR, 'std::$1');
  for (let shorter = name.replace(ALLOCATOR, ''); shorter !== name; shorter = name.replace(ALLOCATOR, ''))
    name = shorter;
  return plain(name);
}

/** ns::Class::function: without the arguments, what templates were made of, and what it returns. */
export function qualified(name: string): string {
  if (!DECORATED.test(name) || name.length > LONGEST) return name;
  let bare = name.replace(OPERATOR, (each) =>
    each.replace(/[<>() ]/g, (c) => String.fromCharCode(1 + KEPT.indexOf(c))),
  );
  for (let shorter = bare.replace(INNERMOST, ''); shorter !== bare; shorter = bare.replace(INNERMOST, ''))
    bare = shorter;
  const last = bare.replace(QUALIFIERS, '').split(' ').pop() ?? '';
  return last.replace(/[\x01-\x05]/g, (c) => KEPT[c.charCodeAt(0) - 1]!) || name;
}

/** Without its middle, for lines that cannot be as long as a name can. */
export function shortened(name: string, longest = 300): string {
  return name.length <= longest ? name : `${name.slice(0, longest / 2)}…${name.slice(-longest / 2)}`;
}

/** Where two are as near, the even one, as Python has it. */
export function fixed(value: number, digits: number): string {
  const scaled = Math.abs(value) * 10 ** digits;
  const down = Math.floor(scaled);
  if (scaled - down === 0.5 && down % 2 === 0) return ((Math.sign(value) * down) / 10 ** digits).toFixed(digits);
  return value.toFixed(digits);
}

const grouped = (digits: string): string => digits.replace(/\B(?=(\d{3})+$)/g, ',');

/** Three digits at most, and none that say nothing: 512KiB. */
export function asSize(value: number): string {
  if (value < 1024) return `${fixed(value, 0)}B`;
  let unit = 'B';
  for (unit of UNITS.slice(1)) {
    value /= 1024;
    if (value < 1000) break;
  }
  return fixed(value, value >= 100 || value === Math.trunc(value) ? 0 : value >= 10 ? 1 : 2) + unit;
}
