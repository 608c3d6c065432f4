/** The stage: a canvas as large as what is seen of it, that scrolls; what is pointed at lies over it, which is cheap. */

import { make } from './controls';
import type { Layout, Spot } from './flame_layout';
import { spotAt } from './flame_layout';
import { type Look, type Painter, heightOf, top } from './flame_paint';
import type { Tree } from './tree';

export interface Drawn {
  tree: Tree;
  made: Layout;
  look: Look;
}

export interface Asked {
  hover(spot: Spot | null, x: number, y: number): void;
  click(spot: Spot): void;
  /** There is another width to be drawn in. */
  resize(): void;
}

export class Stage {
  readonly element = make('div', { class: 'stage' });
  /** Takes the focus, and says what there is to those who don't see it; it is as large as the canvas. */
  readonly keys = make('div', { class: 'boxes-tree', tabindex: 0 });
  private readonly tall = make('div', { class: 'tall' });
  private readonly base = make('canvas', { 'aria-hidden': 'true' });
  private readonly over = make('canvas', { 'aria-hidden': 'true' });
  private readonly observer: ResizeObserver;
  private drawn: Drawn | null = null;
  private waiting = 0;
  private marked: { hover: Spot | null; focus: Spot | null } = { hover: null, focus: null };

  constructor(
    private readonly painter: Painter,
    asked: Asked,
  ) {
    this.tall.append(make('div', { class: 'still' }, this.base, this.over, this.keys));
    this.element.append(this.tall);
    this.element.addEventListener('scroll', () => this.later());
    this.element.addEventListener('pointermove', (event) =>
      asked.hover(this.find(event), event.clientX, event.clientY),
    );
    this.element.addEventListener('pointerleave', () => asked.hover(null, 0, 0));
    this.tall.addEventListener('click', (event) => {
      const spot = this.find(event);
      this.keys.focus({ preventScroll: true });
      if (spot) asked.click(spot);
    });
    let wide = 0;
    this.observer = new ResizeObserver(() => {
      if (this.width !== wide) asked.resize();
      else this.later();
      wide = this.width;
    });
    this.observer.observe(this.element);
  }

  get width(): number {
    return Math.max(this.element.clientWidth, 40);
  }

  /** At the next frame. */
  draw(drawn: Drawn): void {
    const { scrollHeight, scrollTop, clientHeight } = this.element;
    const below = this.drawn?.look.flipped ? scrollHeight - scrollTop - clientHeight : 0;
    this.drawn = drawn;
    this.tall.style.height = `${this.height()}px`;
    // Where the root is at the bottom, that stays where it is.
    if (drawn.look.flipped) this.element.scrollTop = this.element.scrollHeight - clientHeight - below;
    this.later();
  }

  mark(hover: Spot | null, focus: Spot | null): void {
    this.marked = { hover, focus };
    if (!this.waiting) this.outline();
  }

  /** So that the row is seen. */
  reveal(row: number): void {
    if (!this.drawn) return;
    const { look } = this.drawn;
    const y = top(look, row, this.height());
    const { scrollTop, clientHeight } = this.element;
    if (y < scrollTop) this.element.scrollTop = Math.max(y - look.line, 0);
    else if (y + look.line > scrollTop + clientHeight) this.element.scrollTop = y + 2 * look.line - clientHeight;
  }

  /** Where it is, on the screen. */
  placeOf(spot: Spot): DOMRect | null {
    const row = this.drawn?.made.rows[spot.row];
    if (!this.drawn || !row) return null;
    const at = this.element.getBoundingClientRect();
    const y = at.top + top(this.drawn.look, spot.row, this.height()) - this.element.scrollTop;
    return new DOMRect(at.left + row.x[spot.at]!, y, row.width[spot.at]!, this.drawn.look.line);
  }

  destroy(): void {
    this.observer.disconnect();
    cancelAnimationFrame(this.waiting);
  }

  private height(): number {
    const { made, look } = this.drawn!;
    return Math.max(heightOf(made, look), look.flipped ? this.element.clientHeight : 0);
  }

  private find(event: MouseEvent): Spot | null {
    if (!this.drawn) return null;
    const { made, look } = this.drawn;
    const at = this.element.getBoundingClientRect();
    const y = event.clientY - at.top + this.element.scrollTop;
    const row = Math.floor((look.flipped ? this.height() - y : y) / look.line);
    return row >= 0 ? spotAt(made, row, event.clientX - at.left) : null;
  }

  private later(): void {
    this.waiting ||= requestAnimationFrame(() => {
      this.waiting = 0;
      this.now();
    });
  }

  private now(): void {
    if (!this.drawn) return;
    const { tree, made, look } = this.drawn;
    const [width, height] = [this.width, this.element.clientHeight];
    const scale = devicePixelRatio || 1;
    for (const canvas of [this.base, this.over]) {
      if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) {
        canvas.width = Math.round(width * scale);
        canvas.height = Math.round(height * scale);
      }
    }
    for (const each of [this.base, this.over, this.keys]) {
      each.style.width = `${width}px`;
      each.style.height = `${height}px`;
    }
    const on = this.base.getContext('2d', { alpha: false })!;
    on.setTransform(scale, 0, 0, scale, 0, 0);
    this.painter.paint(on, tree, made, look, this.element.scrollTop, height, this.height());
    this.outline();
  }

  /** What the pointer is at, and what the keyboard is at; and where else the same function is. */
  private outline(): void {
    if (!this.drawn) return;
    const { made, look } = this.drawn;
    const on = this.over.getContext('2d')!;
    const scale = devicePixelRatio || 1;
    on.setTransform(scale, 0, 0, scale, 0, 0);
    on.clearRect(0, 0, this.over.width, this.over.height);
    on.strokeStyle = look.scheme.ink;
    const { hover, focus } = this.marked;
    if (hover) {
      on.lineWidth = 1;
      this.same(on, hover);
      on.lineWidth = 2;
      this.frame(on, hover, made);
    }
    if (!focus) return;
    on.lineWidth = 3;
    on.strokeStyle = look.scheme.dark ? '#8fbdf0' : '#1f5fa8';
    this.frame(on, focus, made);
  }

  private same(on: CanvasRenderingContext2D, hover: Spot): void {
    const { tree, made, look } = this.drawn!;
    const { name } = tree.nodes.picture.nodes;
    const here = made.rows[hover.row];
    if (!here || here.smaller[hover.at]) return;
    const wanted = name[tree.node(here.box[hover.at]!)];
    const [begin, end] = [this.element.scrollTop - look.line, this.element.scrollTop + this.element.clientHeight];
    for (let row = made.above + 1; row < made.rows.length; row++) {
      const y = top(look, row, this.height());
      if (y < begin || y > end) continue;
      const { box, smaller, width } = made.rows[row]!;
      for (let at = 0; at < box.length; at++) {
        const is = smaller[at] === 0 && width[at]! > 3 && name[tree.node(box[at]!)] === wanted;
        if (is) this.frame(on, { row, at }, made);
      }
    }
  }

  private frame(on: CanvasRenderingContext2D, { row, at }: Spot, made: Layout): void {
    const here = made.rows[row];
    if (!here || at >= here.box.length) return;
    const { look } = this.drawn!;
    const inside = on.lineWidth / 2;
    const y = top(look, row, this.height()) - this.element.scrollTop;
    const width = Math.max(here.width[at]! - (here.width[at]! > 3 ? 1 : 0), 2);
    on.strokeRect(here.x[at]! + inside, y + inside, width - 2 * inside, look.line - 1 - 2 * inside);
  }
}
