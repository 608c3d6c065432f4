import { embedded, type Picture } from './picture';

embedded<Picture>().then((picture) => {
  document.title = picture.title;
});
