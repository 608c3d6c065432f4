/** What a page is about, as poireau/report/picture_data.py writes it (schema poireau.picture), and how it comes. */

/** Sums of samples; interval() in estimate.ts makes an estimate of them. Columns of the same length. */
export interface Sums {
  value: number[];
  variance: number[];
  third: number[];
  seen: number[];
  samples: number[];
  unit: number[];
}

/** Estimates at each of some rows: `row` says whose, where not all have one. */
export interface Figures {
  value: number[];
  low: number[];
  high: number[];
  samples: number[];
}

/** What can be drawn of each node: bytes (or byte-seconds) and blocks. */
export interface View {
  key: string; // in-use, allocated, freed, leaked, peak, byte-seconds, average; or change, of a diff
  name: string; // as it is told: "in use at the end"
  unit: 'bytes' | 'byte-seconds';
  note: string; // what else is to be known: when the peak was, how leaks are told; may be empty
  row: number[]; // nodes that have any of it, in order
  bytes: Figures;
  count: Figures;
}

/** A tree, a row a node: a function at a line, of one way to it. Row 0 is all; a node comes after its parent. */
export interface Nodes {
  parent: number[];
  name: number[]; // in `names`, as are file and module
  file: number[];
  line: number[]; // 0: none
  module: number[];
  kind: number[]; // Kind
  others: number[]; // of kind SMALLER, how many nodes it stands for
  colour: number[]; // 0 to 31, of colours.py: one a function
}

export enum Kind {
  CODE,
  INLINED, // into its parent
  SMALLER, // what is too small for nodes of its own
  UNKNOWN, // no stack was found
}

/** What was allocated when and freed when, of each node where stacks end: sums for each pair of times between edges. */
export interface Cells extends Sums {
  node: number[];
  born: number[]; // in edges[i]..edges[i + 1]; -1: before the first
  gone: number[]; // the same; edges.length - 1: not by the end
}

export interface Times {
  edges: number[]; // milliseconds since 1970, at least two; what is in use at each is `total`
  total: Figures;
}

export interface Change {
  names: [string, string]; // what is compared: before, after
  /** Of nodes in `row`: by how much more, the interval, and whether that is more than chance (of all, 5 % are not). */
  row: number[];
  before: number[];
  after: number[];
  value: number[];
  low: number[];
  high: number[];
  significant: boolean[];
}

export interface Picture {
  schema: 'poireau.picture';
  version: 1;
  title: string; // "redis-server[123]"
  lines: string[]; // period, samples, lost, own cost; complaints
  names: string[];
  nodes: Nodes;
  views: View[];
  shown: string; // the key of the view to begin with
  inverted: boolean; // to begin with
  times: Times | null; // null: of folded stacks
  cells: Cells | null;
  change: Change | null;
  period: number; // bytes, the longest; 1: all were taken
}

export interface Band {
  name: string;
  function: string;
  file: string;
  line: number;
  module: string;
  colour: number; // as of nodes; -1: all others
  node: number; // of the picture, where it begins; -1: none
  bytes: Figures; // at each time
}

export interface Streams {
  schema: 'poireau.streams';
  version: 1;
  title: string;
  lines: string[];
  times: number[]; // milliseconds since 1970
  total: Figures;
  by: { key: string; name: string; bands: Band[]; others: number }[]; // the first one is shown first
  wiggle: boolean;
  picture: Picture | null; // to click into: what was in use at a moment, by its cells
}

/** The element <script type="text/plain" id="data">: gzip in base64, so that nothing in it is ever markup. */
export async function embedded<T>(id = 'data'): Promise<T> {
  const text = document.getElementById(id)?.textContent?.trim() ?? '';
  const bytes = atob(text);
  const packed = new Uint8Array(bytes.length);
  for (let at = 0; at < bytes.length; at++) packed[at] = bytes.charCodeAt(at);
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream('gzip'));
  return (await new Response(stream).json()) as T;
}
