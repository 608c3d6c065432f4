/** What is in use over time, with its interval; a window of it can be chosen, by the pointer and by the keyboard. */

import { button, choose, make } from './controls';
import { size } from './format';
import { type Window, WITHIN, type Within, edgeAt, moments, withinName } from './flame_shown';
import type { Picture, Times } from './picture';

const HEIGHT = 64;
const TICK = 110; // pixels from one time that is written to the next
const SVG = 'http://www.w3.org/2000/svg';
const STEPS = [1, 2, 5, 10, 15, 30].flatMap((n) => [n * 1000, n * 60_000]);
const LENGTHS = [
  ...[1, 2, 5, 10, 20, 50, 100, 200, 500],
  ...STEPS,
  ...[1, 2, 3, 6, 12, 24, 48, 168].map((n) => n * 3_600_000),
].sort((a, b) => a - b);

export class Timeline {
  readonly element: HTMLElement;
  private readonly plot = make('div', { class: 'plot' });
  private readonly chosen = make('div', { class: 'window', hidden: true });
  private readonly ends: [HTMLElement, HTMLElement];
  private readonly within: HTMLSelectElement;
  private readonly whole: HTMLButtonElement;
  private readonly observer: ResizeObserver;
  private readonly tell: (moment: number) => string;
  private window: Window | null = null;
  private width = 0;

  /** `then`: another window was chosen; null: none. */
  constructor(
    picture: Picture,
    private readonly times: Times,
    private readonly then: (window: Window | null, within: Within) => void,
  ) {
    this.tell = moments(picture);
    this.ends = [this.end('Window begins', 0), this.end('Window ends', 1)];
    const choices = WITHIN.map((value) => ({ value, name: withinName(value) }));
    this.within = choose('Window shows', choices, () => this.changed());
    this.whole = button('Whole time', () => this.set(null));
    this.plot.append(this.chosen, ...this.ends);
    const bar = make(
      'div',
      { class: 'toolbar small' },
      make('span', { class: 'faint' }, 'In use over time. Drag to choose a window.'),
      make('span', { class: 'gap' }),
      this.within,
      this.whole,
    );
    this.element = make('div', { class: 'timeline', role: 'group', 'aria-label': 'Timeline' }, bar, this.plot);
    this.drag(picture);
    this.observer = new ResizeObserver(() => this.draw());
    this.observer.observe(this.plot);
    this.show(null, 'held');
  }

  show(window: Window | null, within: Within): void {
    this.window = window;
    this.within.value = within;
    this.within.hidden = !window || window[0] === window[1];
    this.whole.hidden = !window;
    this.place();
  }

  destroy(): void {
    this.observer.disconnect();
  }

  private set(window: Window | null): void {
    this.window = window;
    this.changed();
  }

  private changed(): void {
    this.then(this.window, this.within.value as Within);
  }

  private get last(): number {
    return this.times.edges.length - 1;
  }

  private x(edge: number): number {
    const { edges } = this.times;
    const span = edges[this.last]! - edges[0]!;
    return span > 0 ? ((edges[edge]! - edges[0]!) / span) * this.width : (edge / Math.max(this.last, 1)) * this.width;
  }

  private place(): void {
    const [a, b] = this.window ?? [0, this.last];
    this.chosen.hidden = !this.window;
    this.chosen.style.left = `${this.x(a)}px`;
    this.chosen.style.width = `${Math.max(this.x(b) - this.x(a), 1)}px`;
    [a, b].forEach((edge, which) => {
      const end = this.ends[which]!;
      end.style.left = `${this.x(edge)}px`;
      end.setAttribute('aria-valuemin', '0');
      end.setAttribute('aria-valuemax', String(this.last));
      end.setAttribute('aria-valuenow', String(edge));
      end.setAttribute('aria-valuetext', this.tell(this.times.edges[edge]!));
    });
  }

  private end(name: string, which: 0 | 1): HTMLElement {
    const made = make('div', { class: 'end', role: 'slider', tabindex: 0, 'aria-label': name });
    made.addEventListener('keydown', (event) => {
      const [a, b] = this.window ?? [0, this.last];
      const far = Math.max(Math.round(this.last / 10), 2);
      const by: Record<string, number> = {
        ArrowLeft: -1,
        ArrowDown: -1,
        ArrowRight: 1,
        ArrowUp: 1,
        PageDown: -far,
        PageUp: far,
        Home: -Infinity,
        End: Infinity,
      };
      if (!(event.key in by)) return;
      event.preventDefault();
      event.stopPropagation();
      const to = Math.min(Math.max((which ? b : a) + by[event.key]!, which ? a : 0), which ? this.last : b);
      this.set(which ? [a, to] : [to, b]);
    });
    return made;
  }

