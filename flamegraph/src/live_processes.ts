/** The list of processes: filtered, sorted, and only what is in view in the page, be there a thousand of them. */
import { button, make } from './controls';
import { number, size, whole } from './format';
import type { Process, Processes } from './live_types';
import { attribute, exactly, named, say } from './stream_dom';

const HIGH = 30; // pixels of a row
const SPARE = 4; // rows beyond what is in view

interface Column {
  key: string;
  name: string;
  text: (process: Process) => string;
  order: (process: Process) => number | string;
  less?: boolean; // the least first, to begin with
}

const STATES: Record<Process['state'], string> = { armed: '', dormant: 'disarmed', silent: 'does not answer', ended: 'ended' };

const alerts = ({ leaks, errors }: Process): string =>
  [leaks ? `${leaks}\u00a0leak${leaks > 1 ? 's' : ''}` : '', errors ? `${number(errors)}\u00a0error${errors > 1 ? 's' : ''}` : '']
    .filter(Boolean)
    .join(', ');

const COLUMNS: readonly Column[] = [
  { key: 'name', name: 'Name', text: () => '', order: (of) => of.name.toLowerCase(), less: true },
  { key: 'pid', name: 'PID', text: (of) => String(of.pid), order: (of) => of.pid, less: true },
  {
    key: 'live',
    name: 'In use',
    text: ({ live }) => (live ? whole(live.value, ...live.ci95) : ''),
    order: ({ live }) => live?.value ?? -1,
  },
  { key: 'rss', name: 'RSS', text: ({ rss }) => (rss === null ? '' : size(rss)), order: ({ rss }) => rss ?? -1 },
  { key: 'period', name: 'Period', text: (of) => period(of), order: (of) => of.period },
  { key: 'drops', name: 'Drops', text: (of) => number(of.drops + of.lost), order: (of) => of.drops + of.lost },
  {
    key: 'overhead',
    name: 'Cost', // of its CPU time, as in `ps`
    text: ({ overhead }) => (overhead === null ? '' : `${(100 * overhead).toFixed(2)} %`),
    order: ({ overhead }) => overhead ?? -1,
  },
  { key: 'alerts', name: 'Alerts', text: alerts, order: (of) => of.leaks * 1e6 + of.errors },
];

export const period = (of: { period: number; governed: boolean }): string =>
  of.period === 0 ? '' : of.period === 1 ? 'every call' : `${exactly(of.period)}${of.governed ? ' auto' : ''}`;

interface Row {
  row: HTMLTableRowElement;
  watch: HTMLButtonElement;
  state: HTMLElement;
  cells: HTMLTableCellElement[];
  id: string;
}

export class ProcessList {
  readonly element: HTMLElement;
  private readonly filter = make('input', { type: 'search', 'aria-label': 'Filter processes', placeholder: 'Filter: name, pid, user, command' });
  private readonly count = make('span', { class: 'faint small', role: 'status' });
  private readonly table = make('table', { 'aria-label': 'Processes' });
  private readonly heads: HTMLTableCellElement[];
  private readonly body = make('tbody');
  private readonly above = make('tr', { 'aria-hidden': 'true' }, make('td'));
  private readonly below = make('tr', { 'aria-hidden': 'true' }, make('td'));
  private readonly scroll: HTMLElement;
  private readonly empty = make('p', { class: 'empty' });
  private readonly rows: Row[] = [];
  private all: readonly Process[] = [];
  private shown: Process[] = [];
  private more = 0;
  private told = false; // which there are
  private sorted = COLUMNS[2];
  private upwards = false;
  private active = 0; // of those shown: the one that takes the keyboard
  private watched: string | null = null;

  constructor(private readonly watch: (id: string) => void) {
    this.heads = COLUMNS.map((column) => {
      const head = make('th', { scope: 'col', class: column.key === 'name' ? '' : `number of-${column.key}` });
      head.append(button(column.name, () => this.sort(column), { class: 'link' }));
      return head;
    });
    this.table.append(make('thead', {}, make('tr', {}, ...this.heads)), this.body);
    this.scroll = make('div', { class: 'scroll' }, this.table);
    this.scroll.addEventListener('scroll', () => this.draw());
    this.filter.addEventListener('input', () => {
      this.active = 0;
      this.scroll.scrollTop = 0;
      this.arrange();
    });
    this.body.addEventListener('keydown', (event) => this.key(event));
    this.element = make(
      'section',
      { class: 'processes', 'aria-label': 'Processes' },
      make('div', { class: 'toolbar' }, make('h2', {}, 'Processes'), this.filter, this.count),
      this.scroll,
      this.empty,
    );
    new ResizeObserver(() => this.draw()).observe(this.scroll);
    this.arrange();
  }

  update({ processes, more }: Processes): void {
    this.all = processes;
    this.more = more;
    this.told = true;
    this.arrange(this.scroll.matches(':hover') || this.body.contains(document.activeElement));
  }

  select(id: string | null): void {
    this.watched = id;
    this.draw();
  }

  focusFilter(): void {
    this.filter.focus();
    this.filter.select();
  }

  private sort(column: Column): void {
    this.upwards = this.sorted === column ? !this.upwards : column.less === true;
    this.sorted = column;
    this.arrange();
  }

