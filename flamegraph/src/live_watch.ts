/** The process that is watched: its stream, what is known of it, and its controls. */
import { choose, make } from './controls';
import { clock, duration } from './format';
import { Control } from './live_control';
import { LiveHistory } from './live_history';
import { period } from './live_processes';
import { ErrorTable, HealthTable, LeakTable } from './live_tables';
import type { Answer, Command, Events, Process } from './live_types';
import type { Picture } from './picture';
import { attribute, named, say } from './stream_dom';
import { streamgraph, type Stream } from './stream_view';

export const BYS = [
  { value: 'line', name: 'line' },
  { value: 'function', name: 'function' },
  { value: 'stack', name: 'stack' },
  { value: 'module', name: 'module' },
  { value: 'thread', name: 'thread' },
  { value: 'size', name: 'size' },
];
const SPANS = [
  { value: '120', name: 'last 2 min' },
  { value: '600', name: 'last 10 min' },
  { value: '3600', name: 'last hour' },
  { value: 'Infinity', name: 'all that is kept' },
];
const SHOWN = ['8', '16', '32'].map((value) => ({ value, name: value }));

export interface Asks {
  by: (by: string) => void;
  picture: (id: string, moment: number | null) => Promise<Picture>;
  control: (command: Command) => Promise<Answer>;
}

export class Watch {
  readonly element = make('section', { class: 'watch', 'aria-label': 'Watched process', hidden: true });
  readonly bands = make('div', { class: 'stream' });
  readonly leaks = new LeakTable();
  readonly errors = new ErrorTable();
  readonly health = new HealthTable();
  readonly stream: Stream;
  received = 0; // points
  private readonly history = new LiveHistory();
  private readonly title = make('h2', { class: 'name' });
  private readonly about = make('p', { class: 'faint small name' });
  private readonly notice = make('p', { role: 'status', class: 'notice' });
  private readonly control: Control;
  private process: Process | null = null;
  private id = '';
  private by = 'line';
  private span = 600;
  private shown = 16;
  private gone = '';
  private latest = 0; // of the total
  private due = 0;
  private chosen = false;

  constructor(asks: Asks) {
    this.control = new Control(asks.control);
    const holder = make('div');
    this.element.append(make('div', {}, this.title, this.about), this.notice, this.control.element, holder);
    this.stream = streamgraph(holder, this.streams(), {
      live: true,
      legend: this.bands,
      choices: BYS,
      chosen: (by) => {
        this.by = by;
        asks.by(by);
      },
      controls: [
        choose('Time shown', SPANS, (span) => {
          this.span = Number(span);
          this.draw(true);
        }),
        make('label', {}, 'Bands', this.count()),
      ],
      picture: (moment) => asks.picture(this.id, moment),
      empty: 'Nothing yet: its samples are on their way.',
    });
    (holder.querySelector('select[aria-label="Time shown"]') as HTMLSelectElement).value = '600';
  }

  get watched(): string {
    return this.id;
  }

  total(): number {
    return this.latest;
  }

  begin(id: string): void {
    this.id = id;
    this.element.hidden = false;
    this.process = null;
    this.received = 0;
    this.gone = '';
    this.history.reset();
    this.stream.reset();
    this.leaks.clear();
    this.errors.clear();
    this.health.clear();
    say(this.title, id.split('-')[0]);
    say(this.about, '');
    this.tell();
    this.draw();
  }

  /** As the list has it; null: it is no longer there. */
  about_process(process: Process | null): void {
    if (process !== null) this.process = process;
    const now = this.process;
    if (now === null) return;
    say(this.title, `${named(now.name, 120)} [${now.pid}]`);
    const since = `since ${clock(now.since, true)}`;
    const state = { armed: '', dormant: 'disarmed: nothing is sampled', silent: 'it does not answer', ended: 'ended' }[now.state];
    say(this.about, [named(now.user, 60), since, period(now) && `a sample every ${period(now)}`, state, named(now.command, 300)].filter(Boolean).join(' · '));
    this.control.show(now);
  }

  take<K extends keyof Events>(kind: K, event: Events[K]): void {
    const takers: { [E in keyof Events]?: (event: Events[E]) => void } = {
      bands: (bands) => {
        if (bands.by !== this.by || bands.id !== this.id) return;
        this.history.bands(bands);
        if (!bands.reset) return;
        this.gone = '';
        this.tell();
      },
      history: (history) => {
        this.history.fill(history);
        this.latest = history.total.value[history.times.length - 1] ?? 0;
        this.draw(true);
      },
      point: (point) => {
        this.history.add(point, performance.now());
        this.received += 1;
        this.latest = point.total[0];
        this.draw();
        if (this.history.step) this.tell();
      },
      gone: ({ id, why }) => {
        if (id !== this.id) return;
        this.gone = why || 'it ended';
        if (this.process) this.about_process({ ...this.process, state: 'ended' });
        this.tell();
      },
    };
    takers[kind]?.(event);
  }

  private tell(): void {
    const { step } = this.history;
    const set = `The clock of its machine was set ${step < 0 ? 'back' : 'forward'} by ${duration(Math.abs(step))}${step < 0 ? '' : ', or it was asleep'}: what came before is shown by the new time.`;
    const lines = [this.gone && `It is gone (${named(this.gone, 200)}). What it had is kept.`, step ? set : ''].filter(Boolean);
    say(this.notice, lines.join(' '));
    attribute(this.notice, 'hidden', lines.length === 0);
  }

  private count(): HTMLSelectElement {
    const select = choose('Bands shown', SHOWN, (shown) => {
      this.shown = Number(shown);
      this.draw(true);
    });
    select.value = String(this.shown);
    return select;
  }

  private streams(until = this.history.last): ReturnType<LiveHistory['streams']> {
    const name = BYS.find(({ value }) => value === this.by)?.name ?? this.by;
    return this.history.streams(this.title.textContent ?? '', { key: this.by, name }, this.shown, until - this.span * 1000, until);
  }

  /** Once a frame, however much has come; never while nobody can see it. `chosen`: while it is paused, too. */
  private draw(chosen = false): void {
    this.chosen ||= chosen;
    this.due ||= requestAnimationFrame(() => {
      const held = this.chosen ? this.stream.held() : null;
      this.due = 0;
      this.chosen = false;
      this.stream.update(this.streams(held ?? undefined), held !== null);
    });
  }
}
