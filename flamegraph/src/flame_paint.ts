/** Boxes onto a canvas: on the screen, and into a picture to keep. */

import { type Scheme, mixed } from './colour';
import { doubt } from './estimate';
import type { Layout, Row } from './flame_layout';
import { type Names, toldSmaller } from './flame_words';
import { Kind } from './picture';
import type { Tree } from './tree';

/**
 * Half an interval, of the value: from where on an edge fades, and a box is hatched, and densely so. pictures.py has
 * the same of hatching.
 */
export const FADING = 0.15;
export const DOUBTFUL = 0.5;
export const DOUBTED = 1;

const WIDEST = 48; // pixels of an edge that fades
const FAINT = 0.75; // of the ink, in what is beside a name
const FEWEST = 6; // letters of a name that has lost its middle

export interface Look {
  scheme: Scheme;
  size: number; // of letters, in pixels
  line: number; // from a row to the next
  flipped: boolean; // the root is at the bottom
  lit: Uint8Array | null; // nodes that were searched for; null: nothing was
}

export const fontOf = (size: number, inlined = false): string =>
  `${inlined ? 'italic ' : ''}${size}px system-ui, "Segoe UI", "DejaVu Sans", sans-serif`;

/** How high all rows are. */
export const heightOf = (made: Layout, look: Look): number => made.rows.length * look.line + 1;

/** Where a row begins, of so much height in all. */
export function top(look: Look, row: number, height: number): number {
  return look.flipped ? height - (row + 1) * look.line : row * look.line;
}

export class Painter {
  private readonly wide = new Map<string, number>();
  private readonly muted = new Map<string, string>();
  private hatches: [CanvasPattern | null, CanvasPattern | null] = [null, null];
  private hatched: Scheme | null = null;

  constructor(private readonly names: Names) {}

  /** The rows that are seen from `y` on; the context's unit is a pixel of the page. */
  paint(
    on: CanvasRenderingContext2D,
    tree: Tree,
    made: Layout,
    look: Look,
    y: number,
    seen: number,
    height: number,
  ): void {
    on.fillStyle = look.scheme.paper;
    on.fillRect(0, 0, made.width, seen);
    on.textBaseline = 'middle';
    this.hatch(on, look);
    for (let row = 0; row < made.rows.length; row++) {
      const at = top(look, row, height) - y;
      if (at + look.line > 0 && at < seen) this.row(on, tree, made.rows[row]!, at, look, row < made.above);
    }
  }

  private row(on: CanvasRenderingContext2D, tree: Tree, row: Row, y: number, look: Look, above: boolean): void {
    const { scheme, line } = look;
    for (let at = 0; at < row.box.length; at++) {
      const [x, width] = [row.x[at]!, row.width[at]!];
      const gap = width > 3 ? 1 : 0;
      const { fill, dim } = this.fill(tree, row, at, look, above);
      on.fillStyle = fill;
      on.fillRect(x, y, width - gap, line - 1);
      if (row.smaller[at] === 0) this.uncertainty(on, tree, row.box[at]!, x, y, width - gap, look);
      if (width > 22) this.write(on, tree, row, at, y, dim, look);
      if (look.lit && !dim && row.smaller[at] === 0 && width > 2) {
        on.strokeStyle = scheme.ink;
        on.lineWidth = 1;
        on.strokeRect(x + 0.5, y + 0.5, width - gap - 1, line - 2);
      }
    }
  }

  /** Its colour, and whether it is dim: not what was searched for. `above`: it is above what is zoomed into. */
  fill(tree: Tree, row: Row, at: number, look: Look, above: boolean): { fill: string; dim: boolean } {
    const { scheme, lit } = look;
    const dim = !!lit && (row.smaller[at] !== 0 || lit[tree.node(row.box[at]!)] === 0);
    const full = fillOf(tree, row, at, scheme);
    return { fill: dim ? this.mute(full, scheme, 0.72) : above ? this.mute(full, scheme, 0.35) : full, dim };
  }

  private uncertainty(
    on: CanvasRenderingContext2D,
    tree: Tree,
    box: number,
    x: number,
    y: number,
    width: number,
    look: Look,
  ): void {
    const doubtful = doubtOf(tree, box, width);
    if (!doubtful) return;
    const { edge, dense } = doubtful;
    if (!edge) on.fillStyle = this.hatches[dense ? 1 : 0] ?? 'transparent';
    else {
      const fade = on.createLinearGradient(x + width - edge, 0, x + width, 0);
      fade.addColorStop(0, `${look.scheme.paper}00`);
      fade.addColorStop(1, `${look.scheme.paper}c0`);
      on.fillStyle = fade;
    }
    on.fillRect(edge ? x + width - edge : x, y, edge || width, look.line - 1);
  }

