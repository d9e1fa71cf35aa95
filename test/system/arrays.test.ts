// Arrays, dependencies and retries as a user asks for them, on a network of one machine that is killed in between.
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Bed, createBed, type Daemon } from './bed.ts';

describe('many jobs from one command', () => {
  let bed: Bed;
  let up: Daemon;
  beforeAll(async () => {
    bed = createBed();
    up = await bed.start(['up']);
  });
  afterAll(() => bed.close());
  const lines = (text: string): string[] => text.trim().split('\n').sort();

  it('run --array shows the output of each behind its index and exits with the highest code', async () => {
    const script =
      'echo "$FLOPD_ARRAY_INDEX of $FLOPD_ARRAY_SIZE, $FLOPD_ARRAY_FIRST to $FLOPD_ARRAY_LAST"; [ "$FLOPD_ARRAY_INDEX" != 4 ] || exit 9';
    const ran = await bed.run(['run', '--array', '3-5%2', '--', 'sh', '-c', script]);
    expect(lines(ran.stdout)).toEqual(['[3] 3 of 3, 3 to 5', '[4] 4 of 3, 3 to 5', '[5] 5 of 3, 3 to 5']);
    expect(ran.stderr).toMatch(/arr-\w+\[4\] FAILED: exited with code 9/);
    expect(ran.code).toBe(9);
    const id = /arr-[0-9a-z]+/.exec(ran.stderr)?.[0] ?? '';
    const list = await bed.run(['jobs']);
    expect(list.stdout).toContain(`${id}[3,5]  COMPLETED`);
    expect((await bed.run(['logs', `${id}.4`])).stdout).toBe('4 of 3, 3 to 5\n');
    expect(lines((await bed.run(['logs', id])).stdout)).toHaveLength(3);
    expect((await bed.run(['wait', id])).code).toBe(9);
    expect((await bed.run(['job', id])).stdout).toMatch(/^ENDED .*1 failed and 2 completed/);
  });

  it('a job starts after another, or is ended because it cannot, and a failed one is started again, over a restart', async () => {
    // The first job ends when somebody says so.
    const gate = createServer((socket) => {
      socket.on('error', () => {});
      if (open) socket.end('go\n');
      else sockets.push(socket);
    });
    const sockets: Socket[] = [];
    let open = false;
    await new Promise<void>((resolve) => gate.listen(0, '127.0.0.1', resolve));
    const { port } = gate.address() as AddressInfo;
    const blocked = `exec 3<>/dev/tcp/127.0.0.1/${port}; read -r -u 3; exit 3`;
    const first = (await bed.run(['run', '-d', '--', 'bash', '-c', blocked])).stdout.trim();
    const good = (await bed.run(['run', '-d', '--after', first, '--', 'true'])).stdout.trim();
    const bad = (
      await bed.run(['run', '-d', '--after', `${first}:failed`, '--', 'echo', 'cleaned'])
    ).stdout.trim();
    const again = ['run', '-d', '--retry', '2:failed', '--retry-delay', '200ms', '--after', `${first}:ended`];
    const retried = (
      await bed.run([...again, '--', 'sh', '-c', 'echo attempt $FLOPD_EPOCH; exit $((3 - FLOPD_EPOCH))'])
    ).stdout.trim();
    expect((await bed.run(['job', good])).stdout).toMatch(
      new RegExp(`^PENDING +waiting: for ${first} to complete`),
    );
    up.kill('SIGKILL');
    await up.finished();
    up = await bed.start(['up']);
    open = true;
    for (const socket of sockets) socket.end('go\n');
    expect((await bed.run(['wait', first])).code).toBe(3);
    gate.close();
    expect((await bed.run(['wait', bad])).code).toBe(0);
    const never = await bed.run(['wait', good]);
    expect(never.stderr).toContain(`never started: it was to wait until ${first} had completed`);
    expect((await bed.run(['wait', retried])).code).toBe(0);
    const shown = (await bed.run(['job', retried])).stdout;
    expect(shown).toMatch(/^COMPLETED +exited with code 0; it had been started again 2 times/);
    expect(shown).toMatch(/attempt 1 +FAILED on .*: exited with code 2/);
    expect(shown).toMatch(/attempt 2 used +[0-9].*; CPU time .* user, .* system; peak memory /);
    expect((await bed.run(['logs', retried])).stdout).toBe('attempt 3\n');
    expect((await bed.run(['logs', '--attempt', '1', retried])).stdout).toBe('attempt 1\n');
  });

  it('run --retry shows the outputs of all attempts, says why there is another, and ends as the last did', async () => {
    const flags = ['--retry', '1:failed', '--retry-delay', '100ms'];
    const ran = await bed.run([
      'run',
      ...flags,
      '--',
      'sh',
      '-c',
      'echo attempt $FLOPD_EPOCH; exit $((7 - FLOPD_EPOCH))',
    ]);
    expect(ran.stdout).toBe('attempt 1\nattempt 2\n');
    expect(ran.stderr).toMatch(
      /is started again: .*retry 1 of 1 after attempt 1 on .* \(exited with code 6\)/,
    );
    expect(ran.stderr).not.toContain('connect');
    expect(ran.code).toBe(5);
  });
});
