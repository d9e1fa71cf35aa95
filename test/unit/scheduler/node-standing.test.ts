import { expect, test } from 'vitest';
import { createSilentLog } from '../../../src/base/log.ts';
import type { Signed } from '../../../src/protocol/signed.ts';
import { createNodeStandings } from '../../../src/scheduler/node-standing.ts';
import type { NodeRecord } from '../../../src/scheduler/queue/queue.ts';
import { createHandClock } from '../link/parts.ts';

function setUp(count: number) {
  const clock = createHandClock();
  const nodes = new Map<string, NodeRecord>();
  const told: string[] = [];
  let keyId = 'first';
  for (let at = 0; at < count; at += 1) {
    const id = `node-${at}`;
    nodes.set(id, { id, name: id, publicKey: 'k', enrolledAtMs: 1, generation: 1, bootId: null });
  }
  const standings = createNodeStandings({
    queue: {
      node: (id: string) => nodes.get(id) ?? null,
      nodes: () => [...nodes.values()],
      failure: () => null,
      async putNode(record: NodeRecord) {
        nodes.set(record.id, record);
      },
    } as never,
    fleet: {
      refresh() {},
      // Every second one is connected.
      connection: (id: string) =>
        Number(id.slice(5)) % 2 === 0 ? { credential: ({ body }: Signed) => void told.push(body) } : null,
    } as never,
    credentials: {
      keyId: () => keyId,
      issue: ({ id, serial }) => ({ keyId, body: `${id} ${keyId} ${serial ?? 1}`, signature: '' }),
      read: () => null,
      later: () => null,
      newer: () => null,
    },
    revocations: { leastSerial: () => 0, outdate() {} } as never,
    clock,
    log: createSilentLog(),
    place() {},
  });
  const rotate = (): void => {
    keyId = 'second';
  };
  return { clock, nodes, told, standings, rotate };
}

test('when another key signs, all that are connected get their credential anew, a few at a time', async () => {
  const { clock, told, standings, rotate } = setUp(1000);
  await clock.advance(60_000);
  expect(told).toEqual([]);
  rotate();
  await clock.advance(60_000);
  expect(told).toHaveLength(100);
  await clock.advance(200);
  expect(told).toHaveLength(500);
  expect(told.at(-1)).toBe('node-998 second 1');
  await clock.advance(600_000);
  expect(told).toHaveLength(500);
  standings.close();
});

test('asked to, credentials are signed anew at once, and once', async () => {
  const { clock, told, standings, rotate } = setUp(1000);
  standings.renew();
  expect(told).toEqual([]);
  rotate();
  standings.renew();
  standings.renew();
  expect(told).toHaveLength(100);
  await clock.advance(600_000);
  expect(told).toHaveLength(500);
  standings.close();
});

test('a node that is moved or labelled gets a later credential at once', async () => {
  const { nodes, told, standings } = setUp(2);
  const place = { jurisdiction: 'HK', hub: null, cluster: null, city: null };
  await standings.move('node-0', place, 'alice');
  await standings.label('node-0', { rack: 'b7', old: null }, 'alice');
  await standings.label('node-1', { rack: 'b8' }, 'alice');
  expect(told).toEqual(['node-0 first 2', 'node-0 first 3']);
  expect(nodes.get('node-0')).toMatchObject({ place, labels: { rack: 'b7' }, serial: 3 });
  for (const labels of [
    { Rack: 'x' },
    { rack: '' },
    Object.fromEntries(Array.from({ length: 17 }, (_, at) => [`l${at}`, 'x'])),
  ])
    await expect(standings.label('node-0', labels, 'alice')).rejects.toThrow(
      expect.objectContaining({ code: 'API_INVALID', field: 'labels' }),
    );
  await expect(standings.move('node-9', place, 'alice')).rejects.toThrow(
    expect.objectContaining({ code: 'FLEET_NODE_UNKNOWN' }),
  );
  standings.close();
});
