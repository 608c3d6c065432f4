import { describe, expect, it } from 'vitest';
import { type Totals, add, interval, likely, nothing, varianceOf } from '../src/estimate';
import type { Sums } from '../src/picture';
import recorded from './estimates.json';
import { random } from './pictures';

const near = (found: number, wanted: number): boolean =>
  Math.abs(found - wanted) <= 1e-6 * Math.max(Math.abs(wanted), 1e-9);

describe('an estimate', () => {
  it('is what the Python side makes of the same sums', () => {
    expect(recorded.cases.length).toBeGreaterThan(20);
    for (const { sums, value, low, high, samples } of recorded.cases) {
      const totals = nothing(1);
      for (let at = 0; at < sums.value.length; at++) add(totals, 0, sums as Sums, at);
      const found = interval(totals, 0);
      const said = JSON.stringify({ sums, found, value, low, high });
      expect(near(found.value, value) && near(found.low, low) && near(found.high, high), said).toBe(true);
      expect(found.samples).toBe(samples);
    }
  });

  it('holds what was seen, and is in its interval', () => {
    const next = random(7);
    for (let round = 0; round < 500; round++) {
      const totals = taken(next, 1 + Math.floor(next() * 30), next() < 0.2 ? 1 : 65_536);
      const { value, low, high } = interval(totals, 0);
      expect(low).toBeGreaterThanOrEqual(Math.min(totals.seen[0]!, value) * (1 - 1e-12));
      expect(low).toBeLessThanOrEqual(value);
      expect(high).toBeGreaterThanOrEqual(value);
    }
  });

  it('of nothing is below three periods', () => {
    const totals = nothing(1);
    totals.unit[0] = 4096;
    expect(interval(totals, 0)).toEqual({ value: 0, low: 0, high: 3 * 4096, samples: 0 });
  });
});

describe('what is left of sums where only their ends are kept', () => {
  it('tells the variance within a tenth, from twenty samples on', () => {
    const next = random(11);
    for (let round = 0; round < 300; round++) {
      const totals = taken(next, 20 + Math.floor(next() * 200), 65_536);
      const { value, low } = interval(totals, 0);
      const found = Math.sqrt(varianceOf(value, low) / totals.variance[0]!);
      expect(found, `round ${round}`).toBeGreaterThan(0.9);
      expect(found, `round ${round}`).toBeLessThan(1.1);
    }
  });

  it('makes about the same interval of it', () => {
    const next = random(13);
    for (let round = 0; round < 300; round++) {
      const totals = taken(next, 20 + Math.floor(next() * 200), 65_536);
      const { value, low, high, samples } = interval(totals, 0);
      const found = likely(value, varianceOf(value, low), samples);
      expect(Math.abs(found.high - high)).toBeLessThan(0.15 * (high - low));
      expect(Math.abs(found.low - low)).toBeLessThan(0.15 * (high - low));
    }
  });

  it('is exact where the figure is', () => {
    expect(varianceOf(100, 100)).toBe(0);
    expect(likely(100, 0, 5)).toEqual({ value: 100, low: 100, high: 100, samples: 5 });
  });
});

/** Samples of small blocks, drawn with one period. */
function taken(next: () => number, samples: number, period: number): Totals {
  const totals = nothing(1);
  for (let number = 0; number < samples; number++) {
    const size = Math.ceil(16 * Math.exp(next() * 7));
    const chance = period > 1 ? -Math.expm1(-size / period) : 1;
    const [w, e] = [size / chance, size / chance - size];
    const unit = period > 1 ? period : 0;
    add(totals, 0, { value: [w], variance: [e * w], third: [e * e * w], seen: [size], samples: [1], unit: [unit] }, 0);
  }
  return totals;
}
