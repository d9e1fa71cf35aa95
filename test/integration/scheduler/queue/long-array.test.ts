// An array is longer than what is written down in one turn of the event loop: it reaches the writer's thread in pieces.
import { mkdtempSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createClock } from '../../../../src/base/clock.ts';
import { createSilentLog } from '../../../../src/base/log.ts';
import { openEmbeddedQueue } from '../../../../src/scheduler/queue/embedded.ts';
import { buildScript } from '../built-script.ts';
import { newJob } from './contract.ts';

const Libsql = createRequire(import.meta.url)('libsql') as new (
  path: string,
) => { exec(sql: string): void; close(): void };

const built = await buildScript('store-writer');
afterAll(built.remove);

describe('an array that goes to the writer in pieces', () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'flopd-queue-'));
  });
  afterEach(() => rmSync(folder, { recursive: true, force: true }));

  const open = () =>
    openEmbeddedQueue({
      path: join(folder, 'store.db'),
      clock: createClock(),
      log: createSilentLog(),
      writerScript: built.script,
    });
  const arrayOf = (size: number) => {
    const first = newJob({}, { array: { first: 0, last: size - 1, maxRunning: null } });
    return Array.from({ length: size }, (_, index) => ({
      ...first,
      id: `arr-long.${index}`,
      array: { id: 'arr-long', index, size },
    }));
  };

  it('is one transaction: on disk whole, or not at all', async () => {
    const jobs = arrayOf(2500);
    const last = jobs[2499];
    if (last === undefined) throw new Error('there is a last one');
    let queue = await open();
    // The last row cannot be written: what was staged before it must not stay either.
    const store = new Libsql(join(folder, 'store.db'));
    store.exec(
      "CREATE TRIGGER no_last BEFORE INSERT ON job WHEN NEW.id = 'arr-long.2499' BEGIN SELECT RAISE(ABORT, 'no'); END;",
    );
    await expect(queue.insertArray(jobs)).rejects.toMatchObject({ code: 'QUEUE_STORE_FAILED' });
    expect(queue.array('arr-long')).toBeNull();
    await queue.close();
    store.exec('DROP TRIGGER no_last');
    store.close();
    queue = await open();
    expect(queue.counts().PENDING).toBe(0);
    // Changed while its pieces are on their way: that is in the next commit.
    const stored = queue.insertArray(jobs);
    await new Promise((resolve) => setImmediate(resolve));
    const changed = queue.updateJob(last.id, { reason: 'changed meanwhile' });
    await Promise.all([stored, changed]);
    await queue.close();
    queue = await open();
    expect(queue.counts().PENDING).toBe(2500);
    expect(queue.job(last.id)?.reason).toBe('changed meanwhile');
    await queue.close();
  });
});
