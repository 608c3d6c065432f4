/** A streamgraph with its controls: of a trace that has ended, or of one that goes on and is given by update(). */
import { current, onTheme } from './colour';
import { choose, make, press, toggle, type Choice } from './controls';
import type { Band, Picture, Streams } from './picture';
import { Chart, type Drawn } from './stream_chart';
import { attribute, say } from './stream_dom';
import { bandAt, nearest } from './stream_layout';
import { onKeys } from './stream_keys';
import { Legend } from './stream_legend';
import { Panel, type Flame, type Picked } from './stream_panel';
import { pointing } from './stream_pointer';
import { Tip } from './stream_tip';
import { WindowEnds, type Window } from './stream_window';
import { identity, nameOf, told } from './stream_words';

export interface Options {
  /** It goes on: it can be paused. */
  live?: boolean;
  /** By what bands can be, where that is not all in the data. */
  choices?: readonly Choice[];
  chosen?: (by: string) => void;
  /** More of them in the toolbar. */
  controls?: readonly HTMLElement[];
  /** Where the flamegraph comes from, if not from the data. Null: of all of the time. */
  picture?: (moment: number | null) => Promise<Picture | null>;
  /** Where the table of bands goes, if not beneath. */
  legend?: HTMLElement;
  /** Instead of an empty chart. */
  empty?: string;
}

export interface Stream {
  /** `chosen`: by who looks at it, so it is shown even while it is paused. */
  update(streams: Streams, chosen?: boolean): void;
  /** The last moment that is shown while it is paused; null: it is not. */
  held(): number | null;
  /** It is to be about something else: nothing is open, pinned, or paused. */
  reset(): void;
  destroy(): void;
  /** Where this band is at this time, in the window; null: nowhere. */
  at(band: string, time: number): { x: number; y: number } | null;
  /** In the widest band, some way back. */
  middle(): [number, number] | null;
  /** The bands' names, lowest first. */
  bands(): string[];
  /** The flamegraph that is open. */
  flame(): Flame | null;
}

