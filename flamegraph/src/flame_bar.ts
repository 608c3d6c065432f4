/** What is above and below the picture: the controls, what is shown, where we have zoomed to, and what colours mean. */

import type { Scheme } from './colour';
import { type Choice, button, choose, fill, make, menu, press, themeButton, toggle } from './controls';
import { asSize, number, plain, share, whole } from './format';
import { type Names, changeOf, formOf } from './flame_words';
import { FADING, DOUBTED, DOUBTFUL } from './flame_paint';
import type { Found } from './flame_search';
import type { State } from './flame_state';
import type { Picture } from './picture';
import type { Tree } from './tree';

const FEW = 20; // samples say little; picture_text.py has the same
const ADVICE = 'say little; a shorter period takes more: poireau ctl PID set sample_period 64KiB, or run --period';
const WINDOW = 'window';

export interface Wanted {
  change(state: Partial<State>): void;
  zoom(box: number): void;
  details(shown: boolean): void;
  save(as: 'svg' | 'png' | 'folded'): void;
  help(): void;
  next(by: 1 | -1): void;
  back(): void;
}

export class Bar {
  readonly element: HTMLElement;
  readonly told = make('p', { class: 'told' });
  readonly way = make('nav', { class: 'way small', 'aria-label': 'Zoomed', hidden: true });
  readonly search = make('input', {
    type: 'search',
    'aria-label': 'Search',
    placeholder: 'Search   /',
    spellcheck: 'false',
  });
  readonly status = make('span', { class: 'faint small', role: 'status' });
  private readonly view: HTMLSelectElement;
  private readonly inverted: HTMLButtonElement;
  private readonly flame: HTMLButtonElement;
  private readonly details: HTMLButtonElement;

  constructor(
    private readonly picture: Picture,
    private readonly names: Names,
    private readonly wanted: Wanted,
    embedded: boolean,
  ) {
    const views: Choice[] = picture.views.map(({ key, name }) => ({ value: key, name }));
    if (picture.times) views.push({ value: WINDOW, name: 'of a window' });
    this.view = choose('View', views, (view) => wanted.change({ view, window: null }));
    this.inverted = toggle('Invert', 'i', false, (inverted) => wanted.change({ inverted }));
    this.flame = toggle('Icicle or flame', 'f', false, (flame) => wanted.change({ flame }));
    this.details = toggle('Details', 'd', true, (shown) => wanted.details(shown));
    this.flame.setAttribute('aria-label', 'Icicle or flame');
    this.search.addEventListener('input', () => wanted.change({ search: this.search.value }));
    this.search.addEventListener('keydown', (event) => {
      if (event.key === 'Escape' && !this.search.value) wanted.back();
      if (event.key === 'Escape') wanted.change({ search: '' });
      if (event.key === 'Enter') wanted.next(event.shiftKey ? -1 : 1);
      if (event.key === 'Escape' || event.key === 'Enter') event.preventDefault();
    });
    const save = menu('Save', [
      ['Save SVG', () => wanted.save('svg')],
      ['Save PNG', () => wanted.save('png')],
      ['Save folded', () => wanted.save('folded')],
    ]);
    const ask = button('?', () => wanted.help(), { 'aria-label': 'Keys', title: 'Keys (?)' });
    this.element = make(
      'div',
      { class: 'toolbar' },
      this.view,
      this.inverted,
      this.flame,
      this.search,
      this.status,
      make('span', { class: 'gap' }),
      this.details,
      save,
      ...(embedded ? [] : [themeButton(), ask]), // the page around it has its own
    );
  }

  show(state: State, tree: Tree, zoomed: number, found: Found | null, details: boolean): void {
    const windowed = this.view.querySelector<HTMLOptionElement>(`option[value=${WINDOW}]`);
    if (windowed) windowed.hidden = !state.window;
    this.view.value = state.window ? WINDOW : tree.shown.key;
    press(this.inverted, state.inverted);
    press(this.flame, state.flame);
    press(this.details, details);
    this.flame.textContent = state.flame ? 'Flame' : 'Icicle';
    if (this.search.value !== state.search) this.search.value = state.search;
    const said = found
      ? `${number(found.boxes)} box${found.boxes === 1 ? '' : 'es'}, ${share(found.all.value, tree.value(0)) || '0 %'}`
      : '';
    if (this.status.textContent !== said) this.status.textContent = said;
    this.tell(tree);
    this.zoom(tree, zoomed);
  }

