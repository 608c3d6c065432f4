/** The boxes as elements for those who don't see the canvas: where the keyboard is, the way there, and what is in it. */

import { fill, make } from './controls';
import { type Names, line } from './flame_words';
import type { Tree } from './tree';

const MOST = 40; // boxes in one, told

let trees = 0;

export class Access {
  private readonly id = `box-${++trees}`;

  /** `stage` takes the focus. */
  constructor(
    private readonly stage: HTMLElement,
    private readonly names: Names,
  ) {
    stage.setAttribute('role', 'tree');
    stage.setAttribute('aria-label', 'Stacks');
  }

  show(tree: Tree, box: number): void {
    const path: number[] = [];
    for (let at = box; at >= 0; at = tree.parent(at)) path.unshift(at);
    const children = Array.from(tree.children(box));
    const items = path.map((each, depth) => {
      const beside = depth ? tree.children(tree.parent(each)) : [each];
      const within = { size: beside.length, at: Array.prototype.indexOf.call(beside, each) + 1 };
      const here = depth === path.length - 1;
      return this.item(tree, each, depth + 1, within, here, !here || children.length > 0);
    });
    const below = children
      .slice(0, MOST)
      .map((each, at) => this.item(tree, each, path.length + 1, { size: children.length, at: at + 1 }, false, false));
    fill(this.stage, ...items, ...below);
    this.stage.setAttribute('aria-activedescendant', this.id);
  }

  private item(
    tree: Tree,
    box: number,
    level: number,
    within: { size: number; at: number },
    here: boolean,
    open: boolean,
  ): HTMLElement {
    return make(
      'div',
      {
        role: 'treeitem',
        class: 'unseen',
        id: here ? this.id : undefined,
        'aria-level': level,
        'aria-setsize': within.size,
        'aria-posinset': within.at,
        'aria-selected': String(here),
        'aria-expanded': open ? 'true' : tree.children(box).length ? 'false' : undefined,
      },
      line(tree, this.names, box),
    );
  }
}
