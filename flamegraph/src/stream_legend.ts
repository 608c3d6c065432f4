/** The bands as a table, highest first, as they lie: what each has at the moment that is looked at. A button pins one. */
import { share } from './format';
import type { Band } from './picture';
import { make } from './controls';
import { attribute, named, say } from './stream_dom';
import { identity, isOthers, nameOf, placeOf, within } from './stream_words';
import { clock, number, size } from './format';
import type { Drawn } from './stream_chart';
import { current } from './colour';

interface Row {
  row: HTMLTableRowElement;
  swatch: HTMLElement;
  button: HTMLButtonElement;
  place: HTMLElement;
  cells: HTMLTableCellElement[];
  band: Band | null;
}

const HEADS = ['', 'Band', 'In use', '95 %', 'Share', 'Samples', 'Most'];

export class Legend {
  readonly table = make('table', { class: 'bands', 'aria-label': 'Bands' });
  private readonly caption = make('caption', { class: 'small faint' });
  private readonly body = make('tbody');
  private readonly rows: Row[] = [];

  /** `look`: the one under the pointer, or none; `pin`: the one whose button was pressed. */
  constructor(
    private readonly look: (band: Band | null) => void,
    private readonly pin: (band: Band) => void,
  ) {
    const heads = HEADS.map((text, i) => make('th', { scope: 'col', class: i < 2 ? '' : 'number' }, text || '\u00a0'));
    this.table.append(this.caption, make('thead', {}, make('tr', {}, ...heads)), this.body);
  }

  show(drawn: Drawn, at: number, focused: number, pinned: ReadonlySet<string>): void {
    const { bands, times, total } = drawn;
    const scheme = current();
    this.table.hidden = bands.length === 0;
    say(this.caption, times.length ? `At ${clock(times[at], true)}, the highest band first` : '');
    while (this.rows.length < bands.length) this.rows.push(this.row());
    this.rows.forEach(({ row }, i) => attribute(row, 'hidden', i >= bands.length));
    bands.forEach((_, i) => {
      const index = bands.length - 1 - i;
      const band = bands[index];
      const row = this.rows[i];
      row.band = band;
      row.swatch.style.background = scheme.of(band.colour);
      say(row.button, nameOf(band));
      attribute(row.button, 'title', named(band.name, 1000));
      say(row.place, placeOf(band));
      attribute(row.button, 'aria-pressed', String(pinned.has(identity(band))));
      attribute(row.row, 'class', index === focused ? 'focused' : isOthers(band) ? 'others' : '');
      const { value, samples } = band.bytes;
      const most = value.reduce((one, two) => Math.max(one, two), 0);
      const texts = [size(value[at]), within(band.bytes, at), share(value[at], total.value[at]), number(samples[at]), size(most)];
      texts.forEach((text, n) => say(row.cells[n], text));
    });
  }

  private row(): Row {
    const swatch = make('span', { class: 'swatch' });
    const button = make('button', { type: 'button', class: 'link name', 'aria-pressed': 'false' });
    const place = make('span', { class: 'faint small name' });
    const cells = HEADS.slice(2).map(() => make('td', { class: 'number' }));
    const row = make('tr', {}, make('td', { class: 'swatches' }, swatch), make('td', {}, button, ' ', place), ...cells);
    const made: Row = { row, swatch, button, place, cells, band: null };
    button.addEventListener('click', () => made.band && this.pin(made.band));
    button.addEventListener('focus', () => this.look(made.band));
    button.addEventListener('blur', () => this.look(null));
    row.addEventListener('pointerenter', () => this.look(made.band));
    row.addEventListener('pointerleave', () => this.look(null));
    this.body.append(row);
    return made;
  }
}
