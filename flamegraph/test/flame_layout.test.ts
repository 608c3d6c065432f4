import { describe, expect, it } from 'vitest';
import { beside, layout, spotAt, spotOf } from '../src/flame_layout';
import { found, search } from '../src/flame_search';
import { ofView } from '../src/flame_shown';
import { type State, boxAt, pathOf, read, written } from '../src/flame_state';
import { Inverted, Nodes, type Tree, Upright } from '../src/tree';
import { ticks } from '../src/timeline';
import { picture } from './pictures';

const made = picture({ seed: 21, stacks: 400 });
const nodes = new Nodes(made);
const shown = ofView(nodes, 'in-use');
const trees: Tree[] = [new Upright(nodes, shown), new Inverted(nodes, shown)];

describe.each(trees)('boxes', (tree) => {
  const all = layout(tree, 0, 1000);

  it('are in the one above them, from left to right, and none is on another', () => {
    for (let row = 1; row < all.rows.length; row++) {
      const { x, width } = all.rows[row]!;
      for (let at = 0; at < x.length; at++) {
        const above = spotAt(all, row - 1, x[at]! + Math.min(width[at]! / 2, 0.1))!;
        const outer = all.rows[row - 1]!;
        expect(above).not.toBeNull();
        expect(x[at]! + width[at]!).toBeLessThanOrEqual(outer.x[above.at]! + outer.width[above.at]! + 1e-6);
        if (at) expect(x[at]).toBeGreaterThanOrEqual(x[at - 1]! + width[at - 1]! - 1e-9);
      }
    }
  });

  it('are as wide as they are large', () => {
    for (const { box, width, smaller } of all.rows)
      box.forEach((each, at) => {
        if (smaller[at]) return;
        expect(Math.abs(width[at]! - (tree.value(each) / tree.value(0)) * 1000)).toBeLessThan(0.01);
      });
  });

  it('are all there, by themselves or among what is smaller', () => {
    for (let row = 0; row + 1 < all.rows.length; row++)
      all.rows[row]!.box.forEach((box, at) => {
        if (all.rows[row]!.smaller[at] || all.rows[row]!.width[at]! < 3) return;
        const children = tree.children(box);
        let told = 0;
        all.rows[row + 1]!.box.forEach((each, at) => {
          const { smaller } = all.rows[row + 1]!;
          if (smaller[at] ? each === box : tree.parent(each) === box) told += smaller[at] || 1;
        });
        const left = Array.from(children)
          .slice(told)
          .reduce((sum, child) => sum + tree.value(child), 0);
        expect((left / tree.value(0)) * 1000).toBeLessThan(0.5);
      });
  });

  it('what is zoomed into is as wide as all, and below what it is in', () => {
    const box = tree.children(tree.children(0)[0]!)[0]!;
    const zoomed = layout(tree, box, 1000);
    expect(zoomed.above).toBe(2);
    expect(zoomed.rows.slice(0, 3).map(({ width }) => width)).toEqual([[1000], [1000], [1000]]);
    expect(spotOf(zoomed, tree, box)).toEqual({ row: 2, at: 0 });
  });

  it('keys go to those beside, and back', () => {
    const root = { row: 0, at: 0 };
    const inner = beside(all, root, 'in')!;
    expect(beside(all, inner, 'out')).toEqual(root);
    const right = beside(all, inner, 'right')!;
    expect(beside(all, right, 'left')).toEqual(inner);
    expect(beside(all, inner, 'left')).toBeNull();
    expect(beside(all, root, 'out')).toBeNull();
  });

  it('a way to a box leads there', () => {
    for (const { box, smaller } of all.rows)
      box.forEach((each, at) => !smaller[at] && expect(boxAt(tree, pathOf(tree, each))).toBe(each));
    expect(boxAt(tree, ['zz.zz.zz'])).toBe(0);
  });
});

describe('what is searched for', () => {
  const [tree] = trees;
  it('counts each stack once', () => {
    const lit = search(nodes, '.')!;
    const { all, boxes } = found(nodes, shown, lit);
    expect(Math.abs(all.value - tree!.value(0))).toBeLessThan(1e-3 * tree!.value(0));
    expect(boxes).toBe(made.views[0]!.row.length - 1);
  });

  it('may be no expression', () => {
    expect(search(nodes, '(((')!.some(Boolean)).toBe(false);
    expect(search(nodes, '')).toBeNull();
    expect(search(nodes, 'STORAGE::')!.some(Boolean)).toBe(false);
    expect(search(nodes, 'storage::')!.some(Boolean)).toBe(true);
  });
});

describe('the address', () => {
  const usual: State = {
    view: 'in-use',
    inverted: false,
    flame: false,
    search: '',
    path: [],
    window: null,
    within: 'held',
  };

  it('says how it is looked at, and nothing that is as usual', () => {
    const state: State = {
      view: 'freed',
      inverted: true,
      flame: true,
      search: 'a&b=#c',
      path: ['1.2.0', 'zz.0.1'],
      window: [3, 9],
      within: 'kept',
    };
    expect(read(`#${written(state, usual)}`, usual, 20)).toEqual(state);
    expect(written(usual, usual)).toBe('');
  });

  it('that makes no sense is as usual', () => {
    for (const hash of ['#window=9-3', '#window=3-99', '#window=a', '#shows=what', '#inverted=maybe', '#%%%'])
      expect(read(hash, usual, 20)).toEqual(usual);
  });
});

it('ticks are round, in the span, and no more than asked for', () => {
  for (const [since, span, most] of [
    [0, 1, 5],
    [123_456, 4321, 8],
    [1.7e12, 40_000, 11],
    [1.7e12, 9e8, 7],
    [1.7e12, 0, 7],
  ] as const) {
    const found = ticks(since, since + span, most);
    expect(found.length).toBeLessThanOrEqual(most + 1);
    for (const at of found) expect(at >= since && at <= since + span).toBe(true);
  }
});
