import { describe, expect, it } from 'vitest';
import { edgeAt, ofView, ofWindow } from '../src/flame_shown';
import { Nodes } from '../src/tree';
import { empty, picture } from './pictures';

const made = picture({ seed: 9, stacks: 80, samples: 10, edges: 30 });
const nodes = new Nodes(made);
const last = made.times!.edges.length - 1;
const near = (found: number, wanted: number): void =>
  expect(Math.abs(found - wanted)).toBeLessThan(1e-4 * Math.abs(wanted) + 10);

describe('a window', () => {
  it('what is in use at its end is what was at its beginning, and what it allocated, less what it freed', () => {
    for (const [a, b] of [
      [0, last],
      [3, 17],
      [10, 11],
    ] as const)
      for (let node = 0; node < nodes.size; node += 7) {
        const of = (at: number): number => ofWindow(nodes, [at, at], 'held').bytes.value[node]!;
        const [allocated, freed] = (['allocated', 'freed'] as const).map(
          (within) => ofWindow(nodes, [a, b], within).bytes.value[node]!,
        );
        near(of(a) + allocated! - freed!, of(b));
      }
  }, 20_000);

  it('that ends where all ends has held what it keeps', () => {
    const [held, kept] = (['held', 'kept'] as const).map((within) => ofWindow(nodes, [5, last], within).bytes);
    expect(held).toEqual(kept);
  });

  it('has the figures of the picture at a moment, with their intervals', () => {
    const moment = ofWindow(nodes, [last, last], 'held').bytes;
    const { bytes } = ofView(nodes, 'in-use');
    for (let node = 0; node < nodes.size; node++) {
      near(moment.value[node]!, bytes.value[node]!);
      near(moment.high[node]!, bytes.high[node]!);
      expect(moment.samples[node]).toBe(bytes.samples[node]);
    }
  });

  it('that nothing was in has less than three periods', () => {
    const none = new Nodes({
      ...empty(),
      times: made.times,
      cells: { ...made.cells!, node: [], born: [], gone: [], value: [] },
    });
    const { value, high } = ofWindow(none, [2, 4], 'allocated').bytes;
    expect([value[0], high[0]]).toEqual([0, 3 * made.period]);
  });
});

it('the edge of a moment is the one that is nearest', () => {
  const { edges } = made.times!;
  edges.forEach((moment, edge) =>
    expect([edgeAt(made, moment), edgeAt(made, moment + 1), edgeAt(made, moment - 1)]).toEqual([edge, edge, edge]),
  );
  expect([edgeAt(made, 0), edgeAt(made, Infinity)]).toEqual([0, last]);
});
