import { recallTheme } from './colour';
import { make } from './controls';
import { type Flamegraph, flamegraph } from './flame_view';
import { type Picture, embedded } from './picture';

recallTheme();

/** What tests take hold of. */
export const shown: Promise<Flamegraph> = embedded<Picture>().then((picture) => {
  const page = make('main', { class: 'flame-page' });
  document.body.append(page);
  return flamegraph(page, picture);
});
