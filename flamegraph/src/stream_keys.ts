/** What keys do to a streamgraph, as its meaning. */
import { isTyping } from './controls';

export const KEYS: readonly [string, string][] = [
  ['← →', 'another moment (with Shift ten further; Home, End)'],
  ['↑ ↓', 'another band'],
  ['Enter', 'flamegraph of that moment'],
  ['Tab', 'to the ends of a window: arrows move them, Enter opens what was allocated in it and is still held'],
  ['Esc', 'closes the flamegraph, then forgets the window, then what is pinned'],
  ['b', 'bands from zero, or as level as can be'],
  ['p', 'pause, where it is live'],
];

export interface Keyed {
  step: (by: number) => void; // moments
  other: (by: 1 | -1) => void; // bands
  open: () => void;
  zero: () => void;
  pause: () => void;
  out: () => void;
  /** It was moved by the keyboard: what is there now is to be heard. */
  moved: () => void;
}

/** `stage` has the arrows while it has the focus; the other keys are the page's, but for what is in `apart`. */
export function onKeys(stage: HTMLElement, apart: HTMLElement, on: Keyed): () => void {
  const key = (event: KeyboardEvent): void => {
    if (event.ctrlKey || event.altKey || event.metaKey || event.defaultPrevented || isTyping(event.target)) return;
    if (document.querySelector('dialog[open]') !== null || apart.contains(event.target as Node)) return;
    const far = event.shiftKey ? 10 : 1;
    const moves: Record<string, () => void> = {
      ArrowLeft: () => on.step(-far),
      ArrowRight: () => on.step(far),
      Home: () => on.step(-Infinity),
      End: () => on.step(Infinity),
      ArrowUp: () => on.other(1),
      ArrowDown: () => on.other(-1),
    };
    const anywhere: Record<string, () => void> = { b: on.zero, p: on.pause, Escape: on.out };
    const move = event.target === stage ? moves[event.key] : undefined;
    const act = move ?? (event.key === 'Enter' && event.target === stage ? on.open : anywhere[event.key]);
    if (act === undefined) return;
    event.preventDefault();
    act();
    if (move) on.moved();
  };
  document.addEventListener('keydown', key);
  return () => document.removeEventListener('keydown', key);
}
