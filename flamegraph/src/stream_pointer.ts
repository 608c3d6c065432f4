/** What a pointer does over a stage, as its meaning: it hovers, it brushes from one place to another, it clicks. */

export interface Pointing {
  /** Null: it has left. Offsets are within the stage. */
  hover: (at: { x: number; y: number; clientX: number; clientY: number } | null) => void;
  brush: (from: number, to: number, done: boolean) => void;
  click: (x: number) => void;
}

const STILL = 4; // pixels; less is a click

/** Returns what ends it. */
export function pointing(stage: HTMLElement, { hover, brush, click }: Pointing): () => void {
  let from: number | null = null;
  let brushing = false;
  const place = (event: PointerEvent): { x: number; y: number } => {
    const { left, top } = stage.getBoundingClientRect();
    return { x: event.clientX - left, y: event.clientY - top };
  };
  const down = (event: PointerEvent): void => {
    if (event.button !== 0) return;
    from = place(event).x;
    brushing = false;
    stage.setPointerCapture(event.pointerId);
  };
  const move = (event: PointerEvent): void => {
    const { x, y } = place(event);
    if (from !== null) {
      brushing ||= Math.abs(x - from) > STILL;
      if (brushing) return brush(from, x, false);
    }
    hover({ x, y, clientX: event.clientX, clientY: event.clientY });
  };
  const up = (event: PointerEvent): void => {
    if (from === null) return;
    const began = from;
    from = null;
    if (brushing) brush(began, place(event).x, true);
    else click(place(event).x);
  };
  const cancel = (): void => {
    from = null;
  };
  const leave = (): void => {
    if (from === null) hover(null);
  };
  const all = { pointerdown: down, pointermove: move, pointerup: up, pointercancel: cancel, pointerleave: leave };
  const each = Object.entries(all) as [keyof HTMLElementEventMap, (event: Event) => void][];
  for (const [name, then] of each) stage.addEventListener(name, then);
  return () => {
    for (const [name, then] of each) stage.removeEventListener(name, then);
  };
}
