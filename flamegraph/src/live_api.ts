/** Asking the server: the token, one stream of events that comes back by itself, and what is asked once. */
import type { Picture } from './picture';
import type { Answer, Command, Events } from './live_types';

const KEPT = 'poireau-token';
const SOONEST = 1000; // milliseconds until the second new try
const LATEST = 15_000;
const SILENT = 40_000; // the server says something every 15 s

/** Out of the address, so that it is in no history and no screenshot; null: there is none. */
export function token(): string | null {
  const address = new URL(location.href);
  const given = address.searchParams.get('token');
  try {
    if (given !== null) {
      sessionStorage.setItem(KEPT, given);
      address.searchParams.delete('token');
      history.replaceState(history.state, '', address);
    }
    return given ?? sessionStorage.getItem(KEPT);
  } catch {
    return given; // nothing can be kept here: it stays in the address
  }
}

export type State = 'connecting' | 'connected' | 'lost' | 'refused';

export interface Watched {
  id: string | null;
  by: string;
}

/** One stream at a time; it tries again until it is closed. */
export class Connection {
  private source: EventSource | null = null;
  private retry = 0;
  private guard = 0;
  private wait = 0;
  private watched: Watched = { id: null, by: 'line' };

  constructor(
    private readonly secret: string,
    private readonly take: <K extends keyof Events>(kind: K, event: Events[K]) => void,
    private readonly state: (state: State) => void,
  ) {}

  watch(watched: Watched): void {
    this.watched = watched;
    this.wait = 0;
    this.open();
  }

  close(): void {
    clearTimeout(this.retry);
    clearTimeout(this.guard);
    this.source?.close();
    this.source = null;
  }

  private open(): void {
    this.close();
    const { id, by } = this.watched;
    const query = new URLSearchParams({ token: this.secret, by, ...(id === null ? {} : { watch: id }) });
    const source = new EventSource(`/api/events?${query}`);
    this.source = source;
    this.state('connecting');
    source.addEventListener('open', () => {
      this.wait = 0;
      this.state('connected');
    });
    source.addEventListener('error', () => this.again());
    source.addEventListener('beat', () => this.listen());
    const kinds = ['hello', 'processes', 'bands', 'history', 'point', 'leaks', 'errors', 'health', 'gone', 'alert'] as const;
    for (const kind of kinds)
      source.addEventListener(kind, (event: MessageEvent<string>) => {
        const said = parsed<Events[typeof kind]>(event.data);
        if (said !== null) this.take(kind, said);
      });
  }

  /** Whose beat stops is gone, whatever the connection says. */
  private listen(): void {
    clearTimeout(this.guard);
    this.guard = window.setTimeout(() => this.again(), SILENT);
  }

  private again(): void {
    this.close();
    this.state('lost');
    this.retry = window.setTimeout(() => void this.ask(), this.wait);
    this.wait = Math.min(Math.max(this.wait * 2, SOONEST), LATEST);
  }

  /** An EventSource doesn't say why it failed: whether the server wants us at all. */
  private async ask(): Promise<void> {
    try {
      const answer = await fetch('/api/processes', { headers: { 'X-Poireau-Token': this.secret }, cache: 'no-store' });
      if (answer.status === 401 || answer.status === 403) return this.state('refused');
    } catch {
      return this.again();
    }
    this.open();
  }
}

function parsed<T>(text: string): T | null {
  try {
    return JSON.parse(text) as T;
  } catch {
    return null;
  }
}

/** Raises what can be shown. */
export async function picture(secret: string, id: string, moment: number | null): Promise<Picture> {
  const query = new URLSearchParams({ id, ...(moment === null ? {} : { at: String(Math.round(moment)) }) });
  const answer = await fetch(`/api/flame?${query}`, { headers: { 'X-Poireau-Token': secret } });
  if (!answer.ok) throw new Error(await reason(answer));
  return (await answer.json()) as Picture;
}

/** What was said to it; what went wrong on the way, too. */
export async function control(secret: string, command: Command): Promise<Answer> {
  try {
    const answer = await fetch('/api/control', {
      method: 'POST',
      headers: { 'Content-Type': 'application/json', 'X-Poireau-Token': secret },
      body: JSON.stringify(command),
    });
    return { ok: answer.ok, text: await reason(answer) };
  } catch {
    return { ok: false, text: 'The server does not answer: nothing was changed, as far as is known.' };
  }
}

async function reason(answer: Response): Promise<string> {
  const text = await answer.text();
  const said = parsed<Partial<Answer>>(text);
  return said?.text ?? (text.trim().slice(0, 300) || `${answer.status} ${answer.statusText}`);
}
