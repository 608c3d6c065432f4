import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { DARK, LIGHT, PLAIN, mixed, scheme } from '../src/colour';

const parts = (colour: string): number[] => [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16) / 255);
const linear = (part: number): number => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);

function luminance(colour: string): number {
  const [r, g, b] = parts(colour).map(linear) as [number, number, number];
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

function contrast(one: string, other: string): number {
  const [more, less] = [luminance(one), luminance(other)].sort((a, b) => b - a) as [number, number];
  return (more + 0.05) / (less + 0.05);
}

/** What is left of a colour without the second kind of cones (Viénot, Brettel and Mollon, 1999). */
function withoutGreen(colour: string): number[] {
  const [r, g, b] = parts(colour).map(linear) as [number, number, number];
  return [0.29275 * r + 0.70725 * g, 0.29275 * r + 0.70725 * g, -0.02234 * r + 0.02234 * g + b];
}

for (const dark of [false, true]) {
  const theme = dark ? 'dark' : 'light';
  const { of, changed, ink, paper, faint, rest, rule } = scheme(dark);
  const changes = [1.05, 1.2, 2, 9].flatMap((by) => [changed(1, by, true), changed(by, 1, true)]);

  it(`every box can be written upon, in the ${theme}`, () => {
    for (const fill of [...(dark ? DARK : LIGHT), ...changes, rest, rule])
      expect(contrast(fill, ink), fill).toBeGreaterThanOrEqual(4.5);
    expect(contrast(paper, faint)).toBeGreaterThanOrEqual(4.5);
  });

  it(`a function that isn't one has a colour that no function has, in the ${theme}`, () => {
    expect(of(-1)).toBe(rest);
    expect(new Set([...(dark ? DARK : LIGHT), rest]).size).toBe(33);
  });

  it(`more and less differ without the second kind of cones, in the ${theme}`, () => {
    for (const by of [1.2, 2, 9]) {
      const [more, less] = [withoutGreen(changed(1, by, true)), withoutGreen(changed(by, 1, true))];
      const apart = Math.hypot(...more.map((part, at) => part - less[at]!));
      expect(apart, String(by)).toBeGreaterThan(dark ? 0.08 : 0.2);
    }
  });

  it(`what may be chance is grey, and the most is from nothing, in the ${theme}`, () => {
    expect(changed(1, 100, false)).toBe(rule);
    expect(changed(0, 1, true)).toBe(changed(1, 100, true));
    expect(changed(1, 0, true)).toBe(changed(100, 1, true));
  });
}

it('the page has the colours that the canvas has', () => {
  const css = readFileSync(new URL('../src/look.css', import.meta.url), 'utf8');
  const [light, media, dark] = css.split(/^:root|^@media \(prefers-color-scheme/m).slice(1, 4) as [
    string,
    string,
    string,
  ];
  for (const [name, colour] of Object.entries(PLAIN.light)) expect(light).toContain(`--${name}: ${colour};`);
  for (const part of [media, dark])
    for (const [name, colour] of Object.entries(PLAIN.dark)) expect(part).toContain(`--${name}: ${colour};`);
});

it('mixing ends with the other', () => {
  expect([0, 1].map((share) => mixed('#102030', '#ffeedd', share))).toEqual(['#102030', '#ffeedd']);
});
