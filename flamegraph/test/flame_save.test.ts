import { expect, it } from 'vitest';
import { asText, folded } from '../src/flame_save';
import { ofView } from '../src/flame_shown';
import { Names } from '../src/flame_words';
import { Inverted, Nodes, Upright } from '../src/tree';
import { picture } from './pictures';

const made = picture({
  seed: 2,
  stacks: 50,
  names: ['main', 'a;b', 'new\nline', 'f(int)', '</script>', 'x'.repeat(10_000)],
});
const nodes = new Nodes(made);
const names = new Names(made);
const shown = ofView(nodes, 'allocated');

it('folded stacks add up to all, a line each', async () => {
  const lines = (await folded(new Upright(nodes, shown), names).text()).trimEnd().split('\n');
  const values = lines.map((line) => Number(/ (\d+)$/.exec(line)?.[1]));
  const total = values.reduce((sum, value) => sum + value, 0);
  expect(Math.abs(total - shown.bytes.value[0]!)).toBeLessThan(1e-4 * total);
  expect(new Set(lines.map((line) => line.replace(/ \d+$/, ''))).size).toBe(lines.length);
});

it('a name cannot be taken for two, or for another line', async () => {
  const text = await folded(new Upright(nodes, shown), names).text();
  expect(text).not.toContain('a;b');
  expect(text).toContain('a:b');
  expect(text).toContain('new\\nline');
});

it('a stack as text begins with who asked, whichever way it is looked at', () => {
  const upright = new Upright(nodes, shown);
  let box = 0;
  for (let depth = 0; depth < 5; depth++) box = upright.children(box)[0] ?? box;
  const turned = new Inverted(nodes, shown);
  const [first] = Array.from(turned.children(0));
  expect(asText(upright, box, names).split('\n')[1]).toContain(`#0   ${names.of(box)}`);
  expect(asText(turned, first!, names).split('\n')[1]).toContain(`#0   ${names.of(turned.node(first!))}`);
});
