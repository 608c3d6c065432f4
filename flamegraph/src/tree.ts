/** The tree that is drawn: from the outermost function inwards (Upright), or from who asked for memory (Inverted). */

import { type Estimate, type Estimates, at_, likely, varianceOf } from './estimate';
import { Kind, type Picture } from './picture';

/** What is drawn of it: a view of the picture, or what was allocated in a window. A row a node of the picture. */
export interface Shown {
  key: string;
  name: string;
  unit: 'bytes' | 'byte-seconds';
  note: string;
  bytes: Estimates;
  count: Estimates | null; // null: it isn't known
}

export interface Changed {
  before: number;
  after: number;
  value: number;
  low: number;
  high: number;
  significant: boolean;
}

/** Boxes have numbers from 0, which is all. A box has one more than its parent, or less, but is asked for after it. */
export interface Tree {
  readonly nodes: Nodes;
  readonly shown: Shown;
  readonly inverted: boolean;
  /** The node of the picture that says what it is. */
  node(box: number): number;
  /** -1: none. */
  parent(box: number): number;
  /** The largest first, what is smaller last; only those that there is something of. */
  children(box: number): ArrayLike<number>;
  value(box: number): number;
  bytes(box: number): Estimate;
  count(box: number): Estimate | null;
  changed(box: number): Changed | null;
}

/** What the trees of all views have in common. */
export class Nodes {
  readonly size: number;
  readonly others: Uint8Array; // 1: of those that come last
  private readonly begins: Int32Array;
  private readonly below: Int32Array;
  private identities: Int32Array | null = null;

  constructor(readonly picture: Picture) {
    const { parent, kind } = picture.nodes;
    this.size = parent.length;
    this.others = Uint8Array.from(kind, (each) => (each === Kind.SMALLER || each === Kind.UNKNOWN ? 1 : 0));
    this.begins = new Int32Array(this.size + 1);
    for (let node = 1; node < this.size; node++) this.begins[parent[node]! + 1]!++;
    for (let node = 0; node < this.size; node++) this.begins[node + 1]! += this.begins[node]!;
    const next = this.begins.slice();
    this.below = new Int32Array(Math.max(this.size - 1, 0));
    for (let node = 1; node < this.size; node++) this.below[next[parent[node]!]!++] = node;
  }

  children(node: number): Int32Array {
    return this.below.subarray(this.begins[node], this.begins[node + 1]);
  }

  /** The same number for nodes that are one function at one line. */
  get identity(): Int32Array {
    if (this.identities) return this.identities;
    const { name, file, line, kind } = this.picture.nodes;
    let numbers = Int32Array.from(name);
    for (const column of [file, line, kind]) {
      const known = new Map<number, number>();
      numbers = numbers.map((number, node) => {
        const pair = number * 2 ** 26 + (column[node]! % 2 ** 26);
        let found = known.get(pair);
        if (found === undefined) known.set(pair, (found = known.size));
        return found;
      });
    }
    return (this.identities = numbers);
  }
}

export class Upright implements Tree {
  readonly inverted = false;
  private readonly ordered = new Map<number, Int32Array>();
  private readonly changes: Int32Array | null;

  constructor(
    readonly nodes: Nodes,
    readonly shown: Shown,
  ) {
    this.changes = rowsOfChange(nodes);
  }

  node(box: number): number {
    return box;
  }

  parent(box: number): number {
    return box === 0 ? -1 : this.nodes.picture.nodes.parent[box]!;
  }

  children(box: number): Int32Array {
    let found = this.ordered.get(box);
    if (!found) {
      const { value, high } = this.shown.bytes;
      found = this.nodes.children(box).filter((node) => value[node]! > 0 || high[node]! > 0);
      const { others } = this.nodes;
      if (found.length > 1) found.sort((a, b) => others[a]! - others[b]! || value[b]! - value[a]! || a - b);
      this.ordered.set(box, found);
    }
    return found;
  }

  value(box: number): number {
    return this.shown.bytes.value[box]!;
  }

  bytes(box: number): Estimate {
    return at_(this.shown.bytes, box);
  }

  count(box: number): Estimate | null {
    return this.shown.count && at_(this.shown.count, box);
  }

  changed(box: number): Changed | null {
    const row = this.changes?.[box] ?? -1;
    const change = this.nodes.picture.change;
    if (!change || row < 0) return null;
    const { before, after, value, low, high, significant } = change;
    return {
      before: before[row]!,
      after: after[row]!,
      value: value[row]!,
      low: low[row]!,
      high: high[row]!,
      significant: significant[row]!,
    };
  }
}

/** Of each node, its row in the picture's change; -1: none. */
function rowsOfChange(nodes: Nodes): Int32Array | null {
  const change = nodes.picture.change;
  if (!change) return null;
  const rows = new Int32Array(nodes.size).fill(-1);
  change.row.forEach((node, row) => (rows[node] = row));
  return rows;
}

/** Sums of what ends in a node itself: figures less those of the nodes below it. Variances are what ends tell. */
interface Own {
  value: Float64Array;
  variance: Float64Array;
  samples: Float64Array;
}

