import { expect, test } from 'vitest';
import { readLabels } from '../../../src/cli/place-options.ts';

test('a label that is none is named, in words', () => {
  expect(readLabels('--label', ['rack=b7'])).toEqual({ rack: 'b7' });
  for (const entry of ['gpu=', 'bad key=1', 'x'])
    expect(() => readLabels('--label', [entry])).toThrow(`--label: "${entry}" is no label`);
  const many = Array.from({ length: 17 }, (_, index) => `k${index}=v`);
  expect(() => readLabels('--label', many)).toThrow('too many');
});
