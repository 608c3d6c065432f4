/** What the server tells, as poireau/serve_*.py writes it: one object an event. Times are milliseconds since 1970. */

export interface Estimate {
  value: number;
  ci95: [number, number];
  n: number;
}

/** Bytes: value, low, high, samples. */
export type Point = [number, number, number, number];

export interface Hello {
  version: string;
  host: string;
  user: string;
  root: boolean;
  interval: number; // seconds
  started: number;
  processes_total: number;
}

export interface Process {
  id: string; // PID-START
  pid: number;
  name: string;
  command: string;
  user: string;
  since: number;
  state: 'armed' | 'dormant' | 'silent' | 'ended';
  period: number; // bytes; 0: not known
  governed: boolean;
  live: Estimate | null;
  rss: number | null;
  drops: number;
  lost: number;
  overhead: number | null; // share of its CPU time
  errors: number;
  leaks: number;
  tunable: boolean;
  why_not: string; // it isn't
}

export interface Processes {
  processes: Process[];
  more: number; // that are left out
}

export interface LiveBand {
  key: string;
  name: string;
  function: string;
  file: string;
  line: number;
  module: string;
  colour: number;
}

/** All that there are now; what isn't among them is in `other` from here on. */
export interface Bands {
  id: string;
  by: string;
  bands: LiveBand[];
  reset: boolean; // a history follows; what was before is void
}

export interface History {
  times: number[];
  total: Columns;
  values: Record<string, (Point | null)[]>; // '': all others
}

export interface Columns {
  value: number[];
  low: number[];
  high: number[];
  samples: number[];
}

export interface Change {
  t: number;
  total: Point;
  values: Record<string, Point>; // of bands that have changed
  other: Point;
}

export interface LeakRow {
  verdict: string;
  reason: string;
  function: string;
  file: string;
  line: number;
  where: string[];
  bytes: Estimate;
  rate: { value: number; ci95: [number, number] } | null; // bytes an hour
  known: boolean;
}

export interface Leaks {
  t: number;
  rows: LeakRow[];
  note: string;
}

export interface ErrorRow {
  t: number;
  kind: string;
  message: string;
  thread: string;
  where: string[];
  allocated: string[];
  freed: string[];
  count: number;
}

export interface Errors {
  total: number;
  rows: ErrorRow[]; // the newest first
}

export interface Health {
  period: number;
  governed: boolean;
  samples: number;
  lost: number;
  drops: Record<string, number>;
  overhead: number | null;
  rss: number | null;
  trace_bytes: number | null;
  written: string;
}

export interface Gone {
  id: string;
  why: string;
}

export interface Alert {
  t: number;
  id: string;
  name: string;
  level: 'leak' | 'error';
  text: string;
}

export interface Events {
  hello: Hello;
  processes: Processes;
  bands: Bands;
  history: History;
  point: Change;
  leaks: Leaks;
  errors: Errors;
  health: Health;
  gone: Gone;
  alert: Alert;
}

export interface Command {
  id: string;
  action: 'set' | 'arm' | 'disarm' | 'flush';
  name?: string;
  value?: string;
}

export interface Answer {
  ok: boolean;
  text: string;
}
