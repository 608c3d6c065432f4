/** What is seen, to keep: as SVG, as PNG, as folded stacks for other tools. */

import { download } from './controls';
import { plain, whole } from './format';
import type { Drawn } from './flame_canvas';
import { type Painter, doubtOf, fontOf, heightOf, top } from './flame_paint';
import { type Names, formOf, line, stackOf, toldSmaller as told } from './flame_words';
import { type Tree, Upright } from './tree';

const EDGE = 12;
const HEAD = 40;
const TALLEST = 16_000; // pixels of a PNG

/** Gives it to whoever looks at the page. */
export async function save(
  as: 'svg' | 'png' | 'folded',
  seen: Drawn,
  names: Names,
  painter: Painter,
  title: string,
): Promise<void> {
  const { nodes, shown } = seen.tree;
  const head = [plain(title), totalOf(seen.tree)] as const;
  const made = {
    svg: () => svg(seen, names, painter, head),
    png: () => png(seen, painter, head),
    folded: () => folded(new Upright(nodes, shown), names),
  };
  const content = await made[as]();
  if (content) download(`${plain(title)}-${shown.key}.${as}`, content);
}

function svg({ tree, made, look }: Drawn, names: Names, painter: Painter, head: readonly [string, string]): Blob {
  const { scheme, line: high, size } = look;
  const height = heightOf(made, look);
  const [wide, tall] = [made.width + 2 * EDGE, height + HEAD + EDGE];
  const on = document.createElement('canvas').getContext('2d')!;
  const parts = [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${wide}" height="${tall}" viewBox="0 0 ${wide} ${tall}" ` +
      `font-family="system-ui, 'Segoe UI', 'DejaVu Sans', sans-serif" font-size="${size}" fill="${scheme.ink}">`,
    `<linearGradient id="fade"><stop stop-color="${scheme.paper}" stop-opacity="0"/>` +
      `<stop offset="1" stop-color="${scheme.paper}" stop-opacity="0.75"/></linearGradient>`,
    hatch('doubt1', 8, scheme.paper),
    hatch('doubt2', 4, scheme.paper),
    `<rect width="100%" height="100%" fill="${scheme.paper}"/>`,
    `<text x="${EDGE}" y="18" font-weight="bold">${escaped(head[0])}</text>`,
    `<text x="${EDGE}" y="34" fill="${scheme.faint}">${escaped(head[1])}</text>`,
    `<g transform="translate(${EDGE} ${HEAD})">`,
  ];
  made.rows.forEach((row, number) => {
    const y = top(look, number, height);
    row.box.forEach((box, at) => {
      const [x, width] = [row.x[at]!, row.width[at]!];
      const shown = Math.max(width - (width > 3 ? 1 : 0), 0.5);
      const shape = (left: number, right: number, fill: string): string =>
        `<rect x="${round(left)}" y="${y}" width="${round(right - left)}" height="${high - 1}" fill="${fill}"/>`;
      const smaller = row.smaller[at]!;
      const said = smaller ? told(smaller) : line(tree, names, box);
      const { fill, dim } = painter.fill(tree, row, at, look, number < made.above);
      parts.push(`<g><title>${escaped(said)}</title>${shape(x, x + shown, fill)}`);
      const doubtful = smaller ? null : doubtOf(tree, box, shown);
      if (doubtful) {
        const from = doubtful.edge ? x + shown - doubtful.edge : x;
        parts.push(shape(from, x + shown, `url(#${doubtful.edge ? 'fade' : `doubt${doubtful.dense ? 2 : 1}`})`));
      }
      const label = width > 22 ? painter.label(on, tree, row, at, look.size) : '';
      const slanted = !smaller && names.inlined(tree.node(box)) ? ' font-style="italic"' : '';
      const style = `${dim ? ` fill="${scheme.faint}"` : ''}${slanted}`;
      if (label)
        parts.push(
          `<text x="${round(x + 5)}" y="${round(y + (high + size) / 2 - 2)}"${style}>${escaped(label)}</text>`,
        );
      parts.push('</g>');
    });
  });
  return new Blob([parts.join('\n'), '\n</g></svg>\n'], { type: 'image/svg+xml' });
}

async function png(
  { tree, made, look }: Drawn,
  painter: Painter,
  head: readonly [string, string],
): Promise<Blob | null> {
  const height = heightOf(made, look);
  const scale = Math.min(2, TALLEST / (height + HEAD + EDGE));
  const canvas = document.createElement('canvas');
  canvas.width = Math.round((made.width + 2 * EDGE) * scale);
  canvas.height = Math.round((height + HEAD + EDGE) * scale);
  const on = canvas.getContext('2d', { alpha: false })!;
  on.scale(scale, scale);
  on.fillStyle = look.scheme.paper;
  on.fillRect(0, 0, canvas.width, canvas.height);
  on.fillStyle = look.scheme.ink;
  on.font = `bold ${fontOf(look.size)}`;
  on.fillText(head[0], EDGE, 18);
  on.font = fontOf(look.size);
  on.fillStyle = look.scheme.faint;
  on.fillText(head[1], EDGE, 34);
  on.translate(EDGE, HEAD);
  painter.paint(on, tree, made, look, 0, height, height);
  return new Promise((resolve) => canvas.toBlob(resolve, 'image/png'));
}

/** Lines `main;f;g 4096`, of all that ends somewhere, as poireau/report/folded.py has them. */
export function folded(tree: Tree, names: Names): Blob {
  const lines = new Map<string, number>();
  const waiting: [number, string][] = [[0, '']];
  while (waiting.length) {
    const [box, above] = waiting.pop()!;
    const node = tree.node(box);
    const here = box === 0 ? '' : `${above}${above && ';'}${names.of(node).replaceAll(';', ':')}`;
    const children = tree.children(box);
    let own = tree.value(box);
    for (let at = children.length - 1; at >= 0; at--) {
      own -= tree.value(children[at]!);
      waiting.push([children[at]!, here]);
    }
    if (here && own > 0.5) lines.set(here, (lines.get(here) ?? 0) + own);
  }
  return new Blob(
    [...lines].map(([stack, value]) => `${stack} ${Math.round(value)}\n`),
    { type: 'text/plain' },
  );
}

/** A line a function, from who asked for memory outwards, as debuggers have them. */
export function asText(tree: Tree, box: number, names: Names): string {
  const total = line(tree, names, box);
  const frames = stackOf(tree, box).reverse();
  const told = frames.map((each, number) => {
    const node = tree.node(each);
    const where = names.file(node) || names.module(node);
    const inlined = names.inlined(node) ? ' [inlined]' : '';
    return `#${String(number).padEnd(3)} ${names.of(node)}${where && ` (${where})`}${inlined}`;
  });
  return `${tree.shown.name}: ${total}\n${told.join('\n')}\n`;
}

/** How much all is, for the line below a title. */
function totalOf(tree: Tree): string {
  const { value, low, high } = tree.bytes(0);
  return `${tree.shown.name}: ${whole(value, low, high, formOf(tree))}`;
}

const round = (length: number): string => String(Math.round(length * 100) / 100);

const escaped = (text: string): string =>
  text.replace(/[&<>"]/g, (each) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' })[each]!);

function hatch(id: string, apart: number, colour: string): string {
  const size = `width="${apart}" height="${apart}"`;
  const tile = `id="${id}" ${size} patternUnits="userSpaceOnUse" patternTransform="rotate(45)"`;
  return `<pattern ${tile}><rect width="1.4" height="${apart}" fill="${colour}" opacity="0.7"/></pattern>`;
}
