import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { describeError, Fault } from '../../../src/base/fault.ts';
import { type Config, configValue, loadConfig } from '../../../src/config/config.ts';
import { configKeyNames } from '../../../src/config/keys.ts';

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'flopd-config-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

function load(
  text: string | null,
  environment: Record<string, string> = {},
  flags: Parameters<typeof loadConfig>[0]['flags'] = {},
): Promise<Config> {
  const file = join(folder, 'flopd.yaml');
  if (text !== null) writeFileSync(file, text);
  return loadConfig({
    flags,
    environment: { HOME: folder, ...environment },
    folder,
    ...(text === null ? {} : { file }),
  });
}

async function refusal(promise: Promise<unknown>): Promise<Fault> {
  const error = await promise.then(
    () => null,
    (reason: unknown) => reason,
  );
  if (!(error instanceof Fault)) throw new Error(`expected a Fault, got ${String(error)}`);
  return error;
}

describe('precedence', () => {
  it('prefers flag over variable over file over default, and tells the source', async () => {
    const text = 'listen: 127.0.0.1:1\nmetricsListen: 127.0.0.1:2\nscheduler: http://a:3\n';
    const environment = { FLOPD_LISTEN: '127.0.0.1:10', FLOPD_METRICS_LISTEN: '127.0.0.1:20' };
    const config = await load(text, environment, { listen: '127.0.0.1:100' });
    expect(config.listen.port).toBe(100);
    expect(config.metricsListen.port).toBe(20);
    expect(config.scheduler).toBe('http://a:3');
    expect(config.telemetry).toEqual({ periodMs: 100, windowMs: 1000 });
    expect(config.sources.listen).toEqual({ kind: 'flag', place: '--listen' });
    expect(config.sources.metricsListen).toEqual({ kind: 'environment', place: 'FLOPD_METRICS_LISTEN' });
    expect(config.sources.scheduler.place).toBe(`${join(folder, 'flopd.yaml')}:3:12`);
    expect(config.sources['telemetry.periodMs'].kind).toBe('default');
  });

  it('finds the file of the user, and the one that FLOPD_CONFIG names', async () => {
    mkdirSync(join(folder, 'xdg', 'flopd'), { recursive: true });
    writeFileSync(join(folder, 'xdg', 'flopd', 'flopd.yaml'), 'listen: 127.0.0.1:1\n');
    writeFileSync(join(folder, 'other.yaml'), 'listen: 127.0.0.1:2\n');
    const environment = { XDG_CONFIG_HOME: join(folder, 'xdg') };
    expect((await load(null, environment)).listen.port).toBe(1);
    expect((await load(null, { ...environment, FLOPD_CONFIG: 'other.yaml' })).listen.port).toBe(2);
  });

  it('takes the state directory from the variable, from systemd, from XDG, from the home, in this order', async () => {
    const all = { FLOPD_STATE_DIR: '/a', STATE_DIRECTORY: '/b:/c', XDG_STATE_HOME: '/d' };
    expect((await load(null, all)).stateDir).toBe('/a');
    expect((await load(null, { ...all, FLOPD_STATE_DIR: '' })).stateDir).toBe('/b');
    expect((await load(null, { XDG_STATE_HOME: '/d' })).stateDir).toBe('/d/flopd');
    expect((await load(null, { XDG_STATE_HOME: 'relative' })).stateDir).toBe(
      join(folder, '.local/state/flopd'),
    );
  });

  it('reads units, and relative paths from where they were written', async () => {
    const config = await load(
      'node:\n  memoryBytes: 4GiB\n  cpus: 1.5\ntelemetry:\n  periodMs: 50\n  windowMs: 2s\ntokenFile: token\nstateDir: ~/s\n',
    );
    expect(config.node).toEqual({ name: null, cpus: 1.5, memoryBytes: 4 * 1024 ** 3, peakFlops: new Map() });
    expect(config.telemetry).toEqual({ periodMs: 50, windowMs: 2000 });
    expect(config.tokenFile).toBe(join(folder, 'token'));
    expect(config.stateDir).toBe(join(folder, 's'));
    expect(configValue(config, 'telemetry.windowMs')).toBe('2s');
    expect(configKeyNames.map((name) => configValue(config, name)).includes('undefined')).toBe(false);
  });

  it('accepts an empty file, comments, and sections without content', async () => {
    for (const text of ['', '\n', '# nothing\n', 'node:\n', 'telemetry: {}\n', '---\n']) {
      expect((await load(text)).node.name).toBeNull();
    }
  });
});

