/** Where times and bytes are, in pixels: the bands above, the total beneath them on the same axis of time. */
import { scaleTime, type ScaleTime } from 'd3-scale';
import type { Figures } from './picture';
import type { Layout } from './stream_layout';

export const LEFT = 66;
export const RIGHT = 14;
export const TOP = 10;
const AXIS = 24;
const BETWEEN = 16;

/** Bytes to pixels and back. */
export class Height {
  private readonly by: number;

  constructor(
    readonly least: number,
    readonly most: number,
    private readonly bottom: number,
    top: number,
  ) {
    this.by = (top - bottom) / (most > least ? most - least : 1);
  }

  at(bytes: number): number {
    return this.bottom + (bytes - this.least) * this.by;
  }

  bytes(y: number): number {
    return this.least + (y - this.bottom) / this.by;
  }
}

export class Frame {
  readonly right: number;
  readonly floor: number; // of the total
  readonly bottom: number; // of the bands
  readonly time: ScaleTime<number, number>;
  readonly xs: Float64Array; // of times
  readonly bands: Height;
  readonly total: Height;
  readonly edges: Float64Array[]; // of the layout

  constructor(
    readonly width: number,
    readonly height: number,
    times: readonly number[],
    layout: Layout,
    total: Figures,
  ) {
    this.right = Math.max(LEFT + 1, width - RIGHT);
    this.floor = height - AXIS;
    const totals = Math.max(36, Math.min(110, height * 0.22));
    this.bottom = Math.max(TOP + 20, this.floor - BETWEEN - totals);
    const first = times[0] ?? 0;
    const last = times[times.length - 1] ?? 1;
    this.time = scaleTime([first, last > first ? last : first + 1], [LEFT, this.right]);
    this.xs = Float64Array.from(times, (time) => this.time(time));
    this.bands = new Height(layout.least, layout.most, this.bottom, TOP);
    const highest = total.high.reduce((one, two) => Math.max(one, two), 0);
    this.total = new Height(0, highest, this.floor, this.floor - totals);
    this.edges = layout.edges.map((edge) => edge.map((bytes) => this.bands.at(bytes)));
  }

  get visible(): boolean {
    return this.width >= LEFT + RIGHT + 10;
  }

  /** Where a time is, within what is drawn. */
  place(time: number): number {
    return Math.min(Math.max(this.time(time), LEFT), this.right);
  }

  timeAt(x: number): number {
    return Number(this.time.invert(Math.min(Math.max(x, LEFT), this.right)));
  }

  /** The height in bytes among the bands; NaN: it is not there. */
  bytesAt(y: number): number {
    return y >= TOP && y <= this.bottom ? this.bands.bytes(y) : NaN;
  }
}
