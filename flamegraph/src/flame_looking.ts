/** How the picture is looked at now: the tree that this makes of it, what is zoomed into, and what is searched for. */

import { type Found, found, search } from './flame_search';
import { ofView, ofWindow } from './flame_shown';
import { type State, boxAt, pathOf } from './flame_state';
import { Inverted, type Nodes, type Tree, Upright } from './tree';

const KEPT = 8; // trees

export class Looking {
  tree: Tree;
  zoomed = 0;
  found: Found | null = null;
  private readonly trees = new Map<string, Tree>();

  constructor(
    private readonly nodes: Nodes,
    public state: State,
  ) {
    this.tree = this.made();
    this.change({});
  }

  /** Returns where a box of the tree before is now, or what it is in. */
  change(state: Partial<State>, box = 0): number {
    const turned = state.inverted !== undefined && state.inverted !== this.state.inverted;
    this.state = { ...this.state, ...state, ...(turned ? { path: [] } : {}) };
    const before = this.tree;
    this.tree = this.made();
    this.zoomed = boxAt(this.tree, this.state.path);
    const lit = search(this.nodes, this.state.search);
    this.found = lit && found(this.nodes, this.tree.shown, lit);
    return before.inverted === this.tree.inverted ? boxAt(this.tree, pathOf(before, box)) : this.zoomed;
  }

  zoom(box: number): void {
    this.zoomed = Math.max(box, 0);
    this.state.path = pathOf(this.tree, this.zoomed);
  }

  private made(): Tree {
    const { view, window, within, inverted } = this.state;
    const key = `${window ? `${window}${within}` : view}/${inverted}`;
    let tree = this.trees.get(key);
    if (!tree) {
      const shown = window ? ofWindow(this.nodes, window, within) : ofView(this.nodes, view);
      tree = inverted ? new Inverted(this.nodes, shown) : new Upright(this.nodes, shown);
      if (this.trees.size >= KEPT) this.trees.clear();
      this.trees.set(key, tree);
    }
    return tree;
  }
}
