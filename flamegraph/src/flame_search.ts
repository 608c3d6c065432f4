/** What is searched for: names of functions, files and modules, by a regular expression if it is one. */

import { type Estimate, likely, varianceOf } from './estimate';
import { Kind } from './picture';
import type { Nodes, Shown } from './tree';

export interface Found {
  lit: Uint8Array; // 1: nodes that have it
  boxes: number; // of those that there is something of
  all: Estimate; // of the stacks that go through any of them
}

/** Small letters stand for capital ones as well. What isn't an expression is searched for as it is. */
export function expression(text: string): RegExp {
  const flags = text === text.toLowerCase() ? 'iu' : 'u';
  try {
    return new RegExp(text, flags);
  } catch {
    return new RegExp(
      text.replace(/[.*+?^${}()|[\]\\/-]/g, (each) => `\\${each}`),
      flags,
    );
  }
}

/** A Uint8Array a node; null: nothing is searched for. */
export function search(nodes: Nodes, text: string): Uint8Array | null {
  if (!text) return null;
  const wanted = expression(text);
  const names = Uint8Array.from(nodes.picture.names, (name) => (wanted.test(name) ? 1 : 0));
  const { name, file, module, kind } = nodes.picture.nodes;
  return Uint8Array.from(name, (each, node) =>
    node > 0 && kind[node] !== Kind.SMALLER
      ? names[each]! | (names[file[node]!] ?? 0) | (names[module[node]!] ?? 0)
      : 0,
  );
}

/** Each stack is counted once, however often it is in it. */
export function found(nodes: Nodes, shown: Shown, lit: Uint8Array): Found {
  const { parent } = nodes.picture.nodes;
  const { value, low, samples } = shown.bytes;
  const within = new Uint8Array(nodes.size);
  let [boxes, total, variance, number] = [0, 0, 0, 0];
  for (let node = 1; node < nodes.size; node++) {
    const above = within[parent[node]!]!;
    within[node] = above | lit[node]!;
    if (!lit[node] || !(value[node]! > 0)) continue;
    boxes++;
    if (above) continue;
    total += value[node]!;
    variance += varianceOf(value[node]!, low[node]!);
    number += samples[node]!;
  }
  return { lit, boxes, all: likely(total, variance, number) };
}
