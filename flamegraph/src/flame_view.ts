/**
 * The flamegraph: a component that fills its container. On a page of its own (`embedded` is not set) it listens to the
 * keys of the whole page, and the page's address says how it is looked at.
 *
 * It is our own: the kept components (d3-flame-graph, speedscope's) have no room for an interval in a box or for sums of
 * a window, and d3-flame-graph draws an SVG element a box, which 100,000 stacks are too many for.
 */

import { current, onTheme, toggleTheme } from './colour';
import { help, make } from './controls';
import type { Estimate } from './estimate';
import { Access } from './flame_access';
import { Bar, head, legend } from './flame_bar';
import { type Drawn, Stage } from './flame_canvas';
import { Details } from './flame_details';
import { KEYS, type Keys, act } from './flame_keys';
import { type Layout, type Spot, beside, layout, next, spotOf, widest } from './flame_layout';
import { Looking } from './flame_looking';
import { type Look, Painter } from './flame_paint';
import { save } from './flame_save';
import { Pointed } from './flame_pointed';
import { type Asked, type State, asAsked, isKept, keep, read } from './flame_state';
import { Names, formOf } from './flame_words';
import type { Picture } from './picture';
import { Timeline } from './timeline';
import { Nodes, type Tree } from './tree';

export interface Options extends Asked {
  title?: string;
  embedded?: boolean; // in a page that is about something else
}

export interface Flamegraph {
  destroy(): void;
  show(view: string): void;
  /** The widest box drawn of a function, on the screen. */
  at(name: string): { x: number; y: number; width: number; height: number } | null;
  root(): Estimate;
  /** In milliseconds; where both are the same it is a moment. */
  window(): [number, number] | null;
  view(): string;
}

const NARROW = 62; // rem: there is no room for details beside the picture

export function flamegraph(container: HTMLElement, picture: Picture, options: Options = {}): Flamegraph {
  return new View(container, picture, options);
}

class View implements Flamegraph, Keys {
  private readonly nodes: Nodes;
  private readonly names: Names;
  private readonly painter: Painter;
  private readonly element: HTMLElement;
  private readonly bar: Bar;
  private readonly stage: Stage;
  private readonly aside: Details;
  private readonly pointed: Pointed;
  private readonly timeline: Timeline | null = null;
  private readonly keys = help('Keys', KEYS);
  private readonly nothing = make('p', { class: 'nothing faint', hidden: true });
  private readonly usual: State;
  private readonly ends: (() => void)[] = [];
  private readonly looking: Looking;
  private made!: Layout;
  private look!: Look;
  private foot: HTMLElement = make('footer');

  constructor(
    container: HTMLElement,
    private readonly picture: Picture,
    private readonly options: Options,
  ) {
    this.nodes = new Nodes(picture);
    this.names = new Names(picture);
    this.painter = new Painter(this.names);
    this.usual = asAsked(picture, options);
    this.looking = new Looking(this.nodes, options.embedded ? this.usual : this.asLinked());
    this.bar = new Bar(
      picture,
      this.names,
      {
        change: (state) => this.change(state),
        zoom: (box) => this.zoom(box),
        details: (shown) => this.showDetails(shown),
        save: (as) => void save(as, this.seen(), this.names, this.painter, options.title ?? picture.title),
        help: () => this.keys.showModal(),
        next: (by) => this.next(by),
        back: () => this.stage.keys.focus(),
      },
      !!options.embedded,
    );
    this.stage = new Stage(this.painter, {
      hover: (spot, x, y) => this.pointed.hover(spot, x, y),
      click: (spot) => this.click(spot),
      resize: () => this.arrange(),
    });
    this.aside = new Details(
      this.names,
      (box) => this.zoom(box),
      (text) => this.bar.say(text),
    );
    this.pointed = new Pointed(this.stage, this.aside, new Access(this.stage.keys, this.names), this.names);
    if (picture.times && picture.cells && picture.times.edges.length > 1)
      this.timeline = new Timeline(picture, picture.times, (window, within) => this.change({ window, within }));
    this.element = make(
      'section',
      { class: 'flame', 'aria-label': 'Flamegraph' },
      head(picture, options.embedded ? options.title : picture.title, !options.embedded),
      this.bar.element,
      this.timeline?.element,
      this.bar.told,
      this.bar.way,
      make('div', { class: 'body' }, this.stage.element, this.nothing, this.aside.element),
      this.foot,
      ...this.pointed.elements,
      this.keys,
    );
    container.append(this.element);
    this.aside.element.hidden = container.clientWidth < NARROW * rem() || !!options.embedded;
    this.listen();
    this.arrange(this.zoomed);
  }

  destroy(): void {
    this.ends.forEach((end) => end());
    this.stage.destroy();
    this.timeline?.destroy();
    this.element.remove();
  }

  show(view: string): void {
    this.change({ view, window: null });
  }

  root(): Estimate {
    return this.tree.bytes(0);
  }

  window(): [number, number] | null {
    const edges = this.picture.times?.edges;
    if (!edges || !this.state.window) return null;
    const [a, b] = this.state.window;
    return [edges[a]!, edges[b]!];
  }

  at(name: string): { x: number; y: number; width: number; height: number } | null {
    const { names } = this;
    const spot = widest(this.made, this.tree, (node) => names.of(node) === name || names.shortOf(node) === name);
    if (!spot) return null;
    this.stage.reveal(spot.row);
    const place = this.stage.placeOf(spot);
    return place && { x: place.x, y: place.y, width: place.width, height: place.height };
  }