  /** Until there is something else to be said. */
  say(text: string): void {
    this.status.textContent = text;
  }

  private tell(tree: Tree): void {
    const { value, low, high, samples } = tree.bytes(0);
    const form = formOf(tree);
    const changed = tree.shown.key === 'change' ? tree.changed(0) : null;
    const total = changed
      ? `${form(changed.before)} → ${form(changed.after)}`
      : value || high
        ? whole(value, low, high, form)
        : form(0);
    const count = tree.count(0);
    const said = [changed ? changeOf(changed, form) : tree.shown.name];
    if (count && !changed) said.push(`${whole(count.value, count.low, count.high, number)} blocks`);
    if (samples && !changed) said.push(`${number(samples)} sample${samples === 1 ? '' : 's'}`);
    if (tree.shown.note) said.push(tree.shown.note);
    const uncertain = this.picture.period > 1 && samples > 0 && samples < FEW;
    fill(
      this.told,
      make('strong', { class: 'total number', 'data-value': String(changed ? changed.value : value) }, total),
      make('span', { class: 'number' }, said.join(' · ')),
      uncertain && make('span', { class: 'warn' }, `So few samples ${ADVICE}`),
    );
  }

  private zoom(tree: Tree, zoomed: number): void {
    const path: number[] = [];
    for (let at = zoomed; at >= 0; at = tree.parent(at)) path.unshift(at);
    this.way.hidden = path.length < 2;
    if (this.way.hidden) return fill(this.way);
    const part = share(tree.value(zoomed), tree.value(0));
    const buttons = path.map((box, depth) => {
      const here = depth === path.length - 1;
      const name = this.names.shortOf(tree.node(box));
      return button(name, () => this.wanted.zoom(box), {
        class: 'link name',
        ...(here ? { 'aria-current': 'true' } : {}),
      });
    });
    fill(this.way, ...buttons, make('span', { class: 'number faint' }, `${part} of all`));
  }
}

/** Null: there is nothing to be said. `lines`: what else is to be known. */
export function head(picture: Picture, title: string | undefined, lines: boolean): HTMLElement | null {
  if (title === undefined) return null;
  const more = lines ? picture.lines.map(plain).join(' · ') : '';
  return make('header', {}, make('h1', {}, plain(title)), more && make('p', { class: 'faint small lines' }, more));
}

export function legend(picture: Picture, tree: Tree, { of, changed, rest, rule }: Scheme): HTMLElement {
  const key = (text: string, fills: readonly string[], look = ''): HTMLElement => {
    const sample = make('i', { class: `key ${look}` });
    const [step, last] = [100 / fills.length, fills.length - 1];
    const stops = fills.map((fill, at) => `${fill} ${at * step}% ${(at + 1) * step}%`);
    if (look) sample.style.setProperty('--fill', fills[0]!);
    else sample.style.background = last ? `linear-gradient(90deg, ${stops.join(', ')})` : fills[0]!;
    return make('span', {}, sample, text);
  };
  const from = (part: number): string => `from ±\u202f${part * 100}\u202f%`;
  const way = tree.inverted ? 'Who asked for memory comes first, then its callers' : 'Callers come first';
  const parts = [make('span', {}, `${way}. As wide as it is large.`)];
  if (tree.shown.key === 'change') {
    const grow = (sign: 1 | -1): string[] =>
      [1.05, 1.2, 2, 9].map((by) => (sign > 0 ? changed(1, by, true) : changed(by, 1, true)));
    parts.push(key('more than before', grow(1)), key('less', grow(-1)), key('may be chance', [rule]));
  } else {
    parts.push(key('one colour a function', [0, 4, 8].map(of)));
    if (picture.period > 1)
      parts.push(
        key(from(FADING), [of(0)], 'fading'),
        key(from(DOUBTFUL), [of(0)], 'doubtful'),
        key(from(DOUBTED), [of(0)], 'doubted'),
      );
  }
  parts.push(key('smaller ones, or no stack', [rest]), make('span', {}, make('em', {}, 'slanted'), ': inlined'));
  if (picture.period > 1) parts.push(make('span', {}, `a sample every ${asSize(picture.period)}`));
  return make('footer', { class: 'legend small faint' }, ...parts);
}