  private drag(picture: Picture): void {
    let from: { edge: number; x: number; keep: number | null } | null = null;
    const edge = (event: PointerEvent): number => {
      const at = Math.min(Math.max((event.clientX - this.plot.getBoundingClientRect().left) / this.width, 0), 1);
      const { edges } = this.times;
      return edgeAt(picture, edges[0]! + at * (edges[this.last]! - edges[0]!));
    };
    this.plot.addEventListener('pointerdown', (event) => {
      if (event.button !== 0) return;
      const which = this.ends.indexOf(event.target as HTMLElement);
      const [a, b] = this.window ?? [0, this.last];
      from = { edge: which < 0 ? edge(event) : which ? a : b, x: event.clientX, keep: which < 0 ? null : which };
      this.plot.setPointerCapture(event.pointerId);
    });
    this.plot.addEventListener('pointermove', (event) => {
      if (!from || !this.plot.hasPointerCapture(event.pointerId)) return;
      if (Math.abs(event.clientX - from.x) < 4 && from.keep === null) return;
      const to = edge(event);
      const window: Window = [Math.min(from.edge, to), Math.max(from.edge, to)];
      if (window[0] !== window[1] && String(window) !== String(this.window)) this.set(window);
    });
    this.plot.addEventListener('pointerup', (event) => {
      if (from?.keep === null && Math.abs(event.clientX - from.x) < 4) this.set([from.edge, from.edge]);
      from = null;
    });
  }

  private draw(): void {
    this.width = this.plot.clientWidth;
    const { edges, total } = this.times;
    const most = Math.max(...total.high, 1);
    const y = (value: number): number => HEIGHT - 1 - (value / most) * (HEIGHT - 14);
    const points = (values: number[]): string[] =>
      values.map((value, edge) => `${this.x(edge).toFixed(1)} ${y(value).toFixed(1)}`);
    const line = `M${points(total.value).join('L')}`;
    const area = `${line}L${this.x(this.last).toFixed(1)} ${HEIGHT}L0 ${HEIGHT}Z`;
    const band = `M${points(total.high).join('L')}L${points(total.low).reverse().join('L')}Z`;
    const svg = document.createElementNS(SVG, 'svg');
    svg.setAttribute('height', String(HEIGHT + 16));
    svg.setAttribute('width', String(this.width));
    svg.setAttribute('aria-hidden', 'true');
    const add = (tag: string, name: string, attributes: Record<string, string | number>, text = ''): void => {
      const made = document.createElementNS(SVG, tag);
      made.setAttribute('class', name);
      for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, String(value));
      made.textContent = text;
      svg.append(made);
    };
    add('path', 'area', { d: area });
    add('path', 'band', { d: band });
    add('path', 'line', { d: line });
    add('line', 'axis', { x1: 0, x2: this.width, y1: HEIGHT - 0.5, y2: HEIGHT - 0.5 });
    add('text', 'most', { x: 8, y: 10 }, size(most));
    for (const moment of ticks(edges[0]!, edges[this.last]!, this.width / TICK)) {
      const x = ((moment - edges[0]!) / (edges[this.last]! - edges[0]!)) * this.width;
      if (x < 24 || x > this.width - 30) continue;
      add('line', 'axis', { x1: x, x2: x, y1: HEIGHT, y2: HEIGHT + 3 });
      add('text', 'tick', { x, y: HEIGHT + 14 }, this.tell(moment));
    }
    this.plot.querySelector('svg')?.remove();
    this.plot.prepend(svg);
    this.place();
  }
}

/** Round times, at most so many. */
export function ticks(since: number, until: number, most: number): number[] {
  const step = LENGTHS.find((length) => (until - since) / length <= most);
  if (!step || !(until > since)) return [];
  const zone = new Date(since).getTimezoneOffset() * 60_000; // days begin at midnight, here
  const made: number[] = [];
  for (let at = Math.ceil((since - zone) / step) * step + zone; at <= until; at += step) made.push(at);
  return made;
}
