/** Retunes the watched process, and says what came of it. */
import { button, make } from './controls';
import type { Answer, Command, Process } from './live_types';
import { attribute, exactly, named, say } from './stream_dom';

const LEAST = 4096; // bytes: where the steps end; what is typed may be less
const MOST = 1 << 30;
const TYPICAL = 512 << 10;

export class Control {
  readonly element = make('form', { class: 'toolbar control', 'aria-label': 'Control' });
  private readonly period = make('input', { 'aria-label': 'Sample period', size: 9, spellcheck: 'false', autocomplete: 'off' });
  private readonly answer = make('span', { role: 'status', class: 'small' });
  private readonly why = make('span', { class: 'faint small' });
  private readonly buttons: HTMLButtonElement[];
  private readonly arm = button('Arm', () => void this.send({ action: 'arm' }));
  private readonly disarm = button('Disarm', () => void this.send({ action: 'disarm' }));
  private process: Process | null = null;
  private busy = false;

  constructor(private readonly ask: (command: Command) => Promise<Answer>) {
    const set = make('button', { type: 'submit', class: 'first' }, 'Set');
    const finer = button('−', () => this.step(0.5), { 'aria-label': 'Half the period', title: 'Half the period: twice the samples' });
    const coarser = button('+', () => this.step(2), { 'aria-label': 'Twice the period', title: 'Twice the period: half the samples' });
    const flush = button('Flush', () => void this.send({ action: 'flush' }), { title: 'Write what is buffered to the trace' });
    this.buttons = [finer, coarser, set, this.arm, this.disarm, flush];
    this.period.placeholder = '64KiB, auto';
    const label = make('label', {}, 'Sample period', this.period);
    this.element.append(label, finer, coarser, set, this.arm, this.disarm, flush, this.answer, this.why);
    this.element.addEventListener('submit', (event) => {
      event.preventDefault();
      void this.send({ action: 'set', name: 'sample_period', value: this.period.value.trim() });
    });
  }

  show(process: Process | null): void {
    const other = process?.id !== this.process?.id;
    const changed = other || process?.period !== this.process?.period;
    this.process = process;
    if (other) say(this.answer, '');
    if (changed && process && document.activeElement !== this.period && !this.busy) this.period.value = process.period ? exactly(process.period) : '';
    this.able();
  }

  private able(): void {
    const { process } = this;
    const tunable = process !== null && process.tunable && process.state !== 'ended';
    for (const each of this.buttons) each.disabled = !tunable || this.busy;
    this.period.disabled = !tunable;
    const dormant = process?.state === 'dormant';
    this.arm.hidden = !dormant;
    this.disarm.hidden = dormant;
    const why = process?.state === 'ended' ? 'It has ended.' : process?.why_not || 'It cannot be retuned.';
    say(this.why, tunable || process === null ? '' : named(why));
  }

  /** To the next power of two: what is typed is where it begins. */
  private step(by: number): void {
    const now = bytes(this.period.value) || this.process?.period || TYPICAL;
    const power = Math.log2(now) + Math.log2(by);
    const next = 2 ** (by < 1 ? Math.ceil(power - 1e-9) : Math.floor(power + 1e-9));
    this.period.value = exactly(Math.min(Math.max(next, LEAST), MOST));
  }

  private async send(command: Omit<Command, 'id'>): Promise<void> {
    if (this.process === null || this.busy) return;
    const { id } = this.process;
    if (command.action === 'set' && !command.value) return this.tell({ ok: false, text: 'Say a period: a size such as 64KiB, 1 for every call, or auto.' });
    this.busy = true;
    this.able();
    this.tell({ ok: true, text: 'Asked …' });
    const answer = await this.ask({ id, ...command });
    this.busy = false;
    this.able();
    if (this.process?.id === id) this.tell(answer);
  }

  private tell({ ok, text }: Answer): void {
    say(this.answer, named(text, 400));
    attribute(this.answer, 'class', ok ? 'small' : 'small warn');
  }
}

/** Of what people type: 64KiB, 1M, 512k; NaN: of nothing such. */
export function bytes(text: string): number {
  const found = /^\s*(\d+(?:\.\d+)?)\s*([kmgt]?)i?b?\s*$/i.exec(text);
  if (found === null) return NaN;
  return Number(found[1]) * 1024 ** ['', 'k', 'm', 'g', 't'].indexOf(found[2].toLowerCase());
}
