import { expect, test } from 'vitest';
import { createSilentLog } from '../../../src/base/log.ts';
import { createNodeHeads } from '../../../src/scheduler/node-heads.ts';

const hash = (digit: string): string => digit.repeat(64);

test('what a node tells of its log is written down when it changed, and a log that went back is told', () => {
  const documents = new Map<string, unknown>();
  const written: [string, unknown][] = [];
  const heads = createNodeHeads(
    {
      documents: () => documents,
      async putDocument(_, id, value) {
        documents.set(id, value);
      },
    },
    (kind, facts) => written.push([kind, facts.sequence]),
    createSilentLog(),
  );
  const told = (sequence: number, digit: string): void =>
    heads.told({ nodeId: 'node-1', generation: 1, audit: { sequence, hash: hash(digit) } });
  heads.told({ nodeId: 'node-1', generation: 1, audit: null });
  told(5, 'a');
  told(5, 'a');
  told(9, 'b');
  // Fewer records than before; then as many, but others.
  told(7, 'c');
  told(7, 'd');
  expect(written).toEqual([
    ['node.head', 5],
    ['node.head', 9],
    ['node.rewound', 7],
    ['node.head', 7],
    ['node.rewound', 7],
    ['node.head', 7],
  ]);
});
