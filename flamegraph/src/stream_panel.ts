/** The flamegraph of a moment or of a window, beneath the stream that it was picked from. */
import { button, fill, make } from './controls';
import { flamegraph } from './flame_view';
import { clock, duration } from './format';
import type { Picture } from './picture';
import { say } from './stream_dom';
import type { Window } from './stream_window';

export type Flame = ReturnType<typeof flamegraph>;
export type Picked = { moment: number } | { window: Window };

export class Panel {
  readonly element = make('section', { class: 'panel', 'aria-label': 'Flamegraph', hidden: true });
  private readonly title = make('h2');
  private readonly state = make('p', { role: 'status', class: 'faint' });
  private readonly inside = make('div', { class: 'inside' });
  private shown: Flame | null = null;
  private asked = 0;

  /** `closed`: whether it had the focus. */
  constructor(
    private readonly picture: (moment: number | null) => Promise<Picture | null>,
    private readonly closed: (focused: boolean) => void,
  ) {
    const head = make('div', { class: 'toolbar' }, this.title, make('span', { class: 'gap' }), button('Close', () => this.close()));
    this.element.append(head, this.state, this.inside);
  }

  get open(): boolean {
    return !this.element.hidden;
  }

  get flame(): Flame | null {
    return this.shown;
  }

  async show(picked: Picked): Promise<void> {
    const asked = (this.asked += 1);
    this.element.hidden = false;
    say(this.title, titleOf(picked));
    say(this.state, 'Being worked out …');
    this.state.hidden = false;
    try {
      const picture = await this.picture('moment' in picked ? picked.moment : null);
      if (asked !== this.asked) return; // something else was picked meanwhile
      this.shown?.destroy();
      fill(this.inside);
      this.shown = null;
      if (picture === null) {
        say(this.state, 'This page was written without the stacks: write it again, by `stream` of a trace.');
        return;
      }
      this.shown = flamegraph(this.inside, picture, { ...picked, embedded: true });
      this.state.hidden = true;
      say(this.state, '');
      this.element.scrollIntoView({ block: 'nearest' });
    } catch (error) {
      if (asked === this.asked) say(this.state, `There is no flamegraph of it: ${said(error)}`);
    }
  }

  close(): void {
    if (!this.open) return;
    const focused = this.element.contains(document.activeElement);
    this.destroy();
    this.element.hidden = true;
    this.closed(focused);
  }

  destroy(): void {
    this.asked += 1;
    this.shown?.destroy();
    this.shown = null;
    fill(this.inside);
  }
}

const titleOf = (picked: Picked): string =>
  'moment' in picked
    ? `In use at ${clock(picked.moment)}`
    : `Allocated from ${clock(picked.window[0])} to ${clock(picked.window[1])} (${duration(picked.window[1] - picked.window[0])})`;

const said = (error: unknown): string => (error instanceof Error ? error.message : String(error));
