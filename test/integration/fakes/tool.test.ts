import { type SpawnSyncReturns, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, writeFileSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createFakeTool, type FakeTool, FLOOD_BYTES, NO_ANSWER } from '../../fakes/tool.ts';
import { until } from '../native/addon.ts';

describe('a stub of a tool', () => {
  let tool: FakeTool;
  beforeEach(() => {
    tool = createFakeTool('x-smi', [
      { args: 'info', stdout: 'table\n' },
      {
        args: 'info -t * -i 1',
        stdout: new Uint8Array([0, 255, 10]),
        stderr: 'hm',
        exitCode: 3,
        delayMs: 20,
      },
      { args: "it's [a] $HOME", stdout: 'odd' },
      { args: 'info *', stdout: 'later row' },
    ]);
  });
  afterEach(() => tool.close());

  const call = (...args: string[]): SpawnSyncReturns<Buffer> =>
    spawnSync('x-smi', args, {
      env: { PATH: `${tool.folder}:${process.env.PATH}` },
      maxBuffer: 2 * FLOOD_BYTES,
      timeout: 10_000,
      killSignal: 'SIGKILL',
    });

  it('answers by its arguments, the first row that matches first, byte for byte', () => {
    expect(call('info').stdout.toString()).toBe('table\n');
    const { stdout, stderr, status } = call('info', '-t', 'usages', '-i', '1');
    expect([[...stdout], stderr.toString(), status]).toEqual([[0, 255, 10], 'hm', 3]);
    expect(call('info', '-t', 'usages', '-i', '12').stdout.toString()).toBe('later row');
    expect(call("it's", '[a]', '$HOME').stdout.toString()).toBe('odd');
    expect(call("it's", 'a', '$HOME').status).toBe(NO_ANSWER);
    expect(call().status).toBe(NO_ANSWER);
    expect(tool.calls()).toHaveLength(6);
    expect(tool.unanswered()).toEqual(["it's a $HOME", '']);
    expect(tool.alive()).toEqual([]);
  });

  it('plays a new table from the next call on', () => {
    tool.answer([{ args: 'info', stdout: 'new' }]);
    expect(call('info').stdout.toString()).toBe('new');
    expect(call('info', '-m').status).toBe(NO_ANSWER);
  });

  it('floods, complains, fails, crashes and stops in the middle', () => {
    tool.behave('flood');
    expect(call('info').stdout).toHaveLength(FLOOD_BYTES);
    tool.behave('floodErrors');
    const flooded = call('info');
    expect([flooded.stderr.length, flooded.stdout.toString()]).toEqual([FLOOD_BYTES, 'table\n']);
    tool.behave('complain');
    expect(call('info').stderr.toString()).toMatch(/^warning: /);
    expect(call('info')).toMatchObject({ status: 0, stdout: Buffer.from('table\n') });
    tool.behave('fail');
    expect(call('info')).toMatchObject({ status: 9, stdout: Buffer.alloc(0) });
    tool.behave('crash');
    expect(call('info')).toMatchObject({ status: null, signal: 'SIGSEGV' });
    tool.behave('cut');
    expect(call('info')).toMatchObject({ signal: 'SIGKILL', stdout: Buffer.from('tab') });
    writeFileSync(tool.behaviourFile, 'answer\n');
    expect(call('info').status).toBe(0);
  });

  it('vanishes, is forbidden and comes back', () => {
    tool.vanish();
    expect(spawnSync(tool.path).error).toMatchObject({ code: 'ENOENT' });
    tool.restore();
    expect(call('info').status).toBe(0);
    tool.deny();
    expect(spawnSync(tool.path).error).toMatchObject({ code: 'EACCES' });
    tool.restore();
    expect(call('info').status).toBe(0);
  });

  it('hangs until it is killed, and says which of its processes still run', async () => {
    tool.behave('hang');
    const hanging = spawn(tool.path, ['info']);
    await until(() => tool.alive().length === 1);
    expect(tool.alive()).toEqual([hanging.pid]);
    hanging.kill('SIGTERM');
    await once(hanging, 'exit');
    expect(tool.alive()).toEqual([]);
  });

  it('outlives SIGTERM', async () => {
    tool.behave('ignoreTerm');
    const stubborn = spawn(tool.path, ['info'], { detached: true });
    await until(() => tool.alive().length === 2);
    stubborn.kill('SIGTERM');
    stubborn.kill('SIGINT');
    // It is asked again once the signals have surely been delivered: a second call has come and gone.
    tool.behave('answer');
    call('info');
    expect(tool.alive()).toHaveLength(2);
    process.kill(-(stubborn.pid ?? 0), 'SIGKILL');
    await once(stubborn, 'exit');
    await until(() => tool.alive().length === 0);
  });

  it.each([['holdPipe'], ['escape']] as const)(
    'leaves a child with its pipe behind: %s',
    async (behaviour) => {
      tool.behave(behaviour);
      const child = spawn(tool.path, ['info'], { stdio: ['ignore', 'pipe', 'ignore'] });
      let isClosed = false;
      child.on('close', () => {
        isClosed = true;
      });
      await once(child, 'exit');
      expect(tool.alive()).toHaveLength(1);
      expect(isClosed).toBe(false);
      tool.close();
      await until(() => isClosed);
    },
  );

  it('shares a folder with another one, and leaves nothing', () => {
    const other = createFakeTool('y-smi', [{ args: '', stdout: 'y' }], { folder: tool.folder });
    expect(spawnSync(other.path).stdout.toString()).toBe('y');
    expect(call('info').status).toBe(0);
    other.close();
    expect(readdirSync(tool.folder).sort()).toEqual(['.x-smi', 'x-smi']);
  });
});
