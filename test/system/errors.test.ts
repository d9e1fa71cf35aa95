// What an operator gets wrong: one clear line that names the key and the remedy, and the right exit code.
import { mkdirSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type Bed, createBed, type Finished } from './bed.ts';

let bed: Bed;
let occupied: Server | null = null;
beforeEach(() => {
  bed = createBed();
});
afterEach(async () => {
  occupied?.close();
  occupied = null;
  await bed.close();
});

/** One line for people, no stack trace, nothing on stdout. */
function expectOneLine(end: Finished, ...words: (string | RegExp)[]): void {
  const lines = end.stderr.trim().split('\n');
  expect(lines, end.stderr).toHaveLength(1);
  expect(end.stdout).toBe('');
  for (const word of words) expect(lines[0]).toMatch(word);
  expect(end.stderr).not.toMatch(/^\s+at /m);
}

async function occupy(): Promise<string> {
  const server = createServer();
  occupied = server;
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('no port');
  return `127.0.0.1:${address.port}`;
}

describe('one clear line for', () => {
  test.each([
    ['broken YAML', 'listen: [unclosed\n', /config\.yaml/],
    ['a key that does not exist', 'lissten: 127.0.0.1:7070\n', /lissten/],
    ['a value of the wrong shape', 'listen: far away\n', /listen/],
    ['a port out of range', 'listen: 127.0.0.1:70700\n', /listen/],
    ['a number that is none', 'node:\n  cpus: many\n', /node\.cpus/],
  ])('%s in the configuration file', async (_, text, word) => {
    const file = join(bed.folder, 'config.yaml');
    writeFileSync(file, text);
    const end = await bed.launch(['up', '--config', file]).finished();
    expect(end.code).toBe(2);
    expectOneLine(end, word, /; /);
  });

  test('the flag of a token file is read, not the environment beside it', async () => {
    const empty = join(bed.folder, 'empty');
    writeFileSync(empty, '');
    const environment = { FLOPD_TOKEN_FILE: join(bed.folder, 'elsewhere') };
    const end = await bed.run(['join', 'http://127.0.0.1:9', '--token-file', empty], { environment });
    expect(end.code).not.toBe(0);
    expectOneLine(end, /empty/, /; /);
    expect(end.stderr).not.toContain('elsewhere');
  });

  test('a configuration file that is not there', async () => {
    const end = await bed.launch(['up', '--config', join(bed.folder, 'gone.yaml')]).finished();
    expect(end.code).toBe(2);
    expectOneLine(end, /gone\.yaml/, /; /);
  });

  test('a broken environment variable and a broken flag', async () => {
    const variable = await bed.launch(['up'], { environment: { FLOPD_NODE_CPUS: '-3' } }).finished();
    expect(variable.code).toBe(2);
    expectOneLine(variable, /FLOPD_NODE_CPUS/);
    const flag = await bed.launch(['up', '--node-memory', 'lots']).finished();
    expect(flag.code).toBe(2);
    expectOneLine(flag, /--node-memory/);
  });

  test('an unknown flag and an unknown command', async () => {
    const flag = await bed.run(['up', '--no-such-flag']);
    expect(flag.code).toBe(2);
    expectOneLine(flag, /--no-such-flag/, /--help/);
    const command = await bed.run(['jbos']);
    expect(command.code).toBe(2);
    expectOneLine(command, /jbos/, /did you mean "jobs"/);
  });

  test.each([
    ['up', '--listen'],
    ['scheduler', '--listen'],
    ['up', '--metrics-listen'],
  ])('an occupied port of %s %s', async (verb, flag) => {
    const address = await occupy();
    const end = await bed.launch([verb, flag, address]).finished();
    expect(end.code).toBe(1);
    expectOneLine(
      end,
      flag === '--listen' ? /listen/ : /metrics-?listen/i,
      new RegExp(address.split(':')[1] ?? ''),
      /; /,
    );
  });

  test('a state directory that is a file', async () => {
    const path = join(bed.folder, 'file');
    writeFileSync(path, '');
    for (const verb of ['up', 'scheduler']) {
      const end = await bed.launch([verb, '--state-dir', path]).finished();
      expect(end.code).toBe(1);
      expectOneLine(end, /state-?dir/i, /file/, /; /);
    }
  });

  test('a state directory that nobody may write, not even root', async () => {
    // No folder can be made below /proc or /sys, whoever asks.
    for (const path of ['/proc/flopd', '/sys/flopd/state']) {
      const end = await bed.launch(['up', '--state-dir', path]).finished();
      expect(end.code).toBe(1);
      expectOneLine(end, /state-?dir/i, new RegExp(path), /; /);
    }
  });

  test('a state directory that another daemon holds', async () => {
    await bed.start(['up']);
    const end = await bed.launch(['up']).finished();
    expect(end.code).toBe(1);
    expectOneLine(end, /state-?dir|already|another/i, /; /);
  });

  test('a scheduler that cannot be reached', async () => {
    // A port for which nobody is handed a number by chance.
    const address = '127.0.0.1:1';
    const token = join(bed.folder, 'token');
    writeFileSync(token, 'secret\n');
    for (const args of [['nodes'], ['jobs'], ['job', 'job-x'], ['cancel', 'job-x']]) {
      const end = await bed.run([...args, '--scheduler', `http://${address}`, '--token-file', token]);
      expect(end.code).toBe(1);
      expectOneLine(end, new RegExp(address), /; /);
    }
    const run = await bed.run([
      'run',
      '--scheduler',
      `http://${address}`,
      '--token-file',
      token,
      '--',
      'true',
    ]);
    expect(run.code).toBe(125);
    expectOneLine(run, new RegExp(address), /; /);
    const join_ = await bed.run(['join', `http://${address}`, '--token', 'secret']);
    expect(join_.code).toBe(1);
    expectOneLine(join_, new RegExp(address), /; /);
  });

  test('no scheduler at all, and an agent that has not joined', async () => {
    const nodes = await bed.run(['nodes']);
    expect(nodes.code).toBe(1);
    expectOneLine(nodes, /scheduler/, /flopd up/);
    const agent = await bed.launch(['agent']).finished();
    expect(agent.code).not.toBe(0);
    expectOneLine(agent, /flopd join/);
  });

  test('a wrong token', async () => {
    const up = await bed.start(['up']);
    const token = join(bed.folder, 'token');
    writeFileSync(token, 'wrong\n');
    const end = await bed.run(['jobs', '--scheduler', up.endpoint.url, '--token-file', token]);
    expect(end.code).toBe(1);
    expectOneLine(end, /token/, /; /);
    const joined = await bed.run(['join', up.endpoint.url, '--token', 'wrong'], {
      environment: { FLOPD_STATE_DIR: join(bed.folder, 'other') },
    });
    expect(joined.code).toBe(1);
    expectOneLine(joined, /token/);
  });

  test('a job that nobody knows', async () => {
    await bed.start(['up']);
    for (const verb of ['job', 'logs', 'cancel', 'wait']) {
      const end = await bed.run([verb, 'job-0000000000']);
      expect(end.code, verb).toBe(1);
      expectOneLine(end, /job-0000000000/);
    }
  });

  test('a ready file in a folder that does not exist', async () => {
    const path = join(bed.folder, 'gone', 'ready.json');
    mkdirSync(bed.stateDir);
    const end = await bed.launch(['up', '--ready-file', path]).finished();
    expect(end.code).not.toBe(0);
    expectOneLine(end, /ready-?file/i, /gone/);
  });
});
