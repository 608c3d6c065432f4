/** What floats beside the pointer. */
import { make } from './controls';

const APART = 16; // pixels

export class Tip {
  readonly element = make('div', { class: 'tip', role: 'tooltip', hidden: true });

  /** The first line is a name; none: it is hidden. */
  show([head, ...rest]: readonly string[], x: number, y: number): void {
    this.element.hidden = head === undefined;
    if (head === undefined) return;
    const lines = rest.map((line) => make('div', { class: 'small name' }, line));
    this.element.replaceChildren(make('strong', { class: 'name' }, head), ...lines);
    const { width, height } = this.element.getBoundingClientRect();
    const left = x + APART + width > innerWidth ? x - APART - width : x + APART;
    const top = y + APART + height > innerHeight ? y - APART - height : y + APART;
    this.element.style.left = `${Math.max(4, left)}px`;
    this.element.style.top = `${Math.max(4, top)}px`;
  }

  hide(): void {
    this.element.hidden = true;
  }
}
