import { describe, expect, it } from 'vitest';
import type { Band, Streams } from '../src/picture';
import { identity, isOthers, nameOf, placeOf, told } from '../src/stream_words';

const MiB = 1024 ** 2;
const band = (more: Partial<Band>): Band => ({
  name: 'f(int) a.cc:1',
  function: 'ns::f(int)',
  file: '/src/a.cc',
  line: 1,
  module: '/usr/bin/server',
  colour: 4,
  node: 2,
  bytes: { value: [10 * MiB], low: [8 * MiB], high: [12 * MiB], samples: [20] },
  ...more,
});
const streams = (bands: Band[]): Streams => ({
  schema: 'poireau.streams',
  version: 1,
  title: 'p',
  lines: [],
  times: [Date.UTC(2026, 0, 1)],
  total: { value: [40 * MiB], low: [36 * MiB], high: [44 * MiB], samples: [1] },
  by: [{ key: 'line', name: 'line', bands, others: 0 }],
  wiggle: true,
  picture: null,
});

describe('what is told of a band', () => {
  it('is its name, its place, its bytes with interval and samples, its share, and all', () => {
    const [name, place, bytes, all] = told(streams([band({})]), band({}), 0);
    expect([name, place]).toEqual(['ns::f', 'a.cc:1, server']);
    expect(bytes).toBe('10.0MiB ± 2.0MiB, 20 samples, 25.0 % of all');
    expect(all).toMatch(/^\d\d:\d\d:\d\d · all: 40\.0MiB ± 4\.0MiB, 1 sample$/);
  });

  it('is the total where there is no band', () => {
    expect(told(streams([]), null, 0)[1]).toBe('all: 40.0MiB ± 4.0MiB, 1 sample');
  });

  it('cannot turn what is beside it around, nor be endless', () => {
    expect(nameOf(band({ function: '', name: '\u202eevil\n' }))).toBe('\\u202eevil\\n');
    expect(nameOf(band({ function: 'x'.repeat(10_000) })).length).toBeLessThan(200);
  });
});

it('tells a function from all others', () => {
  expect(isOthers(band({ function: '', colour: -1, name: 'other (3)' }))).toBe(true);
  expect(isOthers(band({}))).toBe(false);
  expect(placeOf(band({ function: '' }))).toBe('');
});

it('knows a band again whose bytes have changed', () => {
  expect(identity(band({}))).toBe(identity(band({ bytes: { value: [], low: [], high: [], samples: [] } })));
  expect(identity(band({}))).not.toBe(identity(band({ line: 2 })));
});
