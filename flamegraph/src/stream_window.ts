/** The two ends of a window in time, as sliders over the chart: for who has no pointer, and to see where they are. */
import { make } from './controls';
import { clock } from './format';
import { attribute } from './stream_dom';

export type Window = [number, number]; // milliseconds

export interface Ends {
  times: () => readonly number[];
  /** Where a time is, in pixels of the stage. */
  place: (time: number) => number;
  /** It was moved; null: there is none any more. */
  moved: (window: Window | null) => void;
  open: (window: Window) => void;
}

export class WindowEnds {
  readonly elements: HTMLElement[];
  private window: Window | null = null;

  constructor(private readonly ends: Ends) {
    this.elements = ['Window begins', 'Window ends'].map((name, end) => {
      const made = make('div', { role: 'slider', tabindex: 0, class: 'end', 'aria-label': name, 'aria-orientation': 'horizontal' });
      made.addEventListener('keydown', (event) => this.key(event, end as 0 | 1));
      made.addEventListener('pointerdown', (event) => this.drag(event, end as 0 | 1));
      return made;
    });
  }

  set(window: Window | null): void {
    this.window = window;
    this.place();
  }

  place(): void {
    const times = this.ends.times();
    const first = times[0] ?? 0;
    const last = times[times.length - 1] ?? 0;
    const at = this.window ?? [first, last];
    this.elements.forEach((element, end) => {
      const time = Math.min(Math.max(at[end], first), last);
      element.style.left = `${this.ends.place(time)}px`;
      attribute(element, 'data-set', this.window !== null);
      attribute(element, 'aria-valuemin', Math.round(first));
      attribute(element, 'aria-valuemax', Math.round(last));
      attribute(element, 'aria-valuenow', Math.round(time));
      attribute(element, 'aria-valuetext', times.length ? clock(time, true) : 'nothing yet');
    });
  }

  private put(end: 0 | 1, time: number): void {
    const times = this.ends.times();
    const window: Window = this.window === null ? [times[0], times[times.length - 1]] : [...this.window];
    window[end] = end === 0 ? Math.min(time, window[1]) : Math.max(time, window[0]);
    this.set(window);
    this.ends.moved(window);
  }

  private key(event: KeyboardEvent, end: 0 | 1): void {
    const times = this.ends.times();
    if (times.length < 2 || event.ctrlKey || event.altKey || event.metaKey) return;
    const at = this.window?.[end] ?? times[end === 0 ? 0 : times.length - 1];
    const step = ((times[times.length - 1] - times[0]) / (times.length - 1)) * (event.shiftKey ? 10 : 1);
    const moves: Record<string, () => void> = {
      ArrowLeft: () => this.put(end, Math.max(at - step, times[0])),
      ArrowDown: () => this.put(end, Math.max(at - step, times[0])),
      ArrowRight: () => this.put(end, Math.min(at + step, times[times.length - 1])),
      ArrowUp: () => this.put(end, Math.min(at + step, times[times.length - 1])),
      PageDown: () => this.put(end, Math.max(at - 10 * step, times[0])),
      PageUp: () => this.put(end, Math.min(at + 10 * step, times[times.length - 1])),
      Home: () => this.put(end, times[0]),
      End: () => this.put(end, times[times.length - 1]),
      Enter: () => this.window !== null && this.ends.open(this.window),
      Escape: () => this.ends.moved(null),
    };
    const move = moves[event.key];
    if (move === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    move();
  }

  private drag(event: PointerEvent, end: 0 | 1): void {
    if (event.button !== 0) return;
    event.preventDefault();
    event.stopPropagation();
    const element = this.elements[end];
    element.focus();
    element.setPointerCapture(event.pointerId);
    const move = (moving: PointerEvent): void => this.put(end, this.timeAt(moving.clientX));
    const done = (): void => {
      element.removeEventListener('pointermove', move);
      element.removeEventListener('lostpointercapture', done);
      if (this.window !== null) this.ends.open(this.window);
    };
    element.addEventListener('pointermove', move);
    element.addEventListener('lostpointercapture', done);
  }

  private timeAt(x: number): number {
    const stage = this.elements[0].offsetParent?.getBoundingClientRect();
    const times = this.ends.times();
    const first = times[0];
    const last = times[times.length - 1];
    const from = this.ends.place(first);
    const until = this.ends.place(last);
    const share = (x - (stage?.left ?? 0) - from) / Math.max(until - from, 1);
    return first + Math.min(Math.max(share, 0), 1) * (last - first);
  }
}
