/** The axes of a streamgraph: times, and bytes; where the bands stand on nothing, a measure of so many bytes. */
import type { Scheme } from './colour';
import { exactly } from './stream_dom';
import { LEFT, TOP, type Frame } from './stream_frame';

export function axes(to: CanvasRenderingContext2D, frame: Frame, scheme: Scheme, wiggle: boolean): void {
  to.strokeStyle = scheme.rule;
  to.fillStyle = scheme.faint;
  to.lineWidth = 1;
  to.textBaseline = 'middle';
  to.textAlign = 'center';
  if (frame.xs.length) times(to, frame);
  to.textAlign = 'right';
  const { bands, total } = frame;
  for (const bytes of heights(total.most, frame.floor - total.at(total.most) < 60 ? 2 : 3)) level(to, frame, total.at(bytes), bytes);
  const all = bands.most - bands.least;
  if (!wiggle) for (const bytes of heights(bands.most, 5)) level(to, frame, bands.at(bytes), bytes);
  else if (all > 0) measure(to, frame, scheme, heights(all, 4)[1] ?? all);
}

function rule(to: CanvasRenderingContext2D, x1: number, y1: number, x2: number, y2: number): void {
  to.beginPath();
  to.moveTo(Math.round(x1) + 0.5, Math.round(y1) + 0.5);
  to.lineTo(Math.round(x2) + 0.5, Math.round(y2) + 0.5);
  to.stroke();
}

function level(to: CanvasRenderingContext2D, frame: Frame, y: number, bytes: number): void {
  rule(to, LEFT, y, frame.right, y);
  to.fillText(exactly(bytes), LEFT - 8, y);
}

function times(to: CanvasRenderingContext2D, frame: Frame): void {
  const ticks = frame.time.ticks(Math.max(2, Math.floor((frame.width - LEFT) / 110)));
  const form = frame.time.tickFormat();
  let free = 0;
  for (const tick of ticks) {
    const x = frame.time(tick);
    rule(to, x, TOP, x, frame.floor);
    const text = clock(tick, ticks, form);
    const half = to.measureText(text).width / 2;
    if (x - half < free || x + half > frame.width) continue;
    to.fillText(text, x, frame.floor + 13);
    free = x + half + 10;
  }
}

/** On a baseline that moves there is no axis: how high so many bytes are. */
function measure(to: CanvasRenderingContext2D, frame: Frame, scheme: Scheme, bytes: number): void {
  const long = Math.abs(frame.bands.at(0) - frame.bands.at(bytes));
  const middle = (TOP + frame.bottom) / 2;
  const x = LEFT - 12;
  to.strokeStyle = scheme.faint;
  to.beginPath();
  for (const y of [middle - long / 2, middle + long / 2]) {
    to.moveTo(x - 3, y);
    to.lineTo(x + 4, y);
  }
  to.moveTo(x + 0.5, middle - long / 2);
  to.lineTo(x + 0.5, middle + long / 2);
  to.stroke();
  to.save();
  to.translate(x - 14, middle);
  to.rotate(-Math.PI / 2);
  to.textAlign = 'center';
  to.fillText(exactly(bytes), 0, 0);
  to.restore();
}

/** Round heights in bytes, from 0: 1, 2, 5 or 10 of a power of ten of a unit, about so many. */
export function heights(most: number, about: number): number[] {
  if (!(most > 0)) return [0];
  const unit = 1024 ** Math.min(4, Math.max(0, Math.floor(Math.log2(most) / 10)));
  const rough = most / unit / about;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = ([1, 2, 5, 10].find((each) => each * power >= rough) ?? 10) * power * unit;
  return Array.from({ length: Math.floor(most / step) + 1 }, (_, i) => i * step);
}

/** Hours, minutes and seconds; a day where another one begins; parts of a second where ticks are that near. */
function clock(tick: Date, ticks: readonly Date[], form: (date: Date) => string): string {
  const step = ticks.length > 1 ? Number(ticks[1]) - Number(ticks[0]) : 60_000;
  if (step >= 20 * 3600_000) return form(tick);
  const two = (number: number): string => String(number).padStart(2, '0');
  const hour = `${two(tick.getHours())}:${two(tick.getMinutes())}`;
  if (step >= 60_000) return hour === '00:00' ? form(tick) : hour;
  const second = `${hour}:${two(tick.getSeconds())}`;
  return step >= 1000 ? second : `${second}.${String(tick.getMilliseconds()).padStart(3, '0')}`;
}
