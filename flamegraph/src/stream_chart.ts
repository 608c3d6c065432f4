/** Draws a streamgraph and, beneath it, the total with its 95 % band. Knows no events. */
import { area, curveLinear, curveMonotoneX, line } from 'd3-shape';
import type { Scheme } from './colour';
import { plain, qualified, shortened } from './format';
import type { Band, Figures } from './picture';
import { axes } from './stream_axes';
import { Frame, LEFT, TOP } from './stream_frame';
import { gaps, layout, type Layout } from './stream_layout';

export interface Drawn {
  times: number[];
  bands: Band[]; // lowest first
  total: Figures;
  wiggle: boolean;
}

/** What is laid over it: indices of times and bands; -1: none. */
export interface Marks {
  time: number;
  band: number;
  pinned: ReadonlySet<number>;
  window: readonly [number, number] | null; // milliseconds
}

const FONT = '12px ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace';
const LEAST_LABEL = 16; // pixels that a band has to be high to have its name in it
const ROUNDED = 320; // moments; nobody can see the curve between more of them
const NOTHING: Drawn = { times: [], bands: [], total: { value: [], low: [], high: [], samples: [] }, wiggle: true };

export class Chart {
  frame: Frame;
  laid: Layout = layout([], 0, true);
  private drawn = NOTHING;
  private gaps = new Set<number>(); // times after which nothing is known
  private order: number[] = []; // indices of times; -1: what was begins anew
  private ratio = 1;

  constructor(
    private readonly base: HTMLCanvasElement,
    private readonly over: HTMLCanvasElement,
  ) {
    this.frame = new Frame(0, 0, [], this.laid, NOTHING.total);
  }

