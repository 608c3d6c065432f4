import { describe, expect, it } from 'vitest';
import { LiveHistory } from '../src/live_history';
import type { LiveBand, Point } from '../src/live_types';

const BY = { key: 'line', name: 'line' };
const NONE: Point = [0, 0, 0, 0];

const band = (key: string): LiveBand => ({ key, name: key, function: key, file: 'a.cc', line: 1, module: 'm', colour: 3 });
const bytes = (value: number): Point => [value, value * 0.9, value * 1.2, 10];
const all = (history: LiveHistory, shown = 99, since = -Infinity) => history.streams('p', BY, shown, since);

function begun(...keys: string[]): LiveHistory {
  const history = new LiveHistory();
  history.bands({ id: '1-2', by: 'line', bands: keys.map(band), reset: true });
  return history;
}

function run(history: LiveHistory, points: number, value: (at: number) => Record<string, Point> = () => ({}), from = 1e12): void {
  for (let at = 0; at < points; ++at)
    history.add({ t: from + at * 500, total: bytes(1000), values: value(at), other: NONE }, 1000 + at * 500);
}

describe('what is kept', () => {
  it('is what was told, and what has not changed since', () => {
    const history = begun('a', 'b');
    run(history, 3, (at) => (at === 0 ? { a: bytes(5), b: bytes(7) } : at === 2 ? { a: bytes(6) } : {}));
    const [{ bands }] = all(history).by;
    expect(bands.map(({ name, bytes: { value } }) => [name, value])).toEqual([['a', [5, 5, 6]], ['b', [7, 7, 7]]]);
    expect(bands[0].bytes).toMatchObject({ low: [4.5, 4.5, 5.4], high: [6, 6, 7.199999999999999], samples: [10, 10, 10] });
  });

  it('is of bands that are called like what every object has, too', () => {
    const names = ['constructor', '__proto__', 'toString'];
    const history = begun(...names);
    const told = JSON.parse('{"__proto__": [5, 5, 5, 1], "constructor": [6, 6, 6, 1]}') as Record<string, Point>;
    run(history, 2, (at) => (at === 0 ? told : {}));
    const [{ bands }] = all(history).by;
    expect(bands.map(({ name, bytes: { value } }) => [name, value])).toEqual([['constructor', [6, 6]], ['__proto__', [5, 5]]]);
  });

  it('ends where it is asked to', () => {
    const history = begun('a');
    run(history, 10, (at) => ({ a: bytes(at + 1) }));
    const { times, total, by } = history.streams('p', BY, 9, 1e12 + 500, 1e12 + 1500);
    expect([times.length, total.value.length, by[0].bands[0].bytes.value]).toEqual([3, 3, [2, 3, 4]]);
  });

  it('begins with the history', () => {
    const history = begun('a');
    const four = [1, 2, 3, 4];
    history.fill({ times: four, total: { value: four, low: four, high: four, samples: four }, values: { a: [null, bytes(1), bytes(2), null], '': four.map(() => bytes(9)) } });
    const streams = all(history);
    expect(streams.times).toEqual(four);
    expect(streams.total.value).toEqual(four);
    expect(streams.by[0].bands.map(({ name, bytes: { value } }) => [name, value])).toEqual([['other', [9, 9, 9, 9]], ['a', [0, 1, 2, 0]]]);
  });

  it('is bounded, however long it goes on: the older, the coarser, and the newest in full', () => {
    const history = begun('a');
    run(history, 200_000, (at) => ({ a: bytes(at + 1) }));
    const { times, by, total } = all(history);
    expect(times.length).toBeLessThanOrEqual(960);
    expect(times.length).toBeGreaterThan(480);
    expect(times.slice(1).every((time, at) => time > times[at])).toBe(true);
    expect(times.slice(-400).every((time, at) => time === 1e12 + (200_000 - 400 + at) * 500)).toBe(true);
    expect(times[0]).toBe(1e12);
    // Each value is still that of its time.
    expect(times.every((time, at) => by[0].bands[0].bytes.value[at] === (time - 1e12) / 500 + 1)).toBe(true);
    expect(total.value.every((value) => value === 1000)).toBe(true);
  });

  it('forgets bands that are gone, be there ever so many', () => {
    const history = new LiveHistory();
    for (let round = 0; round < 1200; ++round) {
      history.bands({ id: '1-2', by: 'line', bands: [band(`k${round}`), band(`z${round}`)], reset: round === 0 });
      history.add({ t: 1e12 + round * 500, total: bytes(1), values: { [`k${round}`]: bytes(round + 1) }, other: NONE }, round * 500);
    }
    expect(history.known).toBeLessThanOrEqual(1026);
  });

  it('says nothing of a band once it is not told of any more', () => {
    const history = begun('a', 'b');
    run(history, 2, () => ({ a: bytes(5), b: bytes(7) }));
    history.bands({ id: '1-2', by: 'line', bands: [band('b')], reset: false });
    history.add({ t: 1e12 + 1000, total: bytes(7), values: {}, other: bytes(5) }, 2000);
    const found = all(history).by[0].bands.map(({ name, bytes: { value } }) => [name, value]);
    expect(found).toEqual([['other', [0, 0, 5]], ['a', [5, 5, 0]], ['b', [7, 7, 7]]]);
  });
});

