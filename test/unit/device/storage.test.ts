import { describe, expect, it } from 'vitest';
import type { Space } from '../../../src/device/storage.ts';
import { createStorage } from '../../../src/device/storage.ts';
import { createFakeClock, settle } from '../telemetry/fake-clock.ts';
import { makeFolder } from './folder.ts';

const MOUNTS = [
  '1 0 8:1 / / rw - ext4 /dev/sda1 rw',
  '2 1 8:2 / /srv rw - nfs4 server:/ rw',
  '3 1 8:1 /var /var rw - ext4 /dev/sda1 rw',
].join('\n');
const space: Space = { blocks: 1000, bavail: 250, bsize: 4096 };

function start(stateDir: string, statfs: (path: string) => Promise<Space>, mountinfo = MOUNTS) {
  const clock = createFakeClock();
  const storage = createStorage({
    stateDir,
    procRoot: makeFolder({ 'self/mountinfo': mountinfo }),
    clock,
    statfs,
  });
  const read = async () =>
    (await storage.read()).map(({ column, value, reason }) => [
      `${column.family}{${column.label}}`,
      value,
      reason,
    ]);
  return { clock, storage, read };
}

describe('storage', () => {
  it('reports the root and the file system of the state directory', async () => {
    const { read, storage } = start('/srv/flopd', async (path) =>
      path === '/' ? space : { ...space, blocks: 10, bavail: 0 },
    );
    expect(await read()).toEqual([
      ['storage.totalBytes{/}', 4_096_000, 'present'],
      ['storage.freeBytes{/}', 1_024_000, 'present'],
      ['storage.totalBytes{/srv}', 40_960, 'present'],
      ['storage.freeBytes{/srv}', 0, 'present'],
    ]);
    expect(storage.periodMs).toBe(10_000);
  });

  it('reports a file system once, though it is mounted twice, and the root where the mounts are not known', async () => {
    expect(await start('/var/lib/flopd', async () => space).read()).toHaveLength(2);
    expect(await start('/srv/flopd', async () => space, '').read()).toHaveLength(2);
  });

  it('calls a file system that does not answer late, and does not ask it again while it hangs', async () => {
    let asked = 0;
    let answer = (_: Space): void => {};
    const { clock, read } = start('/srv/flopd', (path) => {
      if (path === '/') return Promise.resolve(space);
      asked += 1;
      return new Promise((resolve) => {
        answer = resolve;
      });
    });
    for (let round = 0; round < 3; round += 1) {
      const reading = read();
      await settle();
      clock.advance(3000);
      const columns = await reading;
      expect(columns.map(([, , reason]) => reason)).toEqual(['present', 'present', 'late', 'late']);
      expect(columns[2]?.[1]).toBeNaN();
    }
    expect(asked).toBe(1);
    answer(space);
    await settle();
    const reading = read();
    answer(space);
    expect((await reading).map(([, , reason]) => reason)).toEqual([
      'present',
      'present',
      'present',
      'present',
    ]);
    expect([asked, clock.waiting()]).toEqual([2, 0]);
  });

  it.each([
    ['EACCES', 'denied'],
    ['ESTALE', 'lost'],
    ['EIO', 'error'],
  ])('turns %s into the reason %s', async (code, reason) => {
    const { read } = start('/srv', () => Promise.reject(Object.assign(new Error(code), { code })));
    expect((await read()).map(([, , each]) => each)).toEqual([reason, reason, reason, reason]);
  });
});
