import { expect, it } from 'vitest';
import { heights } from '../src/stream_axes';

it('has round heights from 0 up to the most, a few', () => {
  for (const most of [1, 7, 1000, 1025, 3e6, 1.5e9, 9e14]) {
    const found = heights(most, 4);
    expect(found[0]).toBe(0);
    expect(found.length).toBeGreaterThan(1);
    expect(found.length).toBeLessThanOrEqual(6);
    expect(found[found.length - 1]).toBeLessThanOrEqual(most);
  }
  expect(heights(0, 4)).toEqual([0]);
  expect(heights(NaN, 4)).toEqual([0]);
});

it('has heights that are round in their unit', () => {
  expect(heights(100 * 1024 ** 2, 4).map((each) => each / 1024 ** 2)).toEqual([0, 50, 100]);
});
