/** Where the bands of a streamgraph lie: the mathematics only. Bands come lowest first, each with its bytes over time. */

export interface Layout {
  edges: Float64Array[]; // bands + 1: the baseline, then the upper edge of each
  least: number; // of all edges
  most: number;
}

export function layout(values: readonly ArrayLike<number>[], times: number, wiggle: boolean): Layout {
  const edges = [wiggle ? baseline(values, times) : new Float64Array(times)];
  for (const band of values) {
    const below = edges[edges.length - 1];
    edges.push(below.map((y, at) => y + band[at]));
  }
  const ends = [edges[0], edges[edges.length - 1]];
  let least = Infinity;
  let most = -Infinity;
  for (let at = 0; at < times; ++at) {
    least = Math.min(least, ends[0][at]);
    most = Math.max(most, ends[1][at]);
  }
  return times ? { edges, least, most } : { edges, least: 0, most: 0 };
}

/**
 * The one that keeps bands as level as can be, thick ones most (Byron and Wattenberg, 2008). As in picture_stream.py,
 * and unlike d3's, each step is weighed by both its ends: what comes and goes again leaves all where it was.
 */
export function baseline(values: readonly ArrayLike<number>[], times: number): Float64Array {
  const edge = new Float64Array(times);
  const was = new Float64Array(values.length).fill(0.5);
  let y = 0;
  for (let at = 0; at < times; ++at) {
    let all = 0;
    for (const band of values) all += band[at];
    let below = 0;
    let change = 0;
    for (let i = 0; i < values.length; ++i) {
      const value = values[i][at];
      const share = all > 0 ? (all - below - value / 2) / all : 0.5;
      if (at > 0) change += ((share + was[i]) / 2 - 0.5) * (value - values[i][at - 1]);
      was[i] = share;
      below += value;
    }
    y += change;
    edge[at] = y - all / 2;
  }
  return edge;
}

/** The band at this height at this time; -1: none. Above an edge counts to the band above it. */
export function bandAt({ edges }: Layout, at: number, y: number): number {
  for (let i = 0; i + 1 < edges.length; ++i) if (y >= edges[i][at] && y < edges[i + 1][at]) return i;
  return -1;
}

const SILENT = 5000; // milliseconds without a word; less is a server that was late
const RARE = 4; // times as long as it takes before and after

/** After which of these times nothing is known until the next one: nobody asked, or nobody answered. */
export function gaps(times: ArrayLike<number>): Set<number> {
  const found = new Set<number>();
  const step = (at: number): number => (at < 0 || at + 1 >= times.length ? 0 : times[at + 1] - times[at]);
  for (let at = 0; at + 1 < times.length; ++at)
    if (step(at) > SILENT && step(at) > RARE * Math.max(step(at - 1), step(at + 1))) found.add(at);
  return times.length > 2 ? found : new Set();
}

/** Which of these times is the nearest; they increase. */
export function nearest(times: ArrayLike<number>, time: number): number {
  let low = 0;
  let high = times.length - 1;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (times[middle] <= time) low = middle;
    else high = middle;
  }
  return high > low && time - times[low] > times[high] - time ? high : low;
}
