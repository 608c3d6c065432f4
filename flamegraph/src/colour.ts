/**
 * Colours by what they are of, as poireau/report/colours.py has them: the same function has the same colour on every
 * page, in every picture. The hues are Paul Tol's light scheme, made to be told apart by people who are colour-blind
 * and to be written upon; of each there are four shades. What has changed is orange where it is more, blue where less.
 */

export const HUES = ['#77aadd', '#ee8866', '#44bb99', '#eedd88', '#ffaabb', '#99ddff', '#b9cc5a', '#c9a8dd'];
export const SHADES = [0, 0.14, 0.28, 0.42]; // of the paper's colour in them
const DARK_SHADES = [0, 0.11, 0.22, 0.33];
const DIM = [0.44, 0.43, 0.44, 0.59, 0.52, 0.59, 0.52, 0.48]; // how much of the paper is in each hue, in the dark

/** What isn't a function, by the names of colours.py; look.css has the same, and test/colour_test.ts sees to that. */
export const PLAIN = {
  light: { paper: '#ffffff', ink: '#1c2430', faint: '#66707c', rule: '#dde1e6', rest: '#c8cdd4' },
  dark: { paper: '#14181e', ink: '#e8ebef', faint: '#98a2ae', rule: '#2c333c', rest: '#454d57' },
};

/** By the index that comes with the data. */
export const LIGHT: readonly string[] = shades(
  PLAIN.light.paper,
  HUES.map(() => 0),
  SHADES,
);
export const DARK: readonly string[] = shades(PLAIN.dark.paper, DIM, DARK_SHADES);

const CHANGES = {
  light: { more: ['#fbd9bd', '#f8bb87', '#f39a52', '#e57d2a'], less: ['#cfe0f4', '#a9c9ec', '#80b0e2', '#5b98d6'] },
  dark: { more: ['#55402f', '#704828', '#875021', '#9a5719'], less: ['#2b4057', '#2c4d70', '#2d5a8a', '#3368a3'] },
};
const FACTORS = [1.1, 1.5, 3]; // from the one shade to the next

export interface Scheme {
  dark: boolean;
  paper: string;
  ink: string;
  faint: string;
  rule: string;
  rest: string;
  of(index: number): string;
  /** `significant`: it is more than chance. From nothing, or to nothing, is the most. */
  changed(before: number, after: number, significant: boolean): string;
}

export const scheme = (dark: boolean): Scheme => (dark ? DARK_SCHEME : LIGHT_SCHEME);

/** The one on the page now: what was chosen, or else what the system has. */
export function current(): Scheme {
  return scheme(isDark());
}

export function isDark(): boolean {
  const chosen = document.documentElement.dataset['theme'];
  return chosen ? chosen === 'dark' : matchMedia('(prefers-color-scheme: dark)').matches;
}

/** The other one; it is kept where the browser lets us. */
export function toggleTheme(): void {
  const theme = isDark() ? 'light' : 'dark';
  document.documentElement.dataset['theme'] = theme;
  try {
    localStorage.setItem('poireau-theme', theme);
  } catch {
    // A page without a place of its own.
  }
  document.dispatchEvent(new Event(CHANGED));
}

/** Calls `then` whenever it has changed, for whatever reason. Returns what ends that. */
export function onTheme(then: () => void): () => void {
  const media = matchMedia('(prefers-color-scheme: dark)');
  media.addEventListener('change', then);
  document.addEventListener(CHANGED, then);
  return () => {
    media.removeEventListener('change', then);
    document.removeEventListener(CHANGED, then);
  };
}

/** What was chosen the last time. */
export function recallTheme(): void {
  try {
    const theme = localStorage.getItem('poireau-theme');
    if (theme === 'light' || theme === 'dark') document.documentElement.dataset['theme'] = theme;
  } catch {
    // As above.
  }
}

const CHANGED = 'poireau-theme';

/** `share` of the other in it. */
export function mixed(colour: string, other: string, share: number): string {
  const parts = [1, 3, 5].map((at) => {
    const [one, two] = [colour, other].map((each) => parseInt(each.slice(at, at + 2), 16)) as [number, number];
    return half_even(one + (two - one) * share)
      .toString(16)
      .padStart(2, '0');
  });
  return `#${parts.join('')}`;
}

function half_even(value: number): number {
  const down = Math.floor(value);
  const rest = value - down;
  return rest > 0.5 || (rest === 0.5 && down % 2 === 1) ? down + 1 : down;
}

function shades(paper: string, dim: readonly number[], of: readonly number[]): string[] {
  return HUES.flatMap((hue, at) => of.map((by) => mixed(mixed(hue, paper, dim[at]!), paper, by)));
}

function made(dark: boolean): Scheme {
  const plain = dark ? PLAIN.dark : PLAIN.light;
  const fills = dark ? DARK : LIGHT;
  const { more, less } = dark ? CHANGES.dark : CHANGES.light;
  return {
    dark,
    ...plain,
    of: (index) => (index < 0 ? plain.rest : fills[index % fills.length]!),
    changed: (before, after, significant) => {
      if (!significant || before === after) return plain.rule;
      const factor = before <= 0 || after <= 0 ? Infinity : Math.max(after / before, before / after);
      return (after > before ? more : less)[FACTORS.filter((least) => factor >= least).length]!;
    },
  };
}

const LIGHT_SCHEME = made(false);
const DARK_SCHEME = made(true);
