import { describe, expect, it } from 'vitest';
import {
  asWritten,
  between,
  byteSeconds,
  duration,
  number,
  place,
  plain,
  qualified,
  share,
  shortened,
  size,
  whole,
} from '../src/format';

const MIB = 2 ** 20;

describe('sizes', () => {
  it('have three digits and an IEC unit, as the Python side prints them', () => {
    const said: [number, string][] = [
      [0, '0B'],
      [1, '1B'],
      [1023, '1023B'],
      [1024, '1.00KiB'],
      [4.514 * MIB, '4.51MiB'],
      [45.14 * MIB, '45.1MiB'],
      [451.4 * MIB, '451MiB'],
      [1000 * MIB, '0.98GiB'],
      [-1536, '-1.50KiB'],
      [3 * 2 ** 40, '3.00TiB'],
      [2 ** 60, '1048576TiB'],
    ];
    for (const [value, text] of said) expect(size(value), String(value)).toBe(text);
  });

  it('can be in the unit of another', () => {
    expect(size(0.3 * MIB, 4.5 * MIB)).toBe('0.30MiB');
    expect(size(12, 4.5 * MIB)).toBe('12B');
    expect(byteSeconds(2048)).toBe('2.00KiB·s');
  });
});

it('numbers are whole below ten thousand, and have three digits above', () => {
  for (const [value, text] of [
    [0, '0'],
    [1.5, '1.5'],
    [2, '2'],
    [12.5, '12'],
    [13.5, '14'],
    [9999, '9,999'],
    [12_345, '12.3k'],
    [4.56e6, '4.56M'],
  ] as const)
    expect(number(value)).toBe(text);
});

describe('intervals', () => {
  it('are even, uneven, of nothing, or exact', () => {
    expect(between(4.5 * MIB, 4.2 * MIB, 4.8 * MIB)).toBe('± 0.30MiB');
    expect(between(3 * MIB, 1.2 * MIB, 7.81 * MIB)).toBe('1.20 to 7.81MiB');
    expect(between(0, 0, 1.5 * MIB)).toBe('< 1.50MiB');
    expect(between(5, 5, 5)).toBe('');
    expect(whole(3 * MIB, 1.2 * MIB, 7.81 * MIB)).toBe('3.00MiB (1.20 to 7.81MiB)');
    expect(whole(0, 0, 1.5 * MIB)).toBe('< 1.50MiB');
  });
});

it('shares, places and durations are short', () => {
  expect(share(1, 3)).toBe('33.3 %');
  expect(share(1, 0)).toBe('');
  expect(place('/src/config.cc', 123)).toBe('config.cc:123');
  expect(place('', 5)).toBe('');
  expect([0.5, 12, 3800, 90_000, 7_200_000].map(duration)).toEqual(['0.5 ms', '12 ms', '3.8 s', '90 s', '2 h']);
});

describe('names', () => {
  it('spell out what cannot be seen, or turns text around', () => {
    expect(plain('a\x1b[31m\u202eb\n\u2028\x00')).toBe('a\\x1b[31m\\u202eb\\n\\u2028\\x00');
    expect(plain('naïve 名前 שלום <b>')).toBe('naïve 名前 שלום <b>');
    expect(plain('\ud800')).toBe('\\ud800');
  });

  it('of C++ are as people write them', () => {
    const string = 'std::__cxx11::basic_string<char, std::char_traits<char>, std::allocator<char> >';
    expect(asWritten(`f(${string} const&)`)).toBe('f(std::string const&)');
    expect(asWritten(`std::vector<${string}, std::allocator<${string} > >::push_back`)).toBe(
      'std::vector<std::string>::push_back',
    );
  });

  it('lose arguments, templates and what they return', () => {
    const said: [string, string][] = [
      ['ns::Class<int, A<B> >::run(std::function<void (int)>) const', 'ns::Class::run'],
      ['void ns::f<int>(int) [clone .cold]', 'ns::f'],
      ['ns::operator<<(std::ostream&, X)', 'ns::operator<<'],
      ['A::operator()(int) const', 'A::operator()'],
      ['(anonymous namespace)::g(int)', '(anonymous namespace)::g'],
      ['A::operator bool() const', 'A::operator bool'],
      ['main', 'main'],
    ];
    for (const [name, short] of said) expect(qualified(name)).toBe(short);
  });

  it('of ten thousand characters are cut where there is no room, and soon', () => {
    const long = `f<${'std::vector<int, '.repeat(600)}`;
    expect(shortened(asWritten(qualified(long))).length).toBeLessThan(310);
  });
});
