/** Totals with their errors, from sums of samples: the mathematics of poireau/estimate.py, which says why. */

import type { Figures, Sums } from './picture';

const CERTAINTY = 1.959964; // standard deviations on either side hold 95 %
const ONE_SIDED = 1.644854; // on one
const NONE_SEEN = 3; // so many units

/** The truth is from `low` to `high` with 95 % certainty. */
export interface Estimate {
  value: number;
  low: number;
  high: number;
  samples: number;
}

/** Sums that are still being added up: the columns of Sums, all nothing. */
export interface Totals {
  value: Float64Array;
  variance: Float64Array;
  third: Float64Array;
  seen: Float64Array;
  samples: Float64Array;
  unit: Float64Array;
}

/** One to draw: dense, a row a node. */
export interface Estimates {
  value: Float64Array;
  low: Float64Array;
  high: Float64Array;
  samples: Float64Array;
}

export function nothing(rows: number): Totals {
  const column = (): Float64Array => new Float64Array(rows);
  return { value: column(), variance: column(), third: column(), seen: column(), samples: column(), unit: column() };
}

/** Row `from` of one to row `to` of the other. No sample may be in both. */
export function add(into: Totals, to: number, sums: Sums | Totals, from: number): void {
  into.value[to]! += sums.value[from]!;
  into.variance[to]! += sums.variance[from]!;
  into.third[to]! += sums.third[from]!;
  into.seen[to]! += sums.seen[from]!;
  into.samples[to]! += sums.samples[from]!;
  if (sums.unit[from]! > into.unit[to]!) into.unit[to] = sums.unit[from]!;
}

export function interval(sums: Sums | Totals, at: number): Estimate {
  const [value, samples] = [sums.value[at]!, sums.samples[at]!];
  const [variance, third, seen, unit] = [sums.variance[at]!, sums.third[at]!, sums.seen[at]!, sums.unit[at]!];
  if (samples === 0) return { value: 0, low: 0, high: NONE_SEEN * unit, samples: 0 };
  let [low, high] = [value, value];
  if (variance > 0) {
    const deviation = Math.sqrt(variance);
    const skewness = Math.min(third / (variance * deviation), 1);
    low = Math.max(value - deviation * below(skewness), Math.min(seen, value));
    high = value + deviation * above(skewness) + Math.max(unit - third / variance, 0) / 2;
  }
  if (unit > 0) high = Math.max(high, seen + gammaEnd(value - seen + unit, variance + unit * unit));
  return { value, low, high, samples };
}

export function intervals(sums: Sums | Totals): Estimates {
  const rows = sums.value.length;
  const made = none(rows);
  for (let at = 0; at < rows; at++) if (sums.samples[at]! > 0) put(made, at, interval(sums, at));
  return made;
}

/** Of nothing at all: exactly that. */
export function none(rows: number): Estimates {
  const column = (): Float64Array => new Float64Array(rows);
  return { value: column(), low: column(), high: column(), samples: column() };
}

/** A row each of `rows`, from figures of some of them. */
export function dense(rows: number, row: readonly number[], figures: Figures): Estimates {
  const made = none(rows);
  for (let at = 0; at < row.length; at++) put(made, row[at]!, at_(figures, at));
  return made;
}

export function at_(figures: Figures | Estimates, at: number): Estimate {
  return { value: figures.value[at]!, low: figures.low[at]!, high: figures.high[at]!, samples: figures.samples[at]! };
}

/** How far half an interval reaches, of the value. */
export function doubt(value: number, low: number, high: number): number {
  return value > 0 ? (high - low) / 2 / value : high > low ? Infinity : 0;
}

/**
 * The variance that a figure must have had, were all of its samples alike: what is left of sums where only ends of
 * intervals are kept. The lower end is a deviation d times below(d / value) from the value.
 */
export function varianceOf(value: number, low: number): number {
  const reach = value - low;
  if (!(reach > 0)) return 0;
  let deviation = reach / CERTAINTY;
  for (let round = 0; round < 6; round++) deviation = reach / below(Math.min(deviation / value, 1));
  return deviation * deviation;
}

/** An interval of one that is like that. */
export function likely(value: number, variance: number, samples: number): Estimate {
  if (!(variance > 0)) return { value, low: value, high: value, samples };
  const each = variance / value;
  const deviation = Math.sqrt(variance);
  const skewness = Math.min(deviation / value, 1);
  const high = value + deviation * above(skewness);
  const low = Math.max(value - deviation * below(skewness), 0);
  return { value, low, high: Math.max(high, gammaEnd(value + each, variance + each * each)), samples };
}

function put(into: Estimates, at: number, one: Estimate): void {
  into.value[at] = one.value;
  into.low[at] = one.low;
  into.high[at] = one.high;
  into.samples[at] = one.samples;
}

/** From the value to the upper end, in deviations. */
const above = (skewness: number): number =>
  CERTAINTY + skewness * (1.447153 + skewness * (0.602785 - skewness * 0.076512));

/** From the lower end to the value. */
const below = (skewness: number): number =>
  CERTAINTY - skewness * (1.447153 - skewness * (0.587108 - skewness * 0.15062));

/** Where 95 % of a gamma distribution end. */
function gammaEnd(mean: number, variance: number): number {
  const shape = (mean * mean) / variance;
  return mean * (1 - 1 / (9 * shape) + ONE_SIDED / (3 * Math.sqrt(shape))) ** 3;
}
