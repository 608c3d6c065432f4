import { embedded, type Streams } from './picture';

embedded<Streams>().then((streams) => {
  document.title = streams.title;
});