export function streamgraph(container: HTMLElement, first: Streams, options: Options = {}): Stream {
  let streams = first; // what is shown
  let newest = first;
  let by = first.by[0]?.key ?? '';
  let paused = false;
  let wiggle = first.wiggle;
  let moment: number | null = null; // that is looked at; null: the last
  let opened: number | null = null; // the moment whose flamegraph is open
  let looked = ''; // identity of the band that is looked at
  let window: Window | null = null;
  const pinned = new Set<string>();
  let drawn: Drawn = { times: [], bands: [], total: first.total, wiggle };
  let due: 'none' | 'over' | 'base' = 'none';
  let frame = 0;

  const base = make('canvas', { 'aria-hidden': 'true' });
  const over = make('canvas', { 'aria-hidden': 'true' });
  const stage = make('div', { class: 'stage', role: 'application', tabindex: 0, 'aria-roledescription': 'streamgraph' });
  const empty = make('p', { class: 'empty faint', hidden: true });
  const tip = new Tip();
  const heard = make('p', { class: 'unseen', 'aria-live': 'polite' });
  const late = make('span', { class: 'faint small' });
  const chart = new Chart(base, over);
  const panel = new Panel(options.picture ?? (async () => streams.picture), (focused) => {
    opened = null;
    whole.classList.remove('split');
    if (focused) stage.focus();
    resized();
  });
  const legend = new Legend(
    (band) => {
      looked = band === null ? '' : identity(band);
      want('base');
    },
    (band) => {
      const id = identity(band);
      if (!pinned.delete(id)) pinned.add(id);
      want('base');
    },
  );
  const ends = new WindowEnds({
    times: () => streams.times,
    place: (time) => chart.frame.place(time),
    moved: pickWindow,
    open: openWindow,
  });

  const bySelect = choose('Bands by', options.choices ?? first.by.map(({ key, name }) => ({ value: key, name })), (key) => {
    by = key;
    pinned.clear();
    looked = '';
    options.chosen?.(key);
    take(streams);
  });
  const zero = toggle('From zero', 'b', !wiggle, (on) => {
    wiggle = !on;
    take(streams);
  });
  const pause = toggle('Pause', 'p', false, (on) => {
    paused = on;
    if (!on) take(newest);
    say(late, '');
  });
  pause.hidden = !options.live;
  const bar = make(
    'div',
    { class: 'toolbar' },
    make('label', {}, 'Bands by', bySelect),
    zero,
    pause,
    ...(options.controls ?? []),
    late,
    make('span', { class: 'gap' }),
    make('span', { class: 'faint small hint' }, 'Click: flamegraph of a moment. Drag: of what a window allocated.'),
  );
  stage.append(base, over, ...ends.elements, empty);
  const whole = make('div', { class: 'stream' }, bar, stage, heard, panel.element, tip.element);
  container.append(whole);
  (options.legend ?? whole).append(legend.table);

  function take(next: Streams): void {
    streams = next;
    const chosen = next.by.find(({ key }) => key === by) ?? next.by[0];
    drawn = { times: next.times, bands: chosen?.bands ?? [], total: next.total, wiggle };
    const known = new Set(drawn.bands.map(identity));
    for (const id of pinned) if (!known.has(id)) pinned.delete(id);
    chart.set(drawn);
    const nothing = next.times.length === 0 || !next.total.value.some((value) => value > 0);
    attribute(empty, 'hidden', !nothing);
    say(empty, options.empty ?? 'Nothing was in use that a sample was taken of.');
    attribute(stage, 'aria-label', `Bytes in use over time, ${chosen?.name ?? ''}: ${drawn.bands.length} bands`);
    ends.place();
    want('base');
  }

  const now = (): number | null => moment ?? opened;
  const index = (): number =>
    now() === null ? streams.times.length - 1 : Math.max(0, nearest(streams.times, now() ?? 0));
  const focused = (): number => (looked ? drawn.bands.findIndex((band) => identity(band) === looked) : -1);

  function want(what: 'over' | 'base'): void {
    due = due === 'base' ? 'base' : what;
    if (!frame) frame = requestAnimationFrame(draw);
  }

  function draw(): void {
    frame = 0;
    const scheme = current();
    const band = focused();
    const pins = new Set(drawn.bands.flatMap((each, i) => (pinned.has(identity(each)) ? [i] : [])));
    const marks = { time: now() === null ? -1 : index(), band, pinned: pins, window };
    if (due === 'base') chart.draw(scheme, marks);
    chart.mark(scheme, marks);
    legend.show(drawn, index(), band, pinned);
    due = 'none';
  }

  function resized(): void {
    const { clientWidth, clientHeight } = stage;
    if (!clientWidth || !clientHeight) return;
    chart.resize(clientWidth, clientHeight, devicePixelRatio || 1);
    ends.place();
    want('base');
  }

  /** `band`: index; -1: none. */
  function look(time: number | null, band: number): void {
    const was = looked;
    moment = time;
    looked = band >= 0 ? identity(drawn.bands[band]) : '';
    want(was === looked ? 'over' : 'base');
  }

  function lines(): string[] {
    return streams.times.length ? told(streams, drawn.bands[focused()] ?? null, index()) : [];
  }

  function openMoment(time: number): void {
    if (!streams.times.length) return;
    pickWindow(null);
    opened = streams.times[nearest(streams.times, time)];
    moment = null;
    open({ moment: opened });
  }

  function openWindow(picked: Window): void {
    opened = null;
    open({ window: picked });
  }

  function open(picked: Picked): void {
    tip.hide();
    whole.classList.add('split');
    void panel.show(picked).then(resized);
  }

  function pickWindow(picked: Window | null): void {
    window = picked;
    ends.set(picked);
    want('over');
  }

  function step(by: number): void {
    const to = Math.min(Math.max(index() + by, 0), streams.times.length - 1);
    if (to >= 0) look(streams.times[to], focused());
  }

  function other(by: 1 | -1): void {
    if (!drawn.bands.length) return;
    const last = drawn.bands.length - 1;
    const at = focused();
    look(now() ?? streams.times[index()], at < 0 ? (by > 0 ? 0 : last) : Math.min(Math.max(at + by, 0), last));
  }

  function out(): void {
    if (panel.open) return panel.close();
    if (window !== null) return pickWindow(null);
    pinned.clear();
    look(null, -1);
    want('base');
  }

  const ended = [
    onTheme(() => want('base')),
    onKeys(stage, panel.element, {
      step,
      other,
      open: () => openMoment(streams.times[index()]),
      zero: () => zero.click(),
      pause: () => options.live && pause.click(),
      out,
      moved: () => say(heard, lines().join('. ')),
    }),
    pointing(stage, {
      hover: (at) => {
        if (at === null || !streams.times.length) {
          tip.hide();
          return look(null, -1);
        }
        const time = chart.frame.timeAt(at.x);
        const near = nearest(streams.times, time);
        look(streams.times[near], bandAt(chart.laid, near, chart.frame.bytesAt(at.y)));
        tip.show(lines(), at.clientX, at.clientY);
      },
      brush: (from, to, done) => {
        tip.hide();
        const picked = [chart.frame.timeAt(from), chart.frame.timeAt(to)].sort((one, two) => one - two) as Window;
        pickWindow(picked);
        if (done) openWindow(picked);
      },
      click: (x) => openMoment(chart.frame.timeAt(x)),
    }),
  ];
  const sizes = new ResizeObserver(resized);
  sizes.observe(stage);
  press(zero, !wiggle);
  take(first);
  resized();

  return {
    update(next, chosen = false) {
      if (paused && chosen) return take(next);
      newest = next;
      if (!paused) return take(next);
      const behind = (next.times[next.times.length - 1] ?? 0) - (streams.times[streams.times.length - 1] ?? 0);
      say(late, behind > 0 ? `${Math.round(behind / 1000)} s behind` : '');
    },
    held: () => (paused ? (streams.times[streams.times.length - 1] ?? null) : null),
    reset() {
      if (paused) pause.click();
      panel.close();
      pickWindow(null);
      pinned.clear();
      look(null, -1);
      want('base');
    },
    destroy() {
      for (const end of ended) end();
      cancelAnimationFrame(frame);
      sizes.disconnect();
      panel.destroy();
      whole.remove();
      legend.table.remove();
    },
    at(name, time) {
      const near = nearest(streams.times, time);
      const called = (each: Band): boolean => each.name.includes(name) || nameOf(each).includes(name);
      const band = drawn.bands.findIndex(called);
      const middle = band < 0 || !streams.times.length ? null : chart.middle(band, near);
      const { left, top } = stage.getBoundingClientRect();
      return middle && { x: left + middle.x, y: top + middle.y };
    },
    middle() {
      const near = Math.floor((streams.times.length * 2) / 3);
      const high = drawn.bands.map(({ bytes }) => bytes.value[near] ?? 0);
      const band = high.indexOf(Math.max(...high));
      if (band < 0 || !streams.times.length) return null;
      const { x, y } = chart.middle(band, near);
      const { left, top } = stage.getBoundingClientRect();
      return [left + x, top + y];
    },
    bands: () => drawn.bands.map(({ name }) => name),
    flame: () => panel.flame,
  };
}