  /** `still`: those that are there stay where they are, so that nobody picks what has just moved there. */
  private arrange(still = false): void {
    const held = this.shown[this.active]?.id;
    const words = this.filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    const text = (of: Process): string => `${of.name} ${of.pid} ${of.user} ${of.command} ${STATES[of.state]} ${of.state}`.toLowerCase();
    const kept = words.length ? this.all.filter((each) => words.every((word) => text(each).includes(word))) : [...this.all];
    const sign = this.upwards ? 1 : -1;
    const { order } = this.sorted;
    const compare = (one: Process, two: Process): number => {
      const [a, b] = [order(one), order(two)];
      return a === b ? one.pid - two.pid : a < b ? -sign : sign;
    };
    const was = new Map(still ? this.shown.map(({ id }, at) => [id, at]) : []);
    const place = ({ id }: Process): number => was.get(id) ?? was.size;
    this.shown = kept.sort((one, two) => place(one) - place(two) || compare(one, two));
    this.active = Math.max(0, this.shown.findIndex(({ id }) => id === held));
    this.heads.forEach((head, i) =>
      attribute(head, 'aria-sort', COLUMNS[i] === this.sorted ? (this.upwards ? 'ascending' : 'descending') : 'none'),
    );
    const total = this.all.length + this.more;
    const left = this.more ? `; ${number(this.more)} more are left out` : '';
    say(this.count, total ? `${words.length ? `${number(this.shown.length)} of ` : ''}${number(total)}${left}` : '');
    attribute(this.table, 'aria-rowcount', this.shown.length + 1);
    const none = this.told ? 'No process here is preloaded. Start one: poireau.py run -- COMMAND' : 'Which processes there are is not known yet.';
    say(this.empty, this.shown.length ? '' : this.all.length ? 'None of them is like that.' : none);
    this.empty.hidden = this.shown.length > 0;
    this.scroll.hidden = this.all.length === 0;
    this.draw();
  }

  private draw(): void {
    const held = this.body.contains(document.activeElement) ? this.shown[this.active] : undefined;
    const first = Math.max(0, Math.floor(this.scroll.scrollTop / HIGH) - SPARE);
    const room = Math.ceil((this.scroll.clientHeight || 300) / HIGH) + 2 * SPARE;
    const visible = this.shown.slice(first, first + room);
    while (this.rows.length < visible.length) this.rows.push(this.row());
    while (this.rows.length > Math.max(visible.length, 40)) this.rows.pop()?.row.remove();
    const wanted = [this.above, ...this.rows.slice(0, visible.length).map(({ row }) => row), this.below];
    if (wanted.length !== this.body.children.length) this.body.replaceChildren(...wanted);
    this.pad(this.above, first);
    this.pad(this.below, this.shown.length - first - visible.length);
    visible.forEach((process, i) => this.write(this.rows[i], process, first + i));
    if (held) this.rows.find(({ id, row }) => id === held.id && row.isConnected)?.watch.focus({ preventScroll: true });
  }

  private pad(row: HTMLTableRowElement, rows: number): void {
    row.hidden = rows <= 0;
    row.style.height = `${rows * HIGH}px`;
  }

  private row(): Row {
    const watch = make('button', { type: 'button', class: 'link' });
    const state = make('span', { class: 'faint small' });
    const cells = COLUMNS.slice(1).map(({ key }) => make('td', { class: `number of-${key}` }));
    const row = make('tr', {}, make('td', { class: 'who' }, watch, ' ', state), ...cells);
    const made: Row = { row, watch, state, cells, id: '' };
    row.addEventListener('click', () => this.watch(made.id));
    return made;
  }

  private write(to: Row, process: Process, index: number): void {
    to.id = process.id;
    attribute(to.row, 'data-id', process.id);
    attribute(to.row, 'aria-rowindex', index + 2);
    const watched = process.id === this.watched;
    attribute(to.row, 'class', [watched ? 'watched' : '', process.state].join(' ').trim());
    attribute(to.watch, 'aria-current', watched ? 'true' : false);
    attribute(to.watch, 'aria-label', `${named(process.name, 60)} ${process.pid}`);
    attribute(to.watch, 'title', named(process.command, 300));
    attribute(to.watch, 'tabindex', index === this.active ? 0 : -1);
    say(to.watch, named(process.name, 60));
    say(to.state, STATES[process.state]);
    COLUMNS.slice(1).forEach(({ text }, i) => say(to.cells[i], text(process)));
  }

  private key(event: KeyboardEvent): void {
    const page = Math.max(1, Math.floor(this.scroll.clientHeight / HIGH) - 1);
    const steps: Record<string, number> = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity };
    const step = steps[event.key];
    if (step === undefined || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    event.stopPropagation();
    this.active = Math.min(Math.max(this.active + step, 0), this.shown.length - 1);
    const top = this.active * HIGH;
    const head = this.table.tHead?.offsetHeight ?? HIGH;
    if (top < this.scroll.scrollTop) this.scroll.scrollTop = top;
    else if (top + HIGH + head > this.scroll.scrollTop + this.scroll.clientHeight)
      this.scroll.scrollTop = top + HIGH + head - this.scroll.clientHeight;
    this.draw();
    this.rows.find(({ id, row }) => id === this.shown[this.active].id && row.isConnected)?.watch.focus({ preventScroll: true });
  }
}
