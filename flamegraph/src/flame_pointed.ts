/** What the pointer is at, and what the keyboard is at: outlined, told beside it and in the details, and said. */

import { make } from './controls';
import type { Access } from './flame_access';
import type { Drawn, Stage } from './flame_canvas';
import type { Details } from './flame_details';
import type { Spot } from './flame_layout';
import { Tip } from './flame_tip';
import { type Names, line } from './flame_words';

export class Pointed {
  /** What is said, and what floats. */
  readonly elements: readonly HTMLElement[];
  focus: Spot = { row: 0, at: 0 };
  private readonly tip: Tip;
  private readonly said = make('div', { class: 'unseen', 'aria-live': 'polite' });
  private hovered: Spot | null = null;
  private seen: Drawn | null = null;

  constructor(
    private readonly stage: Stage,
    private readonly aside: Details,
    private readonly access: Access,
    private readonly names: Names,
  ) {
    this.tip = new Tip(names);
    this.elements = [this.said, this.tip.element];
  }

  /** The one that the keyboard is at; null: nothing has been drawn. */
  get box(): number | null {
    return this.boxAt(this.focus);
  }

  boxAt({ row, at }: Spot): number | null {
    return this.seen?.made.rows[row]?.box[at] ?? null;
  }

  /** Another picture is drawn. */
  show(seen: Drawn, focus: Spot): void {
    this.seen = seen;
    this.hover(null, 0, 0);
    this.to(focus, false);
  }

  hover(spot: Spot | null, x: number, y: number): void {
    const row = spot && this.seen?.made.rows[spot.row];
    if (!spot || !row) this.tip.hide();
    else this.tip.show(this.seen!.tree, row.box[spot.at]!, row.smaller[spot.at]!, x, y);
    if (spot?.row === this.hovered?.row && spot?.at === this.hovered?.at) return;
    this.hovered = spot;
    this.mark();
  }

  /** `reveal`: it is to be seen, and heard. */
  to(spot: Spot, reveal = true): void {
    this.focus = spot;
    const { box, seen } = this;
    if (box === null || !seen) return;
    if (reveal) {
      this.stage.reveal(spot.row);
      this.said.textContent = line(seen.tree, this.names, box);
    }
    this.aside.show(seen.tree, box);
    this.access.show(seen.tree, box);
    this.mark();
  }

  mark(): void {
    const atAll = this.focus.row === 0 && this.seen?.made.above === 0;
    this.stage.mark(this.hovered, atAll && document.activeElement !== this.stage.keys ? null : this.focus);
  }
}