describe('what is shown', () => {
  it('is the largest, in the order in which they came, above all others; and nothing is lost', () => {
    const history = begun('a', 'b', 'c', 'd');
    run(history, 5, () => ({ a: bytes(1), b: bytes(30), c: bytes(2), d: bytes(40) }));
    const [{ bands, others }] = all(history, 2).by;
    expect(bands.map(({ name }) => name)).toEqual(['other', 'b', 'd']);
    expect(others).toBe(2);
    expect(bands[0].bytes.value).toEqual([3, 3, 3, 3, 3]);
    expect(bands[0].bytes.samples[0]).toBe(20);
    const { low, high } = bands[0].bytes;
    expect(low[0]).toBeCloseTo(3 - Math.hypot(0.1, 0.2), 9); // independent of each other
    expect(high[0]).toBeCloseTo(3 + Math.hypot(0.2, 0.4), 9);
  });

  it('is from a time on', () => {
    const history = begun('a');
    run(history, 10, () => ({ a: bytes(1) }));
    expect(all(history, 9, 1e12 + 2500).times).toHaveLength(5);
    expect(all(history, 9, 2e12).times).toEqual([]);
  });

  it('is nothing of nothing', () => {
    expect(all(new LiveHistory())).toMatchObject({ times: [], by: [{ bands: [] }] });
  });
});

describe('a clock that is set', () => {
  it.each([-3_600_000, -600, 3_600_000])('by %d ms leaves times in order, and distances as they were', (step) => {
    const history = begun('a');
    run(history, 10, (at) => ({ a: bytes(at + 1) }));
    for (let at = 10; at < 20; ++at)
      history.add({ t: 1e12 + at * 500 + step, total: bytes(1), values: { a: bytes(at + 1) }, other: NONE }, 1000 + at * 500);
    const { times, by } = all(history);
    expect(times).toHaveLength(20);
    times.slice(1).forEach((time, at) => expect(time - times[at]).toBeCloseTo(500, 6));
    expect(times[19]).toBe(1e12 + 19 * 500 + step);
    expect(by[0].bands[0].bytes.value).toEqual(Array.from({ length: 20 }, (_, at) => at + 1));
    expect(history.step === 0).toBe(Math.abs(step) < 1000);
  });

  it('is not one where the server was silent, or the page was', () => {
    const history = begun('a');
    run(history, 3, () => ({ a: bytes(1) }));
    history.add({ t: 1e12 + 61_000, total: bytes(1), values: {}, other: NONE }, 62_000); // both a minute later
    history.add({ t: 1e12 + 61_500, total: bytes(1), values: {}, other: NONE }, 92_000); // it came late
    history.add({ t: 1e12 + 62_000, total: bytes(1), values: {}, other: NONE }, 92_001); // and then all at once
    expect(history.step).toBe(0);
    expect(all(history).times.slice(-3)).toEqual([1e12 + 61_000, 1e12 + 61_500, 1e12 + 62_000]);
  });
});
