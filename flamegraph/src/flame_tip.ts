/** What floats beside the pointer: what the box there is. */

import { fill, make } from './controls';
import { share, shortened } from './format';
import { type Names, formOf, told } from './flame_words';
import type { Tree } from './tree';

const APART = 16; // pixels from the pointer

export class Tip {
  readonly element = make('div', { class: 'tip', role: 'tooltip', hidden: true });
  private of: string | null = null;

  constructor(private readonly names: Names) {}

  hide(): void {
    this.element.hidden = true;
    this.of = null;
  }

  /** `smaller`: so many of the box's own that are drawn as one. */
  show(tree: Tree, box: number, smaller: number, x: number, y: number): void {
    const of = `${box}/${smaller}`;
    if (this.of !== of || this.element.hidden) {
      fill(this.element, ...(smaller ? this.several(tree, box, smaller) : this.one(tree, box)));
      this.element.hidden = false;
      this.of = of;
    }
    const { width, height } = this.element.getBoundingClientRect();
    const left = x + APART + width > innerWidth ? Math.max(x - APART - width, 4) : x + APART;
    const top = y + APART + height > innerHeight ? Math.max(y - APART - height, 4) : y + APART;
    this.element.style.transform = `translate(${Math.round(left)}px, ${Math.round(top)}px)`;
  }

  private one(tree: Tree, box: number): Node[] {
    const { names } = this;
    const node = tree.node(box);
    const where = [names.place(node), names.module(node), names.inlined(node) ? 'inlined' : ''].filter(Boolean);
    const figures = told(tree, box).map(([what, figure]) => [
      make('dt', {}, what),
      make('dd', { class: 'number' }, figure),
    ]);
    return [
      make('strong', { class: 'name' }, shortened(names.of(node))),
      ...(box && where.length ? [make('p', { class: 'faint small name' }, where.join(' · '))] : []),
      make('dl', { class: 'figures' }, ...figures.flat()),
    ];
  }

  private several(tree: Tree, box: number, smaller: number): Node[] {
    const narrow = Array.from(tree.children(box)).slice(-smaller);
    const value = narrow.reduce((total, child) => total + tree.value(child), 0);
    const all = `${formOf(tree)(value)}, ${share(value, tree.value(0))} of all.`;
    const into = `Click to zoom into ${shortened(this.names.shortOf(tree.node(box)), 80)}.`;
    return [
      make('strong', {}, `${smaller.toLocaleString('en')} too small to be seen here`),
      make('p', {}, all, ' ', into),
    ];
  }
}
