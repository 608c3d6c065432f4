/** What each key does, and how that is told. */

import { isTyping } from './controls';

export interface Keys {
  move(way: 'left' | 'right' | 'up' | 'down' | 'first'): void;
  into(): void;
  out(): void;
  search(): void;
  next(by: 1 | -1): void;
  invert(): void;
  flip(): void;
  details(): void;
  theme(): void;
  copy(): void;
  help(): void;
  view(number: number): void;
}

export const KEYS: readonly [string, string][] = [
  ['← → ↑ ↓', 'to the box beside, above or below'],
  ['Enter', 'zoom into it'],
  ['Esc ⌫', 'zoom out; Home: all the way'],
  ['/', 'search by name, file or module; a regular expression, too'],
  ['n N', 'to the next match, and back'],
  ['1 … 9', 'the views, in their order'],
  ['i', 'invert: begin with who asked for memory'],
  ['f', 'root at the bottom (flame) or on top (icicle)'],
  ['d', 'details beside the picture'],
  ['c', 'copy the stack'],
  ['t', 'light or dark'],
];

/** Returns true if the key was for us. */
export function act(event: KeyboardEvent, keys: Keys, stage: HTMLElement): boolean {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return false;
  if (isTyping(event.target)) return false;
  const target = event.target as Element | null;
  const free = !target?.closest('button, summary, a, dialog, [role=slider]');
  const onStage = target === stage || target === document.body;
  const moves: Record<string, 'left' | 'right' | 'up' | 'down' | 'first'> = {
    ArrowLeft: 'left',
    ArrowRight: 'right',
    ArrowUp: 'up',
    ArrowDown: 'down',
    Home: 'first',
  };
  const move = moves[event.key];
  if (move) return onStage && done(() => keys.move(move));
  if (event.key === 'Enter') return free && onStage && done(() => keys.into());
  if (event.key === 'Escape' || event.key === 'Backspace') return done(() => keys.out());
  if (/^[1-9]$/.test(event.key)) return done(() => keys.view(Number(event.key) - 1));
  const others: Record<string, () => void> = {
    '/': () => keys.search(),
    n: () => keys.next(1),
    N: () => keys.next(-1),
    i: () => keys.invert(),
    f: () => keys.flip(),
    d: () => keys.details(),
    t: () => keys.theme(),
    c: () => keys.copy(),
    '?': () => keys.help(),
  };
  const other = others[event.key];
  return other ? done(other) : false;
}

function done(what: () => void): true {
  what();
  return true;
}
