/** The live page: which processes there are, and what one of them has in use now. */
import { recallTheme } from './colour';
import { button, help, isTyping, make, themeButton } from './controls';
import { Connection, control, picture, token, type State } from './live_api';
import { ProcessList } from './live_processes';
import { AlertLog } from './live_tables';
import { Tabs } from './live_tabs';
import type { Events, Hello, Process } from './live_types';
import { Watch } from './live_watch';
import { attribute, named, say } from './stream_dom';
import { KEYS } from './stream_keys';
import type { Stream } from './stream_view';

const STATES: Record<State, string> = {
  connecting: 'connecting …',
  connected: 'connected',
  lost: 'lost, trying again',
  refused: 'refused',
};

const REFUSED = 'The server takes nobody without its token. Open the address that poireau.py serve says, which has it.';

/** For who drives the page from outside, such as the tests. */
export interface Shown {
  stream: Stream;
  flame: Stream['flame'];
  points(): number;
  total(): number;
  middle(): [number, number] | null;
}

export const shown: Shown | null = begin();

function begin(): Shown | null {
  recallTheme();
  const secret = token();
  const theme = themeButton();
  const keys = help('Keys', [['/', 'filter processes'], ['↑ ↓ Enter', 'in the list: another process, watch it'], ...KEYS, ['t', 'light or dark'], ['?', 'this']]);
  const machine = make('span', { class: 'faint small name' });
  const state = make('span', { role: 'status', class: 'state' });
  const head = make(
    'header',
    { class: 'toolbar' },
    make('h1', {}, 'Poireau'),
    machine,
    make('span', { class: 'gap' }),
    state,
    theme,
    button('?', () => keys.showModal(), { 'aria-label': 'Keys', title: 'Keys (?)' }),
  );
  const refused = make('p', { class: 'empty', hidden: true }, REFUSED);
  const main = make('main', { class: 'page live' }, head, refused);
  document.body.append(main, keys);
  document.title = 'Poireau';
  const tell = (now: State): void => {
    say(state, STATES[now]);
    attribute(state, 'data-state', now);
    refused.hidden = now !== 'refused';
  };
  if (secret === null) {
    tell('refused');
    return null;
  }

  let by = 'line';
  let hello: Hello | null = null;
  let all = new Map<string, Process>();
  const asked = new URLSearchParams(location.hash.slice(1)).get('watch');

  const connection = new Connection(secret, take, tell);
  const list = new ProcessList(watchIt);
  const watch = new Watch({
    by: (chosen) => {
      by = chosen;
      connection.watch({ id: watch.watched || null, by });
    },
    picture: (id, moment) => picture(secret, id, moment),
    control: (command) => control(secret, command),
  });
  const alerts = new AlertLog(watchIt);
  const tabs = new Tabs('What is known', [
    { key: 'bands', name: 'Bands', element: watch.bands },
    { key: 'leaks', name: 'Leaks', element: watch.leaks.element },
    { key: 'errors', name: 'Errors', element: watch.errors.element },
    { key: 'health', name: 'Health', element: watch.health.element },
    { key: 'alerts', name: 'Alerts', element: alerts.element },
  ]);
  watch.element.append(tabs.element);
  main.append(list.element, watch.element);

  function watchIt(id: string): void {
    if (watch.watched === id) return;
    watch.begin(id);
    watch.about_process(all.get(id) ?? null);
    list.select(id);
    main.classList.add('watching');
    history.replaceState(history.state, '', `#watch=${encodeURIComponent(id)}`);
    tabs.count('leaks', 0);
    tabs.count('errors', 0);
    connection.watch({ id, by });
  }

  function take<K extends keyof Events>(kind: K, event: Events[K]): void {
    const takers: { [E in keyof Events]?: (event: Events[E]) => void } = {
      hello: (said) => {
        hello = said;
        tellMachine();
      },
      processes: (said) => {
        list.update(said);
        all = new Map(said.processes.map((each) => [each.id, each]));
        if (watch.watched) watch.about_process(all.get(watch.watched) ?? null);
        else if (asked !== null && all.has(asked)) watchIt(asked);
        else if (said.processes.length === 1) watchIt(said.processes[0].id);
      },
      leaks: (said) => {
        watch.leaks.show(said);
        tabs.count('leaks', said.rows.filter(({ known }) => !known).length);
      },
      errors: (said) => {
        watch.errors.show(said);
        tabs.count('errors', said.total);
      },
      health: (said) => watch.health.show(said),
      alert: (said) => tabs.count('alerts', alerts.add(said)),
    };
    (takers[kind] ?? (() => watch.take(kind, event)))(event);
  }

  function tellMachine(): void {
    if (hello === null) return;
    const { host, user, root, version } = hello;
    say(machine, `${named(host, 80)} · processes of ${root ? 'everybody' : named(user, 40)} · ${named(version, 20)}`);
    document.title = `Poireau: ${named(host, 80)}`;
  }

  document.addEventListener('keydown', (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || isTyping(event.target) || keys.open) return;
    const acts: Record<string, () => void> = { t: () => theme.click(), '?': () => keys.showModal(), '/': () => list.focusFilter() };
    if (acts[event.key] === undefined || event.defaultPrevented) return;
    event.preventDefault();
    acts[event.key]();
  });
  connection.watch({ id: null, by });
  return { stream: watch.stream, flame: () => watch.stream.flame(), points: () => watch.received, total: () => watch.total(), middle: () => watch.stream.middle() };
}
