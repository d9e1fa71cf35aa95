import { expect, test } from 'vitest';
import { nodeColumns } from '../../../src/cli/node-table.ts';
import { sampleNode } from '../../fakes/nodes.ts';

const idIsShown = (...names: string[]) =>
  nodeColumns(names.map((name) => sampleNode(name, null))).find(({ title }) => title === 'ID')?.wide !== true;

test('nodes are listed by their names, and by their ids as well where two have one name', () => {
  expect(idIsShown('a', 'b')).toBe(false);
  expect(idIsShown('a', 'b', 'a')).toBe(true);
});
