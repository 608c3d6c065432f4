import { expect, it } from 'vitest';
import { bytes } from '../src/live_control';

it('understands what people type', () => {
  const said = ['1', '512', '64KiB', '64k', '64 kB', '1M', '1.5MiB', '2g', ' 4096 '];
  expect(said.map(bytes)).toEqual([1, 512, 65536, 65536, 65536, 1 << 20, 1.5 * (1 << 20), 2 * 2 ** 30, 4096]);
  for (const none of ['', 'auto', '-1', '12x', 'KiB', '1,5M']) expect(bytes(none)).toBeNaN();
});