  private write(
    on: CanvasRenderingContext2D,
    tree: Tree,
    row: Row,
    at: number,
    y: number,
    dim: boolean,
    look: Look,
  ): void {
    const node = tree.node(row.box[at]!);
    const font = fontOf(look.size, row.smaller[at] === 0 && this.names.inlined(node));
    if (on.font !== font) on.font = font;
    const text = this.label(on, tree, row, at, look.size);
    if (!text) return;
    on.fillStyle = dim ? look.scheme.faint : look.scheme.ink;
    const middle = y + (look.line - 1) / 2 + 0.5;
    on.fillText(text, row.x[at]! + 5, middle);
    if (row.smaller[at] || text !== this.names.of(node)) return;
    const place = this.names.place(node);
    const left = row.x[at]! + 15 + this.width(on, text, look.size);
    if (!place || left + this.width(on, place, look.size) > row.x[at]! + row.width[at]! - 4) return;
    on.globalAlpha = FAINT;
    on.fillText(place, left, middle);
    on.globalAlpha = 1;
  }

  /** What is written on a box; empty: it has no room. */
  label(on: CanvasRenderingContext2D, tree: Tree, row: Row, at: number, size: number): string {
    const node = tree.node(row.box[at]!);
    const smaller = row.smaller[at]!;
    const [whole, short] = smaller
      ? [toldSmaller(smaller), toldSmaller(smaller)]
      : [this.names.of(node), this.names.shortOf(node)];
    return this.fitted(on, whole, short, row.width[at]! - 9, size);
  }

  /** As much of a name as has room: without its arguments, then without its middle. */
  private fitted(on: CanvasRenderingContext2D, whole: string, short: string, room: number, size: number): string {
    if (whole.length < 400 && this.width(on, whole, size) <= room) return whole;
    const wide = this.width(on, short.slice(0, 400), size);
    if (short.length < 400 && wide <= room) return short;
    let kept = Math.floor((Math.min(short.length, 400) * room) / wide);
    for (; kept > FEWEST; kept--) {
      const head = Math.floor((kept - 1) / 3);
      const text = `${short.slice(0, head)}…${short.slice(short.length - (kept - 1 - head))}`;
      if (this.width(on, text, size) <= room) return text;
    }
    return '';
  }

  private width(on: CanvasRenderingContext2D, text: string, size: number): number {
    let total = 0;
    for (const each of text) {
      let wide = this.wide.get(each);
      if (wide === undefined) {
        const font = on.font;
        on.font = fontOf(100);
        this.wide.set(each, (wide = on.measureText(each).width / 100));
        on.font = font;
      }
      total += wide;
    }
    return total * size;
  }

  private mute(colour: string, scheme: Scheme, share: number): string {
    const key = `${colour}${scheme.dark ? 'd' : 'l'}${share}`;
    let found = this.muted.get(key);
    if (!found) this.muted.set(key, (found = mixed(colour, scheme.paper, share)));
    return found;
  }

  private hatch(on: CanvasRenderingContext2D, look: Look): void {
    if (this.hatched === look.scheme) return;
    this.hatched = look.scheme;
    this.hatches = [hatching(on, look.scheme, 8), hatching(on, look.scheme, 4)];
  }
}

/** How an uncertain box looks: hatched, densely or not, or with an edge that fades; null: as certain ones do. */
export function doubtOf(tree: Tree, box: number, width: number): { edge: number; dense: boolean } | null {
  if (width < 4) return null;
  const { value, low, high } = tree.bytes(box);
  const apart = doubt(value, low, high);
  if (apart < FADING) return null;
  // As much of it as the truth may be less.
  const edge = apart < DOUBTFUL ? Math.min((width * (value - low)) / value, width / 2, WIDEST) : 0;
  return { edge, dense: apart >= DOUBTED };
}

/** The colour of a box. */
function fillOf(tree: Tree, row: Row, at: number, scheme: Scheme): string {
  const box = row.box[at]!;
  if (row.smaller[at] !== 0) return scheme.rest;
  const node = tree.node(box);
  const changed = tree.changed(box);
  if (changed) return scheme.changed(changed.before, changed.after, changed.significant);
  const { kind, colour } = tree.nodes.picture.nodes;
  return node === 0 || kind[node] === Kind.SMALLER || kind[node] === Kind.UNKNOWN
    ? scheme.rest
    : scheme.of(colour[node]!);
}

/** Lines from the lower left to the upper right, so far apart. */
function hatching(on: CanvasRenderingContext2D, scheme: Scheme, apart: number): CanvasPattern | null {
  const tile = document.createElement('canvas');
  const scale = 4;
  tile.width = tile.height = apart * scale;
  const paint = tile.getContext('2d')!;
  paint.strokeStyle = scheme.paper;
  paint.globalAlpha = scheme.dark ? 0.55 : 0.7;
  paint.lineWidth = 1.4 * scale;
  for (const shift of [-1, 0, 1]) {
    paint.beginPath();
    paint.moveTo((shift * apart - 1) * scale, (apart + 1) * scale);
    paint.lineTo(((shift + 1) * apart + 1) * scale, -scale);
    paint.stroke();
  }
  const pattern = on.createPattern(tile, 'repeat');
  pattern?.setTransform(new DOMMatrix([1 / scale, 0, 0, 1 / scale, 0, 0]));
  return pattern;
}
