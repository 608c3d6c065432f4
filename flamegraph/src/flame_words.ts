/** What is told of a box, wherever: beside the pointer, in the details, to screen readers, in files. */

import {
  type Form,
  asWritten,
  between,
  byteSeconds,
  counted,
  number,
  place,
  plain,
  qualified,
  share,
  size,
  whole,
} from './format';
import { Kind, type Picture } from './picture';
import type { Estimate } from './estimate';
import type { Changed, Tree } from './tree';

export const toldSmaller = (boxes: number): string => `${boxes.toLocaleString('en')} smaller`;

export const formOf = (tree: Tree): Form => (tree.shown.unit === 'byte-seconds' ? byteSeconds : size);

/** Names are looked at often, and seldom new. */
export class Names {
  private readonly written = new Map<number, string>();
  private readonly short = new Map<number, string>();

  constructor(readonly picture: Picture) {}

  /** The whole one. */
  of(node: number): string {
    if (node === 0) return 'all';
    const { kind, others, name } = this.picture.nodes;
    if (kind[node] === Kind.SMALLER) return toldSmaller(others[node]!);
    return remembered(this.written, name[node]!, () => asWritten(this.picture.names[name[node]!] ?? '') || '(no name)');
  }

  /** Without its arguments. */
  shortOf(node: number): string {
    if (node === 0 || this.picture.nodes.kind[node] === Kind.SMALLER) return this.of(node);
    return remembered(this.short, this.picture.nodes.name[node]!, () => qualified(this.of(node)));
  }

  /** config.cc:123; empty: it isn't known. */
  place(node: number): string {
    const { file, line } = this.picture.nodes;
    return place(this.picture.names[file[node]!] ?? '', line[node]!);
  }

  /** As a debugger has it: the whole path. */
  file(node: number): string {
    const { file, line } = this.picture.nodes;
    const name = plain(this.picture.names[file[node]!] ?? '');
    return name && line[node] ? `${name}:${line[node]}` : name;
  }

  module(node: number): string {
    return plain(this.picture.names[this.picture.nodes.module[node]!] ?? '');
  }

  inlined(node: number): boolean {
    return this.picture.nodes.kind[node] === Kind.INLINED;
  }
}

function remembered(known: Map<number, string>, key: number, make: () => string): string {
  let found = known.get(key);
  if (found === undefined) known.set(key, (found = make()));
  return found;
}

/** A row each: what it is, and what is told. */
export function told(tree: Tree, box: number): [string, string][] {
  const form = formOf(tree);
  const bytes = tree.bytes(box);
  const parent = tree.parent(box);
  const changed = tree.shown.key === 'change' ? tree.changed(box) : null;
  if (changed) return toldChange(changed, form);
  const rows: [string, string][] = [
    [tree.shown.unit === 'byte-seconds' ? 'Byte-seconds' : 'Bytes', form(bytes.value)],
    ['95 % interval', within(bytes, form)],
  ];
  const count = tree.count(box);
  if (count) rows.push(['Blocks', whole(count.value, count.low, count.high, number)]);
  if (bytes.samples) rows.push(['Samples', number(bytes.samples)]);
  if (parent >= 0) rows.push(['Of all', share(bytes.value, tree.value(0))]);
  if (parent > 0)
    rows.push([tree.inverted ? 'Of what it called' : 'Of its caller', share(bytes.value, tree.value(parent))]);
  const other = tree.changed(box);
  return other ? [...rows, ['Change', changeOf(other, form)]] : rows;
}

function toldChange(changed: Changed, form: Form): [string, string][] {
  return [
    ['Before', form(changed.before)],
    ['After', form(changed.after)],
    ['Change', changeOf(changed, form)],
    ['95 % interval', `${signed(changed.low, form)} to ${signed(changed.high, form)}`],
  ];
}

export function changeOf(changed: Changed, form: Form): string {
  const ratio = changed.before > 0 && changed.after > 0 ? `, ×${number(changed.after / changed.before)}` : '';
  return `${signed(changed.value, form)}${ratio}${changed.significant ? '' : ' (may be chance)'}`;
}

const signed = (value: number, form: Form): string => (value > 0 ? `+${form(value)}` : form(value).replace('-', '−'));

export function within(one: Estimate, form: Form): string {
  if (one.low === one.high) return 'exact';
  const apart = between(one.value, one.low, one.high, form);
  if (apart.startsWith('<')) return `less than ${form(one.high)}`;
  return `${form(one.low, one.value)} to ${form(one.high, one.value)}`;
}

/** In a line: `rdbSave, 4.51MiB ± 0.30MiB, 12.3 %, 145 samples`. */
export function line(tree: Tree, names: Names, box: number): string {
  const { value, low, high, samples } = tree.bytes(box);
  const changed = tree.shown.key === 'change' ? tree.changed(box) : null;
  const figure = changed ? changeOf(changed, formOf(tree)) : whole(value, low, high, formOf(tree));
  const parts = [names.of(tree.node(box)), figure, share(value, tree.value(0))];
  if (samples) parts.push(counted(samples, 'sample'));
  return parts.join(', ');
}

/** From the outermost function inwards, as they call each other. */
export function stackOf(tree: Tree, box: number): number[] {
  const path: number[] = [];
  for (let at = box; at > 0; at = tree.parent(at)) path.push(at);
  return tree.inverted ? path : path.reverse();
}