  /** In CSS pixels; the ratio is the screen's. */
  resize(width: number, height: number, ratio: number): void {
    for (const canvas of [this.base, this.over]) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
    }
    this.ratio = ratio;
    this.frame = new Frame(width, height, this.drawn.times, this.laid, this.drawn.total);
  }

  set(drawn: Drawn): void {
    this.drawn = drawn;
    this.gaps = gaps(drawn.times);
    this.order = drawn.times.flatMap((_, at) => (this.gaps.has(at) ? [at, -1] : [at]));
    const values = drawn.bands.map((band) => band.bytes.value);
    this.laid = layout(values, drawn.times.length, drawn.wiggle);
    this.frame = new Frame(this.frame.width, this.frame.height, drawn.times, this.laid, drawn.total);
  }

  /** Of a band at a time. */
  middle(band: number, at: number): { x: number; y: number } {
    const { xs, edges } = this.frame;
    return { x: xs[at], y: (edges[band][at] + edges[band + 1][at]) / 2 };
  }

  draw(scheme: Scheme, marks: Marks): void {
    const to = this.clean(this.base);
    if (to === null) return;
    to.font = FONT;
    axes(to, this.frame, scheme, this.drawn.wiggle);
    if (this.drawn.times.length === 0) return;
    this.bands(to, scheme, marks);
    this.total(to, scheme);
    this.unknown(to, scheme);
  }

  private clean(canvas: HTMLCanvasElement): CanvasRenderingContext2D | null {
    const to = canvas.getContext('2d');
    if (to === null || !this.frame.visible) return null;
    to.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    to.clearRect(0, 0, this.frame.width, this.frame.height);
    return to;
  }

  private bands(to: CanvasRenderingContext2D, scheme: Scheme, { band: focused, pinned }: Marks): void {
    const { times, bands } = this.drawn;
    const { xs, edges } = this.frame;
    const known = (at: number): boolean => at >= 0;
    bands.forEach((band, i) => {
      const [low, high] = [edges[i], edges[i + 1]];
      to.beginPath();
      area<number>()
        .defined(known)
        .x((at) => xs[at])
        .y0((at) => low[at])
        .y1((at) => high[at])
        .curve(times.length > ROUNDED ? curveLinear : curveMonotoneX)
        .context(to)(this.order);
      to.globalAlpha = i === focused || pinned.has(i) ? 1 : pinned.size > 0 ? 0.3 : focused >= 0 ? 0.7 : 1;
      to.fillStyle = scheme.of(band.colour);
      to.fill();
      to.globalAlpha = 1;
      to.strokeStyle = i === focused ? scheme.ink : scheme.paper;
      to.lineWidth = i === focused ? 1.5 : 0.75;
      to.stroke();
    });
    to.fillStyle = scheme.ink;
    to.textBaseline = 'middle';
    to.textAlign = 'center';
    bands.forEach((band, i) => this.label(to, band, i));
  }

  /** Its name, where it has most room for it. */
  private label(to: CanvasRenderingContext2D, band: Band, i: number): void {
    const { xs, edges, right } = this.frame;
    const [low, high] = [edges[i], edges[i + 1]];
    let best = -1;
    let most = LEAST_LABEL;
    for (let at = 0; at < xs.length; ++at)
      if (low[at] - high[at] > most && xs[at] > LEFT + 30 && xs[at] < right - 30) [most, best] = [low[at] - high[at], at];
    if (best < 0) return;
    const text = shortened(plain(qualified(band.function || band.name)), 60);
    const wide = to.measureText(text).width / 2 + 4;
    if (wide * 2 > right - LEFT) return;
    const x = Math.min(Math.max(xs[best], LEFT + wide), right - wide);
    let [top, bottom] = [-Infinity, Infinity];
    for (let at = 0; at < xs.length; ++at) {
      const before = at + 1 < xs.length && xs[at + 1] < x - wide;
      if (before || (at > 0 && xs[at - 1] > x + wide)) continue;
      if (this.gaps.has(at) && xs[at] < x + wide) return;
      top = Math.max(top, high[at]);
      bottom = Math.min(bottom, low[at]);
    }
    if (bottom - top >= 13) to.fillText(text, x, (top + bottom) / 2);
  }

  private total(to: CanvasRenderingContext2D, scheme: Scheme): void {
    const { total } = this.drawn;
    const { xs, total: y } = this.frame;
    const x = (at: number): number => xs[at];
    const known = (at: number): boolean => at >= 0;
    to.beginPath();
    area<number>()
      .defined(known)
      .x(x)
      .y0((at) => y.at(total.low[at]))
      .y1((at) => y.at(total.high[at]))
      .context(to)(this.order);
    to.globalAlpha = 0.22;
    to.fillStyle = scheme.ink;
    to.fill();
    to.globalAlpha = 1;
    to.beginPath();
    line<number>()
      .defined(known)
      .x(x)
      .y((at) => y.at(total.value[at]))
      .context(to)(this.order);
    to.strokeStyle = scheme.ink;
    to.lineWidth = 1.5;
    to.stroke();
  }

  /** Times of which nothing is known are empty, and say so where there is room. */
  private unknown(to: CanvasRenderingContext2D, scheme: Scheme): void {
    const { xs, bottom } = this.frame;
    to.fillStyle = scheme.faint;
    to.textBaseline = 'middle';
    to.textAlign = 'center';
    for (const at of this.gaps) {
      const text = ['nothing is known', 'nothing', '?'].find((each) => to.measureText(each).width + 12 < xs[at + 1] - xs[at]);
      if (text) to.fillText(text, (xs[at] + xs[at + 1]) / 2, (TOP + bottom) / 2);
    }
  }

  /** Cheap: what follows the pointer. */
  mark(scheme: Scheme, { time, band, window }: Marks): void {
    const to = this.clean(this.over);
    if (to === null || this.drawn.times.length === 0) return;
    const { xs, edges, floor, total } = this.frame;
    to.fillStyle = to.strokeStyle = scheme.ink;
    if (window !== null) {
      const [from, until] = window.map((each) => this.frame.place(each));
      to.globalAlpha = 0.12;
      to.fillRect(from, TOP, until - from, floor - TOP);
      to.globalAlpha = 1;
      to.fillRect(from - 0.5, TOP, 1, floor - TOP);
      to.fillRect(until - 0.5, TOP, 1, floor - TOP);
    }
    if (time < 0 || time >= xs.length) return;
    const x = Math.round(xs[time]) + 0.5;
    to.fillRect(x - 0.5, TOP, 1, floor - TOP);
    to.beginPath();
    to.arc(x, total.at(this.drawn.total.value[time]), 3, 0, 2 * Math.PI);
    to.fill();
    if (band >= 0 && band < this.drawn.bands.length) to.fillRect(x - 1.5, edges[band + 1][time], 3, edges[band][time] - edges[band + 1][time]);
  }
}
