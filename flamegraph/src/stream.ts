/** The page of a streamgraph. */
import { recallTheme } from './colour';
import { button, help, isTyping, make, themeButton } from './controls';
import { embedded, type Streams } from './picture';
import { named } from './stream_dom';
import { KEYS } from './stream_keys';
import { streamgraph, type Stream } from './stream_view';

/** For who drives the page from outside, such as the tests. */
export const shown: Promise<Stream> = embedded<Streams>().then((streams) => {
  recallTheme();
  const keys = help('Keys', [...KEYS, ['t', 'light or dark'], ['?', 'this']]);
  const theme = themeButton();
  const title = make('h1', { class: 'name' }, named(streams.title));
  const buttons = [theme, button('?', () => keys.showModal(), { 'aria-label': 'Keys', title: 'Keys (?)' })];
  const head = make('header', { class: 'toolbar' }, title, make('span', { class: 'gap' }), ...buttons);
  const lines = streams.lines.map((line) => make('p', { class: 'faint small name' }, named(line, 1000)));
  const main = make('main', { class: 'page' }, head, ...lines);
  document.body.append(main, keys);
  document.addEventListener('keydown', (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || isTyping(event.target) || keys.open) return;
    if (event.key === 't') theme.click();
    if (event.key === '?') keys.showModal();
  });
  return streamgraph(main, streams);
});
