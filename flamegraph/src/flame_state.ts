/** How a flamegraph is looked at, as a link says it after its `#`. */

import { WITHIN, type Window, type Within, edgeAt } from './flame_shown';
import type { Picture } from './picture';
import type { Tree } from './tree';

export interface State {
  view: string;
  inverted: boolean;
  flame: boolean; // the root is at the bottom
  search: string;
  path: string[]; // to what is zoomed into: a step a box, the same in every view
  window: Window | null;
  within: Within;
}

/** Whoever opens it may ask for. */
export interface Asked {
  moment?: number; // milliseconds: what was in use then
  window?: [number, number]; // milliseconds: what was allocated in it and is still held at its end
}

export function asAsked(picture: Picture, { moment, window }: Asked): State {
  const wanted = moment === undefined ? window : ([moment, moment] as const);
  return {
    view: picture.shown,
    inverted: picture.inverted,
    flame: false,
    search: '',
    path: [],
    window: wanted && picture.times ? [edgeAt(picture, wanted[0]), edgeAt(picture, wanted[1])] : null,
    within: 'held',
  };
}

export function written(state: State, usual: State): string {
  const said = new URLSearchParams();
  if (state.view !== usual.view) said.set('view', state.view);
  if (state.inverted !== usual.inverted) said.set('inverted', String(Number(state.inverted)));
  if (state.flame !== usual.flame) said.set('flame', String(Number(state.flame)));
  if (state.search) said.set('search', state.search);
  if (state.path.length) said.set('at', state.path.join('-'));
  if (state.window) said.set('window', state.window.join('-'));
  if (state.window && state.within !== usual.within) said.set('shows', state.within);
  return said.toString();
}

/** The page's address says so. */
export const isKept = (state: State, usual: State): boolean => location.hash.slice(1) === written(state, usual);

/** In the page's address. */
export function keep(state: State, usual: State): void {
  if (isKept(state, usual)) return;
  const hash = written(state, usual);
  try {
    history.replaceState(null, '', hash ? `#${hash}` : location.pathname + location.search);
  } catch {
    // A page without an address.
  }
}

/** What isn't there, or makes no sense, is as usual. `edges`: of the picture's times. */
export function read(hash: string, usual: State, edges: number): State {
  const said = new URLSearchParams(hash.replace(/^#/, ''));
  const flag = (name: string, otherwise: boolean): boolean => (said.has(name) ? said.get(name) === '1' : otherwise);
  const window = /^(\d{1,9})-(\d{1,9})$/
    .exec(said.get('window') ?? '')
    ?.slice(1)
    .map(Number);
  const [a, b] = window ?? [1, 0];
  const within = said.get('shows') as Within;
  return {
    view: said.get('view') ?? usual.view,
    inverted: flag('inverted', usual.inverted),
    flame: flag('flame', usual.flame),
    search: said.get('search') ?? usual.search,
    path: said.get('at')?.split('-') ?? [],
    window: a! <= b! && b! < edges ? [a!, b!] : usual.window,
    within: WITHIN.includes(within) ? within : usual.within,
  };
}

/** What a box is, among those beside it. */
function step(tree: Tree, box: number): string {
  const node = tree.node(box);
  const { name, line, kind } = tree.nodes.picture.nodes;
  return [name[node]!, line[node]!, kind[node]!].map((each) => each.toString(36)).join('.');
}

export function pathOf(tree: Tree, box: number): string[] {
  const path: string[] = [];
  for (let at = box; at > 0; at = tree.parent(at)) path.unshift(step(tree, at));
  return path;
}

/** As far as there is such a way. */
export function boxAt(tree: Tree, path: readonly string[]): number {
  let box = 0;
  for (const wanted of path) {
    const next = Array.from(tree.children(box)).find((child) => step(tree, child) === wanted);
    if (next === undefined) return box;
    box = next;
  }
  return box;
}