/**
 * A box is a way from where memory was asked for outwards, and what all stacks have that end so. It is made when it is
 * first asked for. Figures add up; how uncertain they are is told from the intervals of the picture, as if all samples
 * of a box were alike.
 */
export class Inverted implements Tree {
  readonly inverted = true;
  private readonly of: number[] = [0];
  private readonly above: number[] = [-1];
  private readonly found: (number[] | undefined)[] = [];
  private readonly ends: Int32Array[];
  private readonly at: Int32Array[]; // where each of the ends' stacks has come to
  private readonly sizes: number[];
  private readonly upright: Upright;
  private readonly ownBytes: Own;
  private readonly ownCount: Own | null;

  constructor(
    readonly nodes: Nodes,
    readonly shown: Shown,
  ) {
    this.upright = new Upright(nodes, shown);
    this.ownBytes = own(nodes, shown.bytes);
    this.ownCount = shown.count && own(nodes, shown.count);
    const { value } = this.ownBytes;
    const ends = new Int32Array(nodes.size).map((_, node) => node).filter((node) => node > 0 && value[node]! > 0);
    this.ends = [ends];
    this.at = [ends];
    this.sizes = [shown.bytes.value[0] ?? 0];
  }

  node(box: number): number {
    return this.of[box]!;
  }

  parent(box: number): number {
    return this.above[box]!;
  }

  children(box: number): number[] {
    return (this.found[box] ??= this.expand(box));
  }

  value(box: number): number {
    return this.sizes[box]!;
  }

  bytes(box: number): Estimate {
    return box === 0 ? this.upright.bytes(0) : this.sum(this.ownBytes, box);
  }

  count(box: number): Estimate | null {
    return box === 0 || !this.ownCount ? this.upright.count(0) : this.sum(this.ownCount, box);
  }

  /** More than chance: what is left of both sides, taken by itself. */
  changed(box: number): Changed | null {
    if (box === 0 || !this.nodes.picture.change) return this.upright.changed(0);
    const total = { before: 0, after: 0, value: 0, variance: 0 };
    for (const end of this.ends[box]!) {
      const parts = [end, ...this.nodes.children(end)].map((node) => this.upright.changed(node));
      parts.forEach((part, number) => {
        if (!part) return;
        const sign = number === 0 ? 1 : -1;
        for (const key of ['before', 'after', 'value'] as const) total[key] += sign * part[key];
        total.variance += sign * ((part.high - part.low) / 3.92) ** 2;
      });
    }
    const reach = 1.96 * Math.sqrt(Math.max(total.variance, 0));
    const { before, after, value } = total;
    const significant = Math.abs(value) > reach;
    return { before, after, value, low: value - reach, high: value + reach, significant };
  }

  private sum(of: Own, box: number): Estimate {
    let [value, variance, samples] = [0, 0, 0];
    for (const end of this.ends[box]!) {
      value += of.value[end]!;
      variance += of.variance[end]!;
      samples += of.samples[end]!;
    }
    return likely(value, variance, samples);
  }

  private expand(box: number): number[] {
    const { identity, picture, others } = this.nodes;
    const [ends, at] = [this.ends[box]!, this.at[box]!];
    const groups = new Map<number, number[]>();
    for (let number = 0; number < ends.length; number++) {
      const node = box === 0 ? at[number]! : picture.nodes.parent[at[number]!]!;
      if (node === 0) continue;
      const group = groups.get(identity[node]!);
      if (group) group.push(number);
      else groups.set(identity[node]!, [number]);
    }
    const made: number[] = [];
    for (const group of groups.values()) {
      const child = this.of.length;
      const own = Int32Array.from(group, (number) => ends[number]!);
      const here = Int32Array.from(group, (number) => (box === 0 ? at[number]! : picture.nodes.parent[at[number]!]!));
      this.of.push(here[0]!);
      this.above.push(box);
      this.ends.push(own);
      this.at.push(here);
      this.sizes.push(own.reduce((total, end) => total + this.ownBytes.value[end]!, 0));
      made.push(child);
    }
    const last = (child: number): number => others[this.of[child]!]!;
    return made.sort((a, b) => last(a) - last(b) || this.sizes[b]! - this.sizes[a]! || a - b);
  }
}

function own(nodes: Nodes, figures: Estimates): Own {
  const { parent } = nodes.picture.nodes;
  const { value, low, samples } = figures;
  const [left, rest] = [value.slice(), samples.slice()];
  const variance = value.map((each, node) => varianceOf(each, low[node]!));
  const spread = variance.slice();
  for (let node = nodes.size - 1; node > 0; node--) {
    left[parent[node]!]! -= value[node]!;
    rest[parent[node]!]! -= samples[node]!;
    spread[parent[node]!]! -= variance[node]!;
  }
  const ends: Own = { value: new Float64Array(nodes.size), variance: new Float64Array(nodes.size), samples: rest };
  for (let node = 0; node < nodes.size; node++) {
    // What differs by rounding only is nothing.
    const there = samples[node]! > 0 ? rest[node]! > 0 : left[node]! > 1e-6 * value[node]!;
    if (!there || !(left[node]! > 0)) continue;
    ends.value[node] = left[node]!;
    ends.variance[node] = Math.max(spread[node]!, 0);
  }
  return ends;
}
