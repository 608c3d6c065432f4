/** What is known of a process besides its stream: leaks, errors, how the library does; and alerts of all processes. */
import { make } from './controls';
import { between, clock, number, place, qualified, size, whole } from './format';
import { period } from './live_processes';
import type { Alert, ErrorRow, Errors, Health, LeakRow, Leaks } from './live_types';
import { attribute, named, say } from './stream_dom';

export const MOST_LEAKS = 200;
export const MOST_ERRORS = 100;
export const MOST_ALERTS = 200;
const MOST_FRAMES = 40;

const text = (found: string): HTMLElement => make('span', { class: 'name' }, named(found, 1000));
const frames = (title: string, where: readonly string[]): HTMLElement[] =>
  where.length
    ? [make('h3', {}, title), make('ol', { class: 'frames' }, ...where.slice(0, MOST_FRAMES).map((each) => make('li', {}, text(each))))]
    : [];

function table(label: string, heads: readonly string[], numbers: readonly string[]): { whole: HTMLTableElement; body: HTMLElement } {
  const body = make('tbody');
  const cells = heads.map((head) => make('th', { scope: 'col', class: numbers.includes(head) ? 'number' : '' }, head));
  return { whole: make('table', { 'aria-label': label }, make('thead', {}, make('tr', {}, ...cells)), body), body };
}

/** Told again and again, mostly the same: rows that say what they said are left alone, with what is open in them. */
class Rows<T> {
  private kept = new Map<string, HTMLTableRowElement>();

  constructor(
    private readonly body: HTMLElement,
    private readonly row: (of: T) => HTMLTableRowElement,
  ) {}

  show(all: readonly T[]): void {
    const next = new Map<string, HTMLTableRowElement>();
    for (const each of all) {
      const says = JSON.stringify(each);
      next.set(says, this.kept.get(says) ?? this.row(each));
    }
    const rows = [...next.values()];
    const same = rows.length === this.body.children.length && rows.every((row, i) => this.body.children[i] === row);
    if (!same) this.body.replaceChildren(...rows);
    this.kept = next;
  }
}

/** The function and where it is; what called it, when it is opened. */
function site(of: { function: string; file: string; line: number; where: readonly string[] }): HTMLElement {
  const name = named(qualified(of.function) || of.where[0] || 'unknown', 160);
  const head = [make('span', { class: 'name' }, name), ' ', make('span', { class: 'faint small' }, place(of.file, of.line))];
  if (of.where.length < 2) return make('div', {}, ...head);
  return make('details', {}, make('summary', {}, ...head), ...frames('Called by', of.where));
}

export class LeakTable {
  readonly element = make('div');
  private readonly note = make('p', { class: 'faint small' });
  private readonly table = table('Leaks', ['Verdict', 'Where', 'Held', 'Grows', 'Why'], ['Held', 'Grows']);
  private readonly rows = new Rows<LeakRow>(this.table.body, leakRow);

  constructor() {
    this.element.append(this.table.whole, this.note);
    this.clear();
  }

  show({ t, rows, note }: Leaks): void {
    const shown = rows.slice(0, MOST_LEAKS);
    this.rows.show(shown);
    this.table.whole.hidden = shown.length === 0;
    const none = rows.length ? '' : 'Nothing looks like a leak. ';
    const left = rows.length > shown.length ? ` ${number(rows.length - shown.length)} more are left out.` : '';
    say(this.note, `${none}As of ${clock(t)}.${left} ${named(note, 600)}`.trim());
  }

  clear(): void {
    this.rows.show([]);
    this.table.whole.hidden = true;
    say(this.note, 'Leaks are told from what stays: that takes some time to see.');
  }
}

function leakRow(of: LeakRow): HTMLTableRowElement {
  const verdict = make('td', { class: `verdict ${/^(leak|unreachable|grow)/i.test(of.verdict) && !of.known ? 'warn' : ''}` }, text(of.verdict));
  if (of.known) verdict.append(' ', make('span', { class: 'faint small' }, 'known'));
  const { rate } = of;
  const grows = rate ? `${size(rate.value)}/h` : '';
  return make(
    'tr',
    {},
    verdict,
    make('td', {}, site(of)),
    make('td', { class: 'number' }, whole(of.bytes.value, ...of.bytes.ci95), samples(of.bytes.n)),
    make('td', { class: 'number' }, grows, make('div', { class: 'faint small' }, rate ? between(rate.value, ...rate.ci95) : '')),
    make('td', {}, text(of.reason)),
  );
}

