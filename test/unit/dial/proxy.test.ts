import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { describeProxy, proxyOfEnvironment } from '../../../src/dial/proxy.ts';

const names = ['http_proxy', 'https_proxy', 'all_proxy', 'no_proxy'].flatMap((name) => [
  name,
  name.toUpperCase(),
]);
let before: Record<string, string | undefined> = {};
beforeEach(() => {
  before = Object.fromEntries(names.map((name) => [name, process.env[name]]));
  for (const name of names) delete process.env[name];
});
afterEach(() => {
  for (const [name, value] of Object.entries(before))
    if (value === undefined) delete process.env[name];
    else process.env[name] = value;
});

const proxyOf = (url: string): string | null => {
  const proxy = proxyOfEnvironment(new URL(url));
  return proxy === null ? null : describeProxy(proxy);
};

describe('the proxy of the environment', () => {
  test('is none without one', () => {
    expect(proxyOf('https://scheduler.example')).toBe(null);
  });

  test.each(['https_proxy', 'HTTPS_PROXY', 'all_proxy', 'ALL_PROXY'])(
    'is that of %s, for sockets too',
    (name) => {
      process.env[name] = 'http://user:secret@proxy.example:3128';
      expect(proxyOf('https://scheduler.example:7070')).toBe('http://proxy.example:3128');
      expect(proxyOf('wss://scheduler.example:7070/v1/link')).toBe('http://proxy.example:3128');
    },
  );

  test.each(['.example', 'scheduler.example', 'other, scheduler.example:7070', '*'])(
    'is none with no_proxy %s',
    (list) => {
      process.env.HTTPS_PROXY = 'http://proxy.example:3128';
      process.env.no_proxy = list;
      expect(proxyOf('https://scheduler.example:7070')).toBe(null);
    },
  );

  test('never stands before this machine', () => {
    process.env.https_proxy = 'http://proxy.example:3128';
    process.env.http_proxy = 'http://proxy.example:3128';
    for (const url of ['http://127.0.0.1:7070', 'wss://localhost', 'https://[::1]:7070', 'http://127.9.9.9'])
      expect(proxyOf(url), url).toBe(null);
  });

  test.each(['ftp://user:hunter2@proxy.example', 'http://user:hunter2@pro xy', 'socks5://user:hunter2@p:1'])(
    'that is none is refused, and its password not told',
    (text) => {
      process.env.https_proxy = text;
      let told = '';
      try {
        proxyOf('https://scheduler.example');
      } catch (error) {
        told = `${(error as { code: string }).code} ${String(error)}`;
      }
      expect(told).toContain('DIAL_PROXY_UNFIT');
      expect(told).not.toContain('hunter2');
    },
  );
});
