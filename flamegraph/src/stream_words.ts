/** What is told of a band at a moment: in the tooltip, to screen readers, in the legend. */
import { between, clock, counted, place, qualified, share, whole } from './format';
import type { Band, Figures, Streams } from './picture';
import { named } from './stream_dom';

export const isOthers = (band: Band): boolean => band.colour < 0 && !band.function;

/** The same band in the next frame has the same. */
export const identity = (band: Band): string => [band.name, band.function, band.file, band.line, band.module].join('\n');

export const nameOf = (band: Band): string => named(qualified(band.function || band.name), 120);

/** Where that is; empty: its name says it all. */
export function placeOf(band: Band): string {
  if (!band.function) return '';
  const [at, module] = [place(band.file, band.line), named(band.module.slice(band.module.lastIndexOf('/') + 1), 80)];
  return [at, module].filter(Boolean).join(', ');
}

export const figure = (of: Figures, at: number): string => whole(of.value[at], of.low[at], of.high[at]);

export const within = (of: Figures, at: number): string => between(of.value[at], of.low[at], of.high[at]);

/** Lines: name, place, bytes, what part of all. */
export function told(streams: Streams, band: Band | null, at: number): string[] {
  const all = streams.total;
  const total = `all: ${figure(all, at)}, ${counted(all.samples[at], 'sample')}`;
  if (band === null) return [clock(streams.times[at]), total];
  const part = share(band.bytes.value[at], all.value[at]);
  return [
    nameOf(band),
    placeOf(band),
    `${figure(band.bytes, at)}, ${counted(band.bytes.samples[at], 'sample')}${part ? `, ${part} of all` : ''}`,
    `${clock(streams.times[at])} · ${total}`,
  ].filter(Boolean);
}
