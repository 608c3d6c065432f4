/** Where boxes are: rows of them, from what is zoomed into. Only what can be seen is laid out, or ever asked for. */

import type { Tree } from './tree';

const FINEST = 1.5; // pixels of the narrowest box of its own

/** Columns, from left to right. */
export interface Row {
  box: number[];
  x: number[];
  width: number[];
  /** 0: the box itself; otherwise so many boxes in it that are too narrow to be seen. */
  smaller: number[];
}

export interface Layout {
  zoomed: number;
  width: number;
  rows: Row[]; // the first one is all; those above `zoomed` are as wide as the picture
  above: number; // how many these are
}

/** One of them. */
export interface Spot {
  row: number;
  at: number;
}

export function layout(tree: Tree, zoomed: number, width: number): Layout {
  const path = [zoomed];
  for (let box = tree.parent(zoomed); box >= 0; box = tree.parent(box)) path.unshift(box);
  const rows: Row[] = path.map((box) => ({ box: [box], x: [0], width: [width], smaller: [0] }));
  const total = tree.value(zoomed);
  if (!(total > 0)) return { zoomed, width, rows, above: path.length - 1 };
  const scale = width / total;
  for (let last = rows[rows.length - 1]!; ;) {
    const row: Row = { box: [], x: [], width: [], smaller: [] };
    for (let at = 0; at < last.box.length; at++) {
      if (last.smaller[at] === 0) below(tree, last.box[at]!, last.x[at]!, last.x[at]! + last.width[at]!, scale, row);
    }
    if (row.box.length === 0) return { zoomed, width, rows, above: path.length - 1 };
    rows.push((last = row));
  }
}

function below(tree: Tree, box: number, left: number, right: number, scale: number, row: Row): void {
  if (right - left < FINEST) return;
  const children = tree.children(box);
  let [x, narrow, wide] = [left, 0, 0];
  for (let at = 0; at < children.length; at++) {
    const child = children[at]!;
    const width = Math.min(tree.value(child) * scale, right - x);
    if (width >= FINEST) {
      put(row, child, x, width, 0);
      x += width;
    } else {
      narrow++;
      wide += width;
    }
  }
  // Drawn in one, honestly; what of it is less than half a pixel isn't there at all.
  if (wide >= 0.5) put(row, box, x, Math.min(wide, right - x), narrow);
}

function put(row: Row, box: number, x: number, width: number, smaller: number): void {
  row.box.push(box);
  row.x.push(x);
  row.width.push(width);
  row.smaller.push(smaller);
}

/** What is at `x` of a row. */
export function spotAt(made: Layout, row: number, x: number): Spot | null {
  const { x: begins, width } = made.rows[row] ?? { x: [], width: [] };
  let [low, high] = [0, begins.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (begins[middle]! <= x) low = middle + 1;
    else high = middle;
  }
  return low > 0 && x < begins[low - 1]! + width[low - 1]! ? { row, at: low - 1 } : null;
}

/** Where a box is drawn by itself. */
export function spotOf(made: Layout, tree: Tree, box: number): Spot | null {
  let row = 0;
  for (let up = tree.parent(box); up >= 0; up = tree.parent(up)) row++;
  const boxes = made.rows[row];
  const at = boxes?.box.findIndex((each, at) => each === box && boxes.smaller[at] === 0) ?? -1;
  return at < 0 ? null : { row, at };
}

/** The one beside it: in its row, or where the widest one below it or the one above it is. Null: there is none. */
export function beside(made: Layout, from: Spot, way: 'left' | 'right' | 'out' | 'in'): Spot | null {
  const { row, at } = from;
  const here = made.rows[row];
  if (!here) return null;
  if (way === 'left') return at > 0 ? { row, at: at - 1 } : null;
  if (way === 'right') return at + 1 < here.box.length ? { row, at: at + 1 } : null;
  if (way === 'out') return row > 0 ? spotAt(made, row - 1, here.x[at]! + Math.min(here.width[at]! / 2, 0.5)) : null;
  return spotAt(made, row + 1, here.x[at]! + Math.min(here.width[at]! / 2, 0.5));
}

/** The widest of the boxes of nodes that are wanted. */
export function widest(made: Layout, tree: Tree, wanted: (node: number) => boolean): Spot | null {
  let found: Spot | null = null;
  let most = 0;
  made.rows.forEach(({ box, width, smaller }, row) =>
    box.forEach((each, at) => {
      if (smaller[at] || width[at]! <= most || !wanted(tree.node(each))) return;
      found = { row, at };
      most = width[at]!;
    }),
  );
  return found;
}

/** The next one of the boxes that are wanted, or the one before, by rows; after the last one comes the first. */
export function next(made: Layout, from: Spot, by: 1 | -1, wanted: (box: number) => boolean): Spot | null {
  const spots = made.rows.flatMap(({ box, smaller }, row) =>
    box.flatMap((each, at) => (smaller[at] === 0 && wanted(each) ? [{ row, at }] : [])),
  );
  if (by < 0) spots.reverse();
  const past = ({ row, at }: Spot): boolean => by * (row - from.row || at - from.at) > 0;
  return spots.find(past) ?? spots[0] ?? null;
}
