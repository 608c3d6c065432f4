/**
 * What was in use of each band, as far back as there is room: when it is full, every second moment of the older half
 * goes. So the older, the coarser; days fit, and what it takes stays the same.
 */
import type { Band, Figures, Streams } from './picture';
import type { Bands, Change, Columns, History, LiveBand, Point } from './live_types';

const ROOM = 960; // moments
const MOST_BANDS = 1024; // that are remembered
const STEP = 5000; // milliseconds by which a clock is at least set, to be told from a server that was late
const NONE: Point = [0, 0, 0, 0];

interface Course {
  band: LiveBand;
  now: Point;
  there: boolean; // the server still tells of it
  columns: Float64Array[]; // value, low, high, samples
}

export class LiveHistory {
  private readonly times = new Float64Array(ROOM);
  private readonly total = columns();
  private readonly other = columns();
  private readonly courses = new Map<string, Course>();
  private length = 0;
  private heard = 0;
  /** By how much the machine's clock was set, the last time; 0: never. */
  step = 0;

  reset(): void {
    this.courses.clear();
    this.length = 0;
    this.heard = 0;
    this.step = 0;
  }

  /** When the last moment was; 0: there is none. */
  get last(): number {
    return this.length ? this.times[this.length - 1] : 0;
  }

  /** So many bands. */
  get known(): number {
    return this.courses.size;
  }

  bands({ bands, reset }: Bands): void {
    if (reset) this.reset();
    const there = new Set(bands.map(({ key }) => key));
    for (const [key, course] of this.courses) {
      if (there.has(key)) continue;
      course.there = false;
      course.now = NONE;
    }
    for (const band of bands) {
      const known = this.courses.get(band.key);
      if (known) Object.assign(known, { band, there: true });
      else this.courses.set(band.key, { band, now: NONE, there: true, columns: columns() });
    }
    if (this.courses.size > MOST_BANDS) this.forget();
  }

  /** All of it at once, in the place of what there was. */
  fill({ times, total, values }: History): void {
    this.length = 0;
    const skip = Math.max(0, times.length - ROOM);
    for (let at = skip; at < times.length; ++at) {
      this.put(times[at], point(total, at), (key) => of(values, key)?.[at] ?? NONE, values['']?.[at] ?? NONE);
    }
    this.heard = 0;
  }

  /** `heard`: when it came, by a clock that nobody sets. */
  add(change: Change, heard: number): void {
    this.follow(change.t, heard);
    this.heard = heard;
    this.put(change.t, change.total, (key) => of(change.values, key), change.other);
  }

  /** Where the machine's clock was set, what came before keeps its distance, and is told by the new time. */
  private follow(time: number, heard: number): void {
    if (this.length === 0) return;
    const moved = time - this.times[this.length - 1];
    const passed = this.heard ? heard - this.heard : moved;
    const back = moved <= 0;
    const forward = this.heard > 0 && moved > STEP && moved > 2 * passed + STEP;
    if (!back && !forward) return;
    const by = moved - Math.max(passed, 1);
    for (let at = 0; at < this.length; ++at) this.times[at] += by;
    if (Math.abs(by) >= 1000) this.step = by;
  }

  private put(time: number, total: Point, changed: (key: string) => Point | undefined, other: Point): void {
    if (this.length === ROOM) this.thin();
    const at = this.length++;
    this.times[at] = time;
    write(this.total, at, total);
    write(this.other, at, other);
    for (const [key, course] of this.courses) {
      if (course.there) course.now = changed(key) ?? course.now;
      write(course.columns, at, course.now);
    }
  }

  private thin(): void {
    const older = this.length >> 1;
    const kept = older >> 1;
    const all = [this.times, ...this.total, ...this.other, ...[...this.courses.values()].flatMap((each) => each.columns)];
    for (const column of all) {
      for (let at = 0; at < kept; ++at) column[at] = column[2 * at];
      column.copyWithin(kept, older, this.length);
    }
    this.length -= older - kept;
    this.forget();
  }

  /** Of bands that are no more, those with nothing left to show; and if there still are too many, those with least. */
  private forget(): void {
    const gone = [...this.courses].filter(([, course]) => !course.there);
    if (!gone.length) return;
    const ranked = gone.map(([key, course]) => [key, most(course.columns[0], 0, this.length)] as const);
    ranked.sort((one, two) => one[1] - two[1]);
    let spare = this.courses.size - (3 * MOST_BANDS) / 4;
    for (const [key, value] of ranked) if (value === 0 || spare-- > 0) this.courses.delete(key);
  }

  /** From `since` on, to `until`; the `shown` bands that ever had most there, in the order in which they came, above all others. */
  streams(title: string, by: { key: string; name: string }, shown: number, since: number, until = Infinity): Streams {
    let first = 0;
    while (first < this.length && this.times[first] < since) ++first;
    let end = this.length;
    while (end > first && this.times[end - 1] > until) --end;
    const ranked = [...this.courses.values()].map((course, came) => ({ course, came, most: most(course.columns[0], first, end) }));
    const there = ranked.filter((each) => each.most > 0).sort((one, two) => two.most - one.most || one.came - two.came);
    const drawn = there.slice(0, shown).sort((one, two) => one.came - two.came);
    const rest = there.slice(shown).map(({ course }) => course.columns);
    const others = together([this.other, ...rest], first, end);
    const bands = drawn.map(({ course }): Band => ({ ...course.band, node: -1, bytes: figures(course.columns, first, end) }));
    if (others.value.some((value) => value > 0))
      bands.unshift({ name: 'other', function: '', file: '', line: 0, module: '', colour: -1, node: -1, bytes: others });
    return {
      schema: 'poireau.streams',
      version: 1,
      title,
      lines: [],
      times: Array.from(this.times.subarray(first, end)),
      total: figures(this.total, first, end),
      by: [{ ...by, bands, others: rest.length }],
      wiggle: true,
      picture: null,
    };
  }
}

/** Keys are other people's names: `constructor` is one. */
const of = <T>(values: Record<string, T>, key: string): T | undefined => (Object.hasOwn(values, key) ? values[key] : undefined);

const columns = (): Float64Array[] => [0, 1, 2, 3].map(() => new Float64Array(ROOM));

const point = (of: Columns, at: number): Point => [of.value[at], of.low[at], of.high[at], of.samples[at]];

function write(to: Float64Array[], at: number, point: Point): void {
  for (let i = 0; i < 4; ++i) to[i][at] = point[i];
}

function most(column: Float64Array, from: number, until: number): number {
  let found = 0;
  for (let at = from; at < until; ++at) if (column[at] > found) found = column[at];
  return found;
}

function figures(of: Float64Array[], from: number, until: number): Figures {
  const [value, low, high, samples] = of.map((column) => Array.from(column.subarray(from, until)));
  return { value, low, high, samples };
}

/** Bands are independent of each other: how far their ends are adds up in squares. */
function together(all: Float64Array[][], from: number, until: number): Figures {
  const sum = { value: [] as number[], low: [] as number[], high: [] as number[], samples: [] as number[] };
  for (let at = from; at < until; ++at) {
    let [value, below, above, samples] = [0, 0, 0, 0];
    for (const [values, lows, highs, counts] of all) {
      if (counts[at] === 0) continue;
      value += values[at];
      below += ((values[at] - lows[at])) ** 2;
      above += ((highs[at] - values[at])) ** 2;
      samples += counts[at];
    }
    sum.value.push(value);
    sum.low.push(Math.max(0, value - Math.sqrt(below)));
    sum.high.push(value + Math.sqrt(above));
    sum.samples.push(samples);
  }
  return sum;
}
