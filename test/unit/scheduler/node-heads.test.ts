import { expect, test } from 'vitest';
import { createSilentLog } from '../../../src/base/log.ts';
import { createNodeHeads } from '../../../src/scheduler/node-heads.ts';

const hash = (digit: string): string => digit.repeat(64);

function createHeads(documents = new Map<string, unknown>()) {
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
  const told = (sequence: number, digit: string, keyId: string | null = null): void =>
    heads.told({ nodeId: 'node-1', generation: 1, audit: { sequence, hash: hash(digit), keyId } });
  return { heads, told, written };
}

test('what a node tells of its log is written down when it changed, and a log that went back is told', () => {
  const { heads, told, written } = createHeads();
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

const agent = 'a'.repeat(16);
const runner = 'b'.repeat(16);

test('a node that was split has two logs, each compared with itself alone', () => {
  const { told, written } = createHeads();
  told(90, 'a', agent);
  told(3, 'b', runner);
  told(8, 'c', runner);
  // And back to one piece.
  told(95, 'd', agent);
  expect(written.map(([kind]) => kind)).toEqual(['node.head', 'node.head', 'node.head', 'node.head']);
  told(7, 'e', runner);
  told(94, 'f', agent);
  expect(written.slice(4)).toEqual([
    ['node.rewound', 7],
    ['node.head', 7],
    ['node.rewound', 94],
    ['node.head', 94],
  ]);
});

test('the log of the agent beside that of its runner is compared too, and is not taken for the one of the jobs', () => {
  const { heads, written } = createHeads();
  const hello = (agentSequence: number, sequence: number, digit: string): void =>
    heads.told({
      nodeId: 'node-1',
      generation: 1,
      audit: { sequence, hash: hash(digit), keyId: runner },
      agentAudit: { sequence: agentSequence, hash: hash(digit), keyId: agent },
    });
  hello(4, 9, 'a');
  hello(4, 9, 'a');
  hello(3, 12, 'b');
  expect(written).toEqual([
    ['node.head', 4],
    ['node.head', 9],
    ['node.rewound', 3],
    ['node.head', 3],
    ['node.head', 12],
  ]);
});

test('a head that does not say of which log it is, or was kept by an older version, is compared all the same', () => {
  const { told, written } = createHeads(new Map([['node-1', { sequence: 9, hash: hash('a') }]]));
  // The same head, now with its name: no step back.
  told(9, 'a', agent);
  told(12, 'b', agent);
  told(11, 'c');
  told(10, 'd', agent);
  expect(written).toEqual([
    ['node.head', 9],
    ['node.head', 12],
    ['node.rewound', 11],
    ['node.head', 11],
    ['node.rewound', 10],
    ['node.head', 10],
  ]);
  const kept = createHeads(new Map([['node-1', { sequence: 9, hash: hash('a') }]]));
  kept.told(8, 'b', agent);
  expect(kept.written[0]).toEqual(['node.rewound', 8]);
});