describe('mistakes in the file', () => {
  it.each([
    ['lisen: 127.0.0.1:1', 'lisen: unknown key', ':1:1', 'did you mean "listen"'],
    ['a: 1\n', 'a: unknown key', ':1:1', 'known keys: stateDir'],
    ['node:\n  cpu: 2', 'node.cpu: unknown key', ':2:3', 'did you mean "node.cpus"'],
    ['periodMs: 5', 'periodMs: unknown key', ':1:1', 'did you mean "telemetry.periodMs"'],
    ['listen: 7070', 'listen: 7070', ':1:9', 'write HOST:PORT'],
    ['listen: [1, 2]', 'listen: [] (from', ':1:9', 'write HOST:PORT'],
    ['listen:', 'listen: nothing', ':1:', 'write HOST:PORT'],
    ['node: 5', 'node: 5', ':1:7', 'indented below "node:"'],
    ['node:\n  cpus: many', 'node.cpus: "many"', ':2:9', 'for example 8'],
    ['node:\n  cpus:\n    deep: 1', 'node.cpus: {"deep":1}', ':2:3', 'for example 8'],
    ['telemetry:\n  periodMs: 1ms', 'telemetry.periodMs: "1ms"', ':2:13', 'between 10ms and 10s'],
    [
      'telemetry:\n  windowMs: 100ms\n  periodMs: 200ms',
      'telemetry.windowMs: 100ms',
      ':2:13',
      'at least as long',
    ],
    ['log:\n  level: loud', 'log.level: "loud"', ':2:10', 'debug, info'],
    ['scheduler: example.org', 'scheduler: "example.org"', ':1:12', 'http://127.0.0.1:7070'],
    ['listen: *x', 'listen: aliases are not supported', ':1:9', 'write the value itself'],
    ['listen: "a', 'not valid YAML', ':1:', 'config init'],
    ['listen: a:1\nlisten: b:2', 'not valid YAML', ':2:1', 'config init'],
    ['- listen', 'expected "key: value" lines', ':1:1', 'config init'],
    ['just words', 'expected "key: value" lines', ':1:1', 'config init'],
    ['1: x', 'a key must be a plain word', ':1:1', 'config init'],
    ['__proto__: 1', '__proto__: unknown key', ':1:1', 'shows all keys'],
    ['constructor:\n  x: 1', 'constructor: unknown key', ':1:1', 'known keys'],
    ['"a\\eb": 1', '\\u001b', ':1:1', 'known keys'],
  ])('%j is one line that names key, place and remedy', async (text, what, place, remedy) => {
    const fault = await refusal(load(text));
    const line = describeError(fault);
    expect(fault.code).toMatch(/^CONFIG_/);
    expect(line).toContain(what);
    expect(line).toContain(`flopd.yaml${place}`);
    expect(line).toContain(remedy);
    expect(line).not.toMatch(/\p{Cc}/u);
  });

  it('is told even where a flag wins over the wrong value', async () => {
    const fault = await refusal(load('listen: nonsense', {}, { listen: '127.0.0.1:1' }));
    expect(fault.field).toBe('listen');
  });

  it.each([
    ['does not exist', () => 'missing.yaml'],
    ['is not a regular file', () => '.'],
    ['is larger than', () => big()],
    ['is not UTF-8', () => binary()],
  ])('a named file that %s is refused', async (words, make) => {
    const fault = await refusal(
      loadConfig({ flags: {}, environment: { HOME: folder }, folder, file: make() }),
    );
    expect(fault.code).toMatch(/^CONFIG_FILE_/);
    expect(describeError(fault)).toContain(words);
  });
});

function big(): string {
  writeFileSync(join(folder, 'big'), '#'.repeat(1024 * 1024 + 1));
  return 'big';
}

function binary(): string {
  writeFileSync(join(folder, 'binary'), Buffer.from([0x61, 0xff, 0xfe]));
  return 'binary';
}

describe('mistakes in flags and variables', () => {
  it.each([
    [{ listen: '7070' }, {}, 'listen', '--listen'],
    [{}, { FLOPD_LISTEN: 'a:b' }, 'listen', 'FLOPD_LISTEN'],
    [{}, { FLOPD_SCHEDULER: 'x' }, 'scheduler', 'FLOPD_SCHEDULER'],
    [{}, { FLOPD_TELEMETRY_WINDOW: '1 fortnight' }, 'telemetry.windowMs', 'FLOPD_TELEMETRY_WINDOW'],
    [{ stateDir: '' }, {}, 'stateDir', '--state-dir'],
    [{ stateDir: 'a\nb' }, {}, 'stateDir', '--state-dir'],
    [{ 'node.cpus': '0' }, {}, 'node.cpus', '--node-cpus'],
  ] as const)('%j %j names the key and the place', async (flags, environment, field, place) => {
    const fault = await refusal(load(null, environment, flags));
    expect(fault).toMatchObject({ code: 'CONFIG_VALUE_INVALID', field });
    expect(fault.message).toContain(`from ${place}`);
    expect(fault.remedy).not.toBeNull();
  });
});
