/** Changes to elements that are there: what stays the same costs nothing, and is not read out again. */
import { plain, shortened, size } from './format';

export function say(to: Element, text: string): void {
  if (to.textContent !== text) to.textContent = text;
}

/** A true one is there, a false one isn't. */
export function attribute(of: Element, name: string, value: string | number | boolean): void {
  const text = value === true ? '' : String(value);
  if (value === false) of.removeAttribute(name);
  else if (of.getAttribute(name) !== text) of.setAttribute(name, text);
}

/** Of bytes that are known: 64KiB, with no digit that says nothing. */
export const exactly = (bytes: number): string => size(bytes, 0);

/** Somebody's name for something, as it can be shown. */
export const named = (name: string, longest = 300): string => shortened(plain(name), longest);
