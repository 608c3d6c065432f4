/** Pictures of programs that never were, as the Python side would write them. The same seed makes the same picture. */

import { add, interval, nothing, type Totals } from '../src/estimate';
import { type Cells, type Figures, Kind, type Nodes, type Picture, type View } from '../src/picture';

export interface Wanted {
  seed?: number;
  stacks?: number;
  samples?: number; // of each stack, about
  period?: number;
  depth?: number;
  edges?: number;
  names?: readonly string[]; // of functions
}

export function random(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

const WORDS = [
  'read',
  'parse',
  'index',
  'merge',
  'load',
  'encode',
  'cache',
  'flush',
  'plan',
  'scan',
  'reply',
  'commit',
];
const THINGS = [
  'Query',
  'Block',
  'Table',
  'Session',
  'Request',
  'Buffer',
  'Segment',
  'Row',
  'Key',
  'Cursor',
  'Page',
  'Tree',
];
const MODULES = [
  '/usr/bin/server',
  '/usr/lib/libstorage.so.4',
  '/usr/lib/x86_64-linux-gnu/libstdc++.so.6',
  '/usr/lib/libssl.so.3',
];

function functionNames(count: number, next: () => number): string[] {
  const pick = <T>(from: readonly T[]): T => from[Math.floor(next() * from.length)]!;
  return Array.from({ length: count }, (_, at) => {
    const [verb, thing] = [pick(WORDS), pick(THINGS)];
    if (at % 5 === 0) return `${verb}_${thing.toLowerCase()}_${at}`;
    const type = `std::vector<storage::${pick(THINGS)}, std::allocator<storage::${pick(THINGS)}> >`;
    return `storage::${thing}${at}::${verb}(${at % 3 ? `${type} const&, unsigned long` : ''})${at % 2 ? ' const' : ''}`;
  });
}

interface Sample {
  node: number;
  size: number;
  born: number;
  gone: number; // edges - 1: not by the end
}

export function picture(wanted: Wanted = {}): Picture {
  const { seed = 1, stacks = 300, samples = 6, period = 65_536, depth = 24, edges = 60 } = wanted;
  const next = random(seed);
  const functions = wanted.names ?? functionNames(Math.min(Math.max(stacks, 40), 6000), next);
  const files = Array.from({ length: 40 }, (_, at) => `/src/storage/${WORDS[at % 12]}_${at}.cc`);
  const names = ['', ...functions, ...files, ...MODULES];
  const nodes: Nodes = {
    parent: [0],
    name: [0],
    file: [0],
    line: [0],
    module: [0],
    kind: [0],
    others: [0],
    colour: [-1],
  };
  const below = new Map<string, number>();
  const child = (parent: number, number: number): number => {
    const key = `${parent}/${number}`;
    let found = below.get(key);
    if (found === undefined) {
      below.set(key, (found = nodes.parent.length));
      nodes.parent.push(parent);
      nodes.name.push(1 + number);
      nodes.file.push(1 + functions.length + (number % files.length));
      nodes.line.push(10 + ((number * 7) % 900));
      nodes.module.push(1 + functions.length + files.length + (number % MODULES.length));
      nodes.kind.push(number % 7 === 3 ? Kind.INLINED : Kind.CODE);
      nodes.others.push(0);
      nodes.colour.push((number * 13) % 32);
    }
    return found;
  };
  const taken: Sample[] = [];
  const ends: number[] = [];
  for (let stack = 0; stack < stacks; stack++) {
    // As programs do: many share the way in, few what is deep.
    const from = stack && next() < 0.9 ? ends[Math.floor(next() ** 2 * ends.length)]! : 0;
    let at = from;
    const up = Math.floor(next() * 6);
    for (let step = 0; step < up && at; step++) at = nodes.parent[at]!;
    const length = from ? 1 + Math.floor(next() * 4) : Math.floor(depth * (0.5 + next() / 2));
    for (let step = 0; step < length; step++) at = child(at, Math.floor(next() ** 2 * functions.length));
    ends.push(at);
    const many = Math.max(1, Math.floor(-Math.log(next()) * samples));
    for (let number = 0; number < many; number++) {
      const born = Math.floor(next() * edges) - 1;
      const gone =
        next() < 0.3 ? edges - 1 : Math.min(Math.max(born, 0) + Math.floor(-Math.log(next()) * 8), edges - 1);
      taken.push({ node: at, size: Math.ceil(16 * Math.exp(next() * 9)), born, gone });
    }
  }
  const begin = Date.UTC(2026, 3, 14, 9, 26, 53);
  const times = Array.from({ length: edges }, (_, at) => begin + at * 5000);
  const held = (sample: Sample, at: number): number => Number(sample.born < at && sample.gone >= at);
  const view = (key: string, name: string, weight: (sample: Sample) => number, note = ''): View =>
    drawn({ key, name, note, unit: key === 'byte-seconds' ? 'byte-seconds' : 'bytes' }, taken, nodes, period, weight);
  return {
    schema: 'poireau.picture',
    version: 1,
    title: 'storaged[4711]',
    lines: [
      'Linux, 5 min from 09:26:53; a sample every 64KiB',
      `${taken.length} samples of ${stacks} stacks, none lost; own cost 0.4 % of a core`,
    ],
    names,
    nodes,
    views: [
      view('in-use', 'in use at the end', (sample) => held(sample, edges - 1)),
      view('peak', 'at the peak', (sample) => held(sample, Math.floor(edges / 2)), 'the peak was at 09:29:23'),
      view('allocated', 'allocated', (sample) => Number(sample.born >= 0)),
      view('freed', 'freed', (sample) => Number(sample.gone < edges - 1)),
      view(
        'leaked',
        'leaked',
        (sample) => Number(sample.gone === edges - 1 && sample.node % 11 === 0),
        'nothing points to it any more',
      ),
      view('byte-seconds', 'byte-seconds', (sample) => 5 * (sample.gone - Math.max(sample.born, 0) + 1)),
      view('average', 'in use on average', (sample) => (sample.gone - Math.max(sample.born, 0) + 1) / edges),
    ],
    shown: 'in-use',
    inverted: false,
    times: { edges: times, total: overTime(taken, edges, period) },
    cells: cellsOf(taken, period),
    change: null,
    period,
  };
}

/** The same, before and after. */
export function difference(wanted: Wanted = {}): Picture {
  const made = picture(wanted);
  const [before, after] = [made.views[1]!, made.views[0]!];
  const side = (view: View): Map<number, number> => new Map(view.row.map((node, row) => [node, row]));
  const [here, there] = [side(before), side(after)];
  const rows = [...new Set([...before.row, ...after.row])].sort((a, b) => a - b);
  const of = (view: View, row: number | undefined, column: keyof Figures): number =>
    row === undefined ? 0 : view.bytes[column][row]!;
  const change: NonNullable<Picture['change']> = {
    names: ['monday', 'tuesday'],
    row: rows,
    before: [],
    after: [],
    value: [],
    low: [],
    high: [],
    significant: [],
  };
  const both: Figures = { value: [], low: [], high: [], samples: [] };
  for (const node of rows) {
    const [a, b] = [of(before, here.get(node), 'value'), of(after, there.get(node), 'value')];
    const reach = [before, after].map((view, number) => {
      const row = (number ? there : here).get(node);
      return (of(view, row, 'high') - of(view, row, 'low')) / 2;
    });
    const apart = Math.hypot(...reach);
    change.before.push(a);
    change.after.push(b);
    change.value.push(b - a);
    change.low.push(b - a - apart);
    change.high.push(b - a + apart);
    change.significant.push(Math.abs(b - a) > apart);
    both.value.push(a + b);
    both.low.push(a + b);
    both.high.push(a + b);
    both.samples.push(of(before, here.get(node), 'samples') + of(after, there.get(node), 'samples'));
  }
  const view: View = {
    key: 'change',
    name: 'change',
    unit: 'bytes',
    note: '',
    row: rows,
    bytes: both,
    count: { value: [], low: [], high: [], samples: [] },
  };
  return {
    ...made,
    title: 'monday and tuesday',
    views: [view, ...made.views.slice(0, 2)],
    shown: 'change',
    change,
    times: null,
    cells: null,
  };
}

/** Of nothing at all. */
export function empty(): Picture {
  const made = picture({ stacks: 1, samples: 1 });
  const none = { value: [], low: [], high: [], samples: [] };
  const nodes = Object.fromEntries(
    Object.entries(made.nodes).map(([key, column]) => [key, column.slice(0, 1)]),
  ) as unknown as Nodes;
  const views = made.views.map((view) => ({
    ...view,
    row: [0],
    bytes: { value: [0], low: [0], high: [3 * made.period], samples: [0] },
    count: { ...none, value: [0], low: [0], high: [0], samples: [0] },
  }));
  return { ...made, nodes, views, times: null, cells: null };
}

function sumInto(sums: Totals, at: number, size: number, period: number, y: number): void {
  const chance = period > 1 ? -Math.expm1(-size / period) : 1;
  const w = y / chance;
  const e = w - y;
  add(
    sums,
    at,
    {
      value: [w],
      variance: [e * w],
      third: [e * e * w],
      seen: [y],
      samples: [1],
      unit: [period > 1 ? (y / size) * period : 0],
    },
    0,
  );
}

function drawn(
  told: Pick<View, 'key' | 'name' | 'note' | 'unit'>,
  taken: Sample[],
  nodes: Nodes,
  period: number,
  weight: (sample: Sample) => number,
): View {
  const [bytes, count] = [nothing(nodes.parent.length), nothing(nodes.parent.length)];
  for (const sample of taken) {
    const by = weight(sample);
    if (!by) continue;
    sumInto(bytes, sample.node, sample.size, period, sample.size * by);
    sumInto(count, sample.node, sample.size, period, by);
  }
  for (const sums of [bytes, count])
    for (let node = nodes.parent.length - 1; node > 0; node--) add(sums, nodes.parent[node]!, sums, node);
  const row = nodes.parent.flatMap((_, node) => (bytes.samples[node]! > 0 ? [node] : []));
  return { ...told, row, bytes: figures(bytes, row), count: figures(count, row) };
}

function figures(sums: Totals, row: number[]): Figures {
  const each = row.map((node) => interval(sums, node));
  const column = (key: keyof Figures): number[] =>
    each.map((one) => (key === 'samples' ? one.samples : Math.round(one[key])));
  return { value: column('value'), low: column('low'), high: column('high'), samples: column('samples') };
}

function overTime(taken: Sample[], edges: number, period: number): Figures {
  const sums = nothing(edges);
  for (const sample of taken)
    for (let at = Math.max(sample.born + 1, 0); at <= sample.gone && at < edges; at++)
      sumInto(sums, at, sample.size, period, sample.size);
  return figures(
    sums,
    Array.from({ length: edges }, (_, at) => at),
  );
}

function cellsOf(taken: Sample[], period: number): Cells {
  const rows = new Map<string, number>();
  for (const { node, born, gone } of taken)
    if (!rows.has(`${node} ${born} ${gone}`)) rows.set(`${node} ${born} ${gone}`, rows.size);
  const sums = nothing(rows.size);
  for (const { node, born, gone, size } of taken)
    sumInto(sums, rows.get(`${node} ${born} ${gone}`)!, size, period, size);
  const keys = [...rows.keys()].map((key) => key.split(' ').map(Number) as [number, number, number]);
  const columns = Object.fromEntries(
    Object.entries(sums).map(([key, column]) => [key, Array.from(column, Math.round)]),
  ) as unknown as Cells;
  return {
    ...columns,
    node: keys.map(([node]) => node),
    born: keys.map(([, born]) => born),
    gone: keys.map(([, , gone]) => gone),
  };
}
