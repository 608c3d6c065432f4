/** Elements, and the controls that pages share. Text is always text: nothing here reads markup. */

import { isDark, onTheme, toggleTheme } from './colour';

type Child = Node | string | null | undefined | false;

/** Attributes by name; `true`: there, with no value; `false` or undefined: not there. */
export function make<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Record<string, string | number | boolean | undefined> = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes))
    if (value !== undefined && value !== false) element.setAttribute(name, value === true ? '' : String(value));
  fill(element, ...children);
  return element;
}

/** Instead of what is in it. */
export function fill(element: Element, ...children: Child[]): void {
  element.replaceChildren(...children.filter((child): child is Node | string => !!child || child === ''));
}

export function button(
  name: string,
  then: () => void,
  attributes: Record<string, string | boolean> = {},
): HTMLButtonElement {
  const made = make('button', { type: 'button', ...attributes }, name);
  made.addEventListener('click', then);
  return made;
}

/** One that is on or off; `key` is told as its shortcut. */
export function toggle(name: string, key: string, on: boolean, then: (on: boolean) => void): HTMLButtonElement {
  const made = button(name, () => then(press(made, made.getAttribute('aria-pressed') !== 'true')), {
    title: `${name} (${key})`,
  });
  press(made, on);
  return made;
}

export function press(toggled: HTMLButtonElement, on: boolean): boolean {
  toggled.setAttribute('aria-pressed', String(on));
  return on;
}

export interface Choice {
  value: string;
  name: string;
}

export function choose(label: string, choices: readonly Choice[], then: (value: string) => void): HTMLSelectElement {
  const made = make('select', { 'aria-label': label });
  made.append(...choices.map(({ value, name }) => make('option', { value }, name)));
  made.addEventListener('change', () => then(made.value));
  return made;
}

/** A button that opens others; it closes when one was used, or what is elsewhere is clicked. */
export function menu(name: string, actions: readonly [string, () => void][]): HTMLDetailsElement {
  const made = make('details', { class: 'menu' }, make('summary', {}, name));
  const close = (): void => made.removeAttribute('open');
  const buttons = actions.map(([title, act]) =>
    button(title, () => {
      close();
      act();
    }),
  );
  made.append(make('div', {}, ...buttons));
  made.addEventListener('focusout', (event) => {
    if (!(event.relatedTarget instanceof Node) || !made.contains(event.relatedTarget)) close();
  });
  // A button that is pressed takes the focus only where the browser lets it.
  made.addEventListener('pointerdown', (event) => event.target instanceof HTMLButtonElement && event.preventDefault());
  made.addEventListener('keydown', (event) => {
    if (event.key !== 'Escape' || !made.open) return;
    event.stopPropagation();
    close();
    made.querySelector('summary')?.focus();
  });
  return made;
}

export function themeButton(): HTMLButtonElement {
  const made = button('', toggleTheme, { 'aria-label': 'Light or dark', title: 'Light or dark (t)' });
  const name = (): void => {
    made.textContent = isDark() ? '☀' : '☾';
  };
  name();
  onTheme(name);
  return made;
}

/** A dialog that says which keys there are. */
export function help(title: string, keys: readonly [string, string][]): HTMLDialogElement {
  const rows = keys.flatMap(([key, does]) => [
    make('span', {}, ...key.split(' ').map((each) => make('kbd', {}, each))),
    make('span', {}, does),
  ]);
  const made = make('dialog', { 'aria-label': title }, make('h2', {}, title), make('div', { class: 'keys' }, ...rows));
  made.append(
    make(
      'p',
      { class: 'toolbar' },
      button('Close', () => made.close(), { class: 'first' }),
    ),
  );
  return made;
}

/** Gives what was made to whoever looks at the page as a file. */
export function download(name: string, content: Blob): void {
  const url = URL.createObjectURL(content);
  const link = make('a', { href: url, download: name.replace(/[^\w.+-]+/g, '_') });
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

/** Whether the clipboard has it now. Pages from a file may have to ask in the old way. */
export async function copy(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = make('textarea', { class: 'unseen', 'aria-hidden': 'true' });
    area.value = text;
    document.body.append(area);
    area.select();
    const done = document.execCommand('copy');
    area.remove();
    return done;
  }
}

/** Someone is writing there: keys are theirs. */
export function isTyping(target: EventTarget | null): boolean {
  return (
    target instanceof HTMLElement && (/^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName) || target.isContentEditable)
  );
}