const samples = (n: number): HTMLElement => make('div', { class: 'faint small' }, `${number(n)} sample${n === 1 ? '' : 's'}`);

export class ErrorTable {
  readonly element = make('div');
  private readonly note = make('p', { class: 'faint small' });
  private readonly table = table('Errors', ['Time', 'Error', 'Thread', 'Times'], ['Times']);
  private readonly rows = new Rows<ErrorRow>(this.table.body, errorRow);

  constructor() {
    this.element.append(this.table.whole, this.note);
    this.clear();
  }

  show({ total, rows }: Errors): void {
    const shown = [...rows].sort((one, two) => two.t - one.t).slice(0, MOST_ERRORS);
    this.rows.show(shown);
    this.table.whole.hidden = shown.length === 0;
    const left = total > shown.length ? `The newest ${number(shown.length)} of ${number(total)}.` : '';
    say(this.note, total ? left : 'No memory error was seen.');
  }

  clear(): void {
    this.show({ total: 0, rows: [] });
  }
}

function errorRow(of: ErrorRow): HTMLTableRowElement {
  const kind = of.kind.replaceAll('-', ' ');
  const rest = of.message.startsWith(kind) ? of.message.slice(kind.length) : ` ${of.message}`;
  const head = make('span', {}, make('strong', {}, text(kind)), text(rest));
  if (of.where.length) head.append(make('div', { class: 'faint small name' }, named(of.where[0], 300)));
  const stacks = [...frames('Where', of.where), ...frames('Allocated', of.allocated), ...frames('Freed', of.freed)];
  const told = stacks.length ? make('details', {}, make('summary', {}, head), ...stacks) : head;
  const cells = [make('td', {}, clock(of.t)), make('td', {}, told), make('td', {}, text(of.thread))];
  return make('tr', {}, ...cells, make('td', { class: 'number' }, number(of.count)));
}

export class HealthTable {
  readonly element = make('dl', { class: 'health' });
  private readonly lines = new Map<string, HTMLElement>();

  show(health: Health): void {
    const drops = Object.entries(health.drops).filter(([, count]) => count > 0);
    this.line('Sample period', period(health) || 'not known');
    this.line('Samples', number(health.samples));
    this.line('Own cost', health.overhead === null ? 'not known' : `${(100 * health.overhead).toFixed(2)} % of its CPU time`);
    this.line('Events lost', number(health.lost), health.lost > 0);
    const dropped = drops.map(([cause, count]) => `${named(cause.replaceAll('_', ' '), 60)}: ${number(count)}`).join(', ');
    this.line('Samples dropped', dropped || 'none', drops.length > 0);
    this.line('Resident', health.rss === null ? 'not known' : size(health.rss));
    this.line('Trace', [health.trace_bytes === null ? '' : size(health.trace_bytes), named(health.written, 300)].filter(Boolean).join(', '));
  }

  clear(): void {
    this.lines.clear();
    this.element.replaceChildren();
  }

  private line(name: string, value: string, warn = false): void {
    let cell = this.lines.get(name);
    if (cell === undefined) {
      cell = make('dd', { class: 'name' });
      this.lines.set(name, cell);
      this.element.append(make('div', {}, make('dt', {}, name), cell));
    }
    say(cell, value);
    attribute(cell, 'class', warn ? 'name warn' : 'name');
  }
}

export class AlertLog {
  readonly element = make('div');
  private readonly list = make('ol');
  private readonly none = make('p', { class: 'faint small' }, 'No alert since this page was opened.');
  private readonly known = new Set<string>();

  /** `watch`: the process that it is about. */
  constructor(private readonly watch: (id: string) => void) {
    this.element.append(this.none, make('div', { class: 'alerts', role: 'log', 'aria-label': 'Alerts', tabindex: 0 }, this.list));
  }

  /** How many there are now. What was told before, as after a new connection, is not told again. */
  add(alert: Alert): number {
    const says = JSON.stringify([alert.t, alert.id, alert.text]);
    if (!this.known.has(says)) {
      this.known.add(says);
      this.none.hidden = true;
      const who = make('button', { type: 'button', class: 'link name' }, named(alert.name, 60));
      who.addEventListener('click', () => this.watch(alert.id));
      const time = make('span', { class: 'faint number' }, clock(alert.t));
      this.list.prepend(make('li', {}, time, ' ', make('span', { class: 'warn' }, alert.level), ' ', who, ' ', text(alert.text)));
    }
    while (this.list.children.length > MOST_ALERTS) {
      this.list.lastElementChild?.remove();
      this.known.delete(this.known.values().next().value ?? '');
    }
    return this.list.children.length;
  }
}
