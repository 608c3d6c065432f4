import { describe, expect, it } from 'vitest';
import { ofView } from '../src/flame_shown';
import { add, interval, nothing } from '../src/estimate';
import { Inverted, Nodes, type Tree, Upright } from '../src/tree';
import { difference, picture, random } from './pictures';

const made = picture({ seed: 3, stacks: 200, samples: 12 });
const nodes = new Nodes(made);
const shown = ofView(nodes, 'in-use');

function boxes(tree: Tree): number[] {
  const found = [0];
  for (let at = 0; at < found.length; at++) found.push(...Array.from(tree.children(found[at]!)));
  return found;
}

for (const tree of [new Upright(nodes, shown), new Inverted(nodes, shown)] as const) {
  const all = boxes(tree);
  describe(tree.inverted ? 'a tree from who asked outwards' : 'a tree from main inwards', () => {
    it('has no box that is larger than what it is in', () => {
      for (const box of all) {
        const within = Array.from(tree.children(box)).reduce((total, child) => total + tree.value(child), 0);
        expect(within).toBeLessThanOrEqual(tree.value(box) * 1.0001 + 1);
      }
    });

    it('has the largest first', () => {
      for (const box of all) {
        const sizes = Array.from(tree.children(box), (child) => tree.value(child));
        expect(sizes).toEqual([...sizes].sort((a, b) => b - a));
      }
    });

    it('knows the way back', () => {
      for (const box of all) for (const child of Array.from(tree.children(box))) expect(tree.parent(child)).toBe(box);
    });

    it('has figures within their intervals', () => {
      for (const box of all) {
        const { value, low, high } = tree.bytes(box);
        expect(low <= value && value <= high, String(box)).toBe(true);
        expect(Math.abs(value - tree.value(box))).toBeLessThan(1e-6 * value + 1e-6);
      }
    });
  });
}

describe('inverted', () => {
  const tree = new Inverted(nodes, shown);

  it('the functions that asked have all there is between them', () => {
    const total = Array.from(tree.children(0)).reduce((sum, box) => sum + tree.value(box), 0);
    expect(Math.abs(total - tree.value(0))).toBeLessThan(1e-3 * tree.value(0));
    const samples = Array.from(tree.children(0)).reduce((sum, box) => sum + tree.bytes(box).samples, 0);
    expect(samples).toBe(tree.bytes(0).samples);
  });

  it('no function is beside itself', () => {
    for (const box of boxes(tree)) {
      const names = Array.from(tree.children(box), (child) => nodes.identity[tree.node(child)]);
      expect(new Set(names).size).toBe(names.length);
    }
  });

  it('is about as uncertain as it would be from the samples themselves', () => {
    const next = random(5);
    const sums = nothing(2);
    const parts = [
      [0.2, 300],
      [0.5, 40],
      [0.3, 90],
    ] as const;
    const figures = parts.map(([size, samples]) => {
      const own = nothing(1);
      for (let number = 0; number < samples; number++) {
        const bytes = 65_536 * size * (0.5 + next());
        const w = bytes / -Math.expm1(-bytes / 65_536);
        const one = {
          value: [w],
          variance: [(w - bytes) * w],
          third: [(w - bytes) ** 2 * w],
          seen: [bytes],
          samples: [1],
          unit: [65_536],
        };
        add(own, 0, one, 0);
        add(sums, 0, one, 0);
      }
      return interval(own, 0);
    });
    // Three ways to one function: main -> a -> f, main -> b -> f, main -> c -> f.
    const column = (of: 'value' | 'low' | 'high' | 'samples'): number[] => {
      const each = figures.map((one) => one[of]);
      const all = interval(sums, 0)[of];
      return [all, ...each.flatMap((one) => [one, one])];
    };
    const bytes = { value: column('value'), low: column('low'), high: column('high'), samples: column('samples') };
    const zeros = [0, 0, 0, 0, 0, 0, 0];
    const small = new Nodes({
      ...made,
      names: ['', 'a', 'b', 'c', 'f'],
      nodes: {
        parent: [0, 0, 1, 0, 3, 0, 5],
        name: [0, 1, 4, 2, 4, 3, 4],
        file: zeros,
        line: zeros,
        module: zeros,
        kind: zeros,
        others: zeros,
        colour: zeros,
      },
      views: [
        {
          key: 'in-use',
          name: '',
          unit: 'bytes',
          note: '',
          row: [0, 1, 2, 3, 4, 5, 6],
          bytes,
          count: { value: [], low: [], high: [], samples: [] },
        },
      ],
    });
    const turned = new Inverted(small, ofView(small, 'in-use'));
    expect(turned.children(0).length).toBe(1);
    const found = turned.bytes(turned.children(0)[0]!);
    const wanted = interval(sums, 0);
    expect(Math.abs(found.value - wanted.value)).toBeLessThan(1e-6 * wanted.value);
    expect(Math.abs(found.low - wanted.low)).toBeLessThan(0.1 * (wanted.high - wanted.low));
    expect(Math.abs(found.high - wanted.high)).toBeLessThan(0.1 * (wanted.high - wanted.low));
  });

  it('what has changed adds up as well', () => {
    const changed = new Nodes(difference({ seed: 4, stacks: 60 }));
    const turned = new Inverted(changed, ofView(changed, 'change'));
    const all = turned.changed(0)!;
    let total = 0;
    for (const box of turned.children(0)) total += turned.changed(box)!.value;
    expect(Math.abs(total - all.value)).toBeLessThan(1e-3 * (all.before + all.after));
  });
});
