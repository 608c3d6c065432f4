/** What of a picture can be drawn: its views, and what was allocated, held and freed in a window of time. */

import { add, dense, interval, intervals, nothing } from './estimate';
import { clock, duration } from './format';
import type { Cells, Picture } from './picture';
import type { Nodes, Shown } from './tree';

/** From one edge of the picture's times to another; where both are the same: what is in use then. */
export type Window = readonly [number, number];

/** held: still in use at the window's end; kept: at the end of all. */
export const WITHIN = ['held', 'kept', 'allocated', 'freed'] as const;
export type Within = (typeof WITHIN)[number];

const NAMES: Record<Within, string> = {
  held: 'allocated in it, still held at its end',
  kept: 'allocated in it, still held at the end',
  allocated: 'allocated in it',
  freed: 'freed in it, or gone with its process',
};

export const withinName = (within: Within): string => NAMES[within];

export function ofView(nodes: Nodes, key: string): Shown {
  const { views } = nodes.picture;
  const view = views.find((each) => each.key === key) ?? views[0];
  const none = { value: [], low: [], high: [], samples: [] };
  return {
    key: view?.key ?? '',
    name: view?.name ?? 'nothing',
    unit: view?.unit ?? 'bytes',
    note: view?.note ?? '',
    bytes: dense(nodes.size, view?.row ?? [], view?.bytes ?? none),
    count: view?.count.value.some((each) => each > 0) ? dense(nodes.size, view.row, view.count) : null,
  };
}

/** The picture has times and cells. */
export function ofWindow(nodes: Nodes, window: Window, within: Within): Shown {
  const { cells, times, period } = nodes.picture;
  const { parent } = nodes.picture.nodes;
  const sums = nothing(nodes.size);
  if (cells) {
    const wanted = chosen(cells, window, within, times!.edges.length - 1);
    for (let cell = 0; cell < cells.node.length; cell++) if (wanted(cell)) add(sums, cells.node[cell]!, cells, cell);
  }
  for (let node = nodes.size - 1; node > 0; node--) if (sums.samples[node]! > 0) add(sums, parent[node]!, sums, node);
  const bytes = intervals(sums);
  if (sums.samples[0] === 0) {
    sums.unit[0] = period > 1 ? period : 0;
    bytes.high[0] = interval(sums, 0).high;
  }
  return {
    key: `window-${within}`,
    name: windowName(nodes.picture, window, within),
    unit: 'bytes',
    note: '',
    bytes,
    count: null,
  };
}

function chosen(cells: Cells, [a, b]: Window, within: Within, last: number): (cell: number) => boolean {
  const { born, gone } = cells;
  if (a === b) return (cell) => born[cell]! < a && gone[cell]! >= a;
  const inside = (cell: number): boolean => born[cell]! >= a && born[cell]! < b;
  switch (within) {
    case 'allocated':
      return inside;
    case 'held':
      return (cell) => inside(cell) && gone[cell]! >= b;
    case 'kept':
      return (cell) => inside(cell) && gone[cell]! >= last;
    case 'freed':
      return (cell) => gone[cell]! >= a && gone[cell]! < b;
  }
}

function windowName(picture: Picture, [a, b]: Window, within: Within): string {
  const [since, until] = [a, b].map((edge) => picture.times!.edges[edge]!) as [number, number];
  const told = moments(picture);
  if (a === b) return `in use at ${told(since)}`;
  const from = `${told(since)} to ${told(until)} (${duration(until - since)})`;
  if (within === 'freed') return `freed from ${from}, or gone with its process then`;
  const held = { allocated: '', held: ' and still held then', kept: ' and still held at the end' }[within];
  return `allocated from ${from}${held}`;
}

/** How a moment is told: by the clock, with parts of a second where the edges are that close. */
export function moments(picture: Picture): (moment: number) => string {
  const edges = picture.times?.edges ?? [];
  const begin = edges[0] ?? 0;
  const span = (edges[edges.length - 1] ?? 0) - begin;
  if (span >= 1000 * Math.max(edges.length, 10)) return (moment) => clock(moment);
  const digits = span >= 2000 ? 1 : 3;
  // A round one is told as it is.
  return (moment) =>
    moment % 1000 === 0 ? clock(moment) : clock(moment) + ((moment % 1000) / 1000).toFixed(3).slice(1, digits + 2);
}

/** The edge that is nearest to a moment. */
export function edgeAt(picture: Picture, moment: number): number {
  const edges = picture.times?.edges ?? [];
  let [low, high] = [0, edges.length - 1];
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (edges[middle]! <= moment) low = middle;
    else high = middle;
  }
  return high > low && moment - edges[low]! > edges[high]! - moment ? high : Math.max(low, 0);
}
