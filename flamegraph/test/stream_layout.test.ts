import { describe, expect, it } from 'vitest';
import { bandAt, baseline, gaps, layout, nearest } from '../src/stream_layout';

/** Seeded: the same numbers every time. */
function numbers(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state * 16807) % 2147483647;
    return state / 2147483647;
  };
}

describe('layout', () => {
  it('gives each band its height, on the one below', () => {
    const random = numbers(7);
    const bands = Array.from({ length: 9 }, () => Array.from({ length: 40 }, () => random() * 1e9));
    for (const wiggle of [true, false]) {
      const { edges, least, most } = layout(bands, 40, wiggle);
      expect(edges).toHaveLength(10);
      for (let at = 0; at < 40; ++at)
        bands.forEach((band, i) => expect(edges[i + 1][at] - edges[i][at]).toBeCloseTo(band[at], 3));
      expect(Math.min(...edges.flatMap((each) => [...each]))).toBe(least);
      expect(Math.max(...edges.flatMap((each) => [...each]))).toBe(most);
    }
  });

  it('has nothing where there is nothing', () => {
    expect(layout([], 0, true)).toMatchObject({ least: 0, most: 0 });
    expect([...layout([], 3, true).edges[0]].map(Math.abs)).toEqual([0, 0, 0]);
    expect([...layout([[0, 0]], 2, true).edges[1]].map(Math.abs)).toEqual([0, 0]);
  });
});

describe('gaps', () => {
  const times = (...steps: number[]): number[] => steps.reduce((all, step) => [...all, all[all.length - 1] + step], [0]);
  it('are where nothing was told for much longer than before and after', () => {
    expect([...gaps(times(500, 500, 60_000, 500, 500))]).toEqual([2]);
    expect([...gaps(times(3_600_000, 500, 500))]).toEqual([0]);
    expect([...gaps(times(500, 500, 3_600_000))]).toEqual([2]);
  });

  it('are not where a server was late, and not where what is old is told more seldom', () => {
    expect([...gaps(times(500, 500, 4000, 500))]).toEqual([]);
    expect([...gaps(times(60_000, 60_000, 30_000, 45_000, 500, 500))]).toEqual([]);
    expect([...gaps(times(3_600_000))]).toEqual([]);
    expect([...gaps([])]).toEqual([]);
  });
});

describe('baseline', () => {
  it('lies in the middle of one band', () => {
    expect([...baseline([[2, 4, 8]], 3)]).toEqual([-1, -2, -4]);
  });

  it('is where it was after what came has gone again', () => {
    const thick = [100, 100, 100, 100, 100];
    const spike = [0, 50, 0, 80, 0];
    for (const bands of [[thick, spike], [spike, thick], [thick, spike, thick]]) {
      const edge = baseline(bands, 5);
      expect(edge[2]).toBeCloseTo(edge[0], 9);
      expect(edge[4]).toBeCloseTo(edge[0], 9);
    }
  });

  it('moves by a constant where the time before is left out: a live picture does not jump', () => {
    const random = numbers(11);
    const bands = Array.from({ length: 5 }, () => Array.from({ length: 30 }, () => random() * 100));
    const all = baseline(bands, 30);
    const late = baseline(
      bands.map((band) => band.slice(10)),
      20,
    );
    const apart = [...late].map((y, at) => y - all[at + 10]);
    for (const each of apart) expect(each).toBeCloseTo(apart[0], 9);
  });
});

describe('what is pointed at', () => {
  it('is the band between its edges', () => {
    const laid = layout([[10], [20], [0], [5]], 1, false);
    expect([-1, 0, 9, 10, 29, 30, 34, 35].map((y) => bandAt(laid, 0, y))).toEqual([-1, 0, 0, 1, 1, 3, 3, -1]);
    expect(bandAt(laid, 0, NaN)).toBe(-1);
  });

  it('is the nearest time', () => {
    const random = numbers(13);
    const times = [0];
    while (times.length < 50) times.push(times[times.length - 1] + 0.001 + random() * 10);
    for (let i = 0; i < 500; ++i) {
      const time = random() * 600 - 50;
      const found = Math.abs(times[nearest(times, time)] - time);
      expect(found).toBe(Math.min(...times.map((each) => Math.abs(each - time))));
    }
    expect(nearest([5], 100)).toBe(0);
  });
});