  // Keys

  move(way: 'left' | 'right' | 'up' | 'down' | 'first'): void {
    const vertical = this.state.flame ? ({ up: 'in', down: 'out' } as const) : ({ up: 'out', down: 'in' } as const);
    if (way === 'first') return this.zoom(0);
    const to = beside(this.made, this.pointed.focus, way === 'up' || way === 'down' ? vertical[way] : way);
    if (to) this.pointed.to(to);
  }

  into(): void {
    this.click(this.pointed.focus);
  }

  out(): void {
    if (this.zoomed !== 0) this.zoom(this.tree.parent(this.zoomed));
    else if (this.state.search) this.change({ search: '' });
    else if (this.state.window) this.change({ window: null });
  }

  search(): void {
    this.bar.search.focus();
    this.bar.search.select();
  }

  /** To the next one of the boxes that are drawn and have been searched for. */
  next(by: 1 | -1): void {
    const lit = this.look.lit;
    if (!lit) return;
    const to = next(this.made, this.pointed.focus, by, (box) => lit[this.tree.node(box)] === 1);
    if (to) this.pointed.to(to);
  }

  invert(): void {
    this.change({ inverted: !this.state.inverted });
  }

  flip(): void {
    this.change({ flame: !this.state.flame });
  }

  details(): void {
    this.showDetails(this.aside.element.hidden);
  }

  theme(): void {
    toggleTheme();
  }

  copy(): void {
    void this.aside.copy(this.tree, this.box);
  }

  help(): void {
    this.keys.showModal();
  }

  view(): string;
  view(number: number): void;
  view(number?: number): string | void {
    if (number === undefined) return this.tree.shown.key;
    const view = this.picture.views[number];
    if (view) this.show(view.key);
  }

  // What is looked at

  private get state(): State {
    return this.looking.state;
  }

  private get tree(): Tree {
    return this.looking.tree;
  }

  private get zoomed(): number {
    return this.looking.zoomed;
  }

  /** That the keyboard is at. */
  private get box(): number {
    return this.pointed.box ?? this.zoomed;
  }

  private asLinked(): State {
    return read(location.hash, this.usual, this.picture.times?.edges.length ?? 0);
  }

  private change(state: Partial<State>): void {
    this.arrange(this.looking.change(state, this.box));
  }

  /** Lays out and draws. `focused`: where the keyboard is to be, if that can be seen. */
  private arrange(focused = this.box): void {
    const size = Math.round(rem() * 0.86);
    this.look = {
      scheme: current(),
      size,
      line: size + 8,
      flipped: this.state.flame,
      lit: this.looking.found?.lit ?? null,
    };
    const empty = !(this.tree.value(0) > 0);
    this.stage.element.hidden = empty;
    this.nothing.hidden = !empty;
    if (empty) this.nothing.textContent = this.whyNothing();
    this.made = layout(this.tree, this.zoomed, this.stage.width);
    this.stage.draw(this.seen());
    this.bar.show(this.state, this.tree, this.zoomed, this.looking.found, !this.aside.element.hidden);
    this.timeline?.show(this.state.window, this.state.within);
    const foot = legend(this.picture, this.tree, this.look.scheme);
    this.foot.replaceWith(foot);
    this.foot = foot;
    this.pointed.show(this.seen(), spotOf(this.made, this.tree, focused) ?? { row: this.made.above, at: 0 });
    if (!this.options.embedded) keep(this.state, this.usual);
  }

  private seen(): Drawn {
    return { tree: this.tree, made: this.made, look: this.look };
  }

  private whyNothing(): string {
    const { high } = this.tree.bytes(0);
    const least = high > 0 ? ` There is less than ${formOf(this.tree)(high)}, with 95 % certainty.` : '';
    return `Nothing to draw: no sample is in this view.${least}`;
  }

  private zoom(box: number): void {
    const was = this.zoomed;
    this.looking.zoom(box);
    this.arrange(this.zoomed < was ? was : this.zoomed);
    this.stage.reveal(this.made.above);
  }

  private click(spot: Spot): void {
    this.zoom(this.pointed.boxAt(spot) ?? this.zoomed);
  }

  private showDetails(shown: boolean): void {
    this.aside.element.hidden = !shown;
    this.arrange();
  }

  // The page

  private listen(): void {
    const keys: HTMLElement | Document = this.options.embedded ? this.element : document;
    const on = (target: EventTarget, type: string, then: (event: Event) => void): void => {
      target.addEventListener(type, then);
      this.ends.push(() => target.removeEventListener(type, then));
    };
    on(keys, 'keydown', (event) => {
      if (!this.keys.open && act(event as KeyboardEvent, this, this.stage.keys)) {
        event.preventDefault();
        event.stopPropagation();
      }
    });
    on(this.stage.keys, 'focus', () => this.pointed.mark());
    on(this.stage.keys, 'blur', () => this.pointed.mark());
    this.ends.push(onTheme(() => this.arrange()));
    if (this.options.embedded) return;
    on(window, 'hashchange', () => {
      if (!isKept(this.state, this.usual)) this.change(this.asLinked());
    });
  }
}

const rem = (): number => parseFloat(getComputedStyle(document.documentElement).fontSize);
