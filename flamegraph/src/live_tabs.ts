/** Parts of a page of which one is shown: a list of tabs, with the arrow keys between them. */
import { make } from './controls';
import { attribute, say } from './stream_dom';

export interface Part {
  key: string;
  name: string;
  element: HTMLElement;
}

export class Tabs {
  readonly element = make('div', { class: 'tabs' });
  private readonly tabs: HTMLButtonElement[];
  private readonly panels: HTMLElement[];

  constructor(label: string, private readonly parts: readonly Part[]) {
    this.tabs = parts.map(({ key, name }, i) => {
      const tab = make('button', { type: 'button', role: 'tab', id: `tab-${key}`, 'aria-controls': `part-${key}` }, name);
      tab.addEventListener('click', () => this.show(i));
      return tab;
    });
    this.panels = parts.map(({ key, element }) =>
      make('div', { role: 'tabpanel', id: `part-${key}`, 'aria-labelledby': `tab-${key}`, tabindex: 0 }, element),
    );
    const list = make('div', { role: 'tablist', class: 'toolbar', 'aria-label': label }, ...this.tabs);
    list.addEventListener('keydown', (event) => this.key(event));
    this.element.append(list, ...this.panels);
    this.show(0);
  }

  /** What is behind its name: how many there are. */
  count(key: string, count: number): void {
    const at = this.parts.findIndex((part) => part.key === key);
    say(this.tabs[at], `${this.parts[at].name}${count ? ` (${count})` : ''}`);
  }

  private show(chosen: number): void {
    this.tabs.forEach((tab, i) => {
      attribute(tab, 'aria-selected', String(i === chosen));
      attribute(tab, 'tabindex', i === chosen ? 0 : -1);
      this.panels[i].hidden = i !== chosen;
    });
  }

  private key(event: KeyboardEvent): void {
    const now = this.tabs.indexOf(event.target as HTMLButtonElement);
    const last = this.tabs.length - 1;
    const moves: Record<string, number> = { ArrowLeft: now ? now - 1 : last, ArrowRight: now < last ? now + 1 : 0, Home: 0, End: last };
    const to = moves[event.key];
    if (now < 0 || to === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    this.show(to);
    this.tabs[to].focus();
  }
}
