/** Everything about one box, as text that can be selected: its figures, the way to it, and what is in it. */

import { button, copy, fill, make } from './controls';
import { share } from './format';
import { asText } from './flame_save';
import { type Names, line, stackOf, told } from './flame_words';
import type { Tree } from './tree';

const MOST = 12; // boxes in it

export class Details {
  readonly element = make('aside', { class: 'details', role: 'region', 'aria-label': 'Details', tabindex: 0 });

  /** `go`: zooms into a box; `say`: tells what was done. */
  constructor(
    private readonly names: Names,
    private readonly go: (box: number) => void,
    private readonly say: (text: string) => void,
  ) {}

  show(tree: Tree, box: number): void {
    if (this.element.hidden) return;
    const node = tree.node(box);
    const { names } = this;
    const where = [names.file(node), names.module(node), names.inlined(node) ? 'inlined into its caller' : ''];
    const figures = told(tree, box).map(([what, figure]) => [
      make('dt', {}, what),
      make('dd', { class: 'number' }, figure),
    ]);
    const way = box === 0 ? [] : stackOf(tree, tree.parent(box)).reverse();
    fill(
      this.element,
      make('h2', { class: 'name' }, box === 0 ? 'All of it' : names.of(node)),
      ...(box === 0 ? [] : where.filter(Boolean).map((text) => make('p', { class: 'faint small name' }, text))),
      make('dl', { class: 'figures' }, ...figures.flat()),
      box !== 0 &&
        make(
          'p',
          { class: 'toolbar' },
          button('Zoom in', () => this.go(box)),
          button('Copy stack', () => this.copy(tree, box)),
        ),
      ...this.list(
        tree,
        box === 0 ? 'Largest in it' : tree.inverted ? 'Called by' : 'Calls',
        Array.from(tree.children(box)),
      ),
      ...this.list(tree, tree.inverted ? 'On its way to' : 'Called by', tree.inverted ? way.reverse() : way),
    );
    this.element.scrollTop = 0;
  }

  async copy(tree: Tree, box: number): Promise<void> {
    const done = await copy(asText(tree, box, this.names));
    this.say(done ? 'The stack is copied.' : 'The browser does not let us copy.');
  }

  private list(tree: Tree, title: string, boxes: number[]): HTMLElement[] {
    if (!boxes.length) return [];
    const rows = boxes.slice(0, title === 'Called by' && !tree.inverted ? 200 : MOST).map((box) => {
      const node = tree.node(box);
      const name = button(this.names.shortOf(node), () => this.go(box), {
        class: 'link name',
        title: line(tree, this.names, box),
      });
      const place = make('span', { class: 'faint small' }, this.names.place(node));
      const part = share(tree.value(box), tree.value(0));
      return make('li', {}, make('span', { class: 'number' }, part), make('span', {}, name, ' ', place));
    });
    const left = boxes.length - rows.length;
    if (left > 0)
      rows.push(make('li', { class: 'faint small' }, make('span'), `and ${left.toLocaleString('en')} more`));
    return [make('h3', {}, title), make('ol', { class: 'boxes' }, ...rows)];
  }
}
