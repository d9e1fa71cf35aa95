import type { IncomingMessage } from 'node:http';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createClock } from '../../../src/base/clock.ts';
import { createSilentLog } from '../../../src/base/log.ts';
import { createRefusalLog } from '../../../src/base/refusal-log.ts';
import { callerProblem, isFromHere, isLoopbackAddress } from '../../../src/scheduler/caller.ts';
import { MAX_JSON_DEPTH, parseJson } from '../../../src/scheduler/json.ts';
import { createOwnNames } from '../../../src/scheduler/own-names.ts';

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

describe('JSON from strangers', () => {
  it('reads whatever JSON.stringify wrote', () => {
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 5 }), (value) => {
        fc.pre(!JSON.stringify(value).includes('"__proto__":'));
        expect(parseJson(bytes(JSON.stringify(value)), 'API')).toEqual(JSON.parse(JSON.stringify(value)));
      }),
      { seed: 3 },
    );
  });

  it.each([
    ['a million brackets', '['.repeat(1_000_000)],
    ['objects nested too deep', `${'{"a":'.repeat(MAX_JSON_DEPTH + 1)}1${'}'.repeat(MAX_JSON_DEPTH + 1)}`],
    ['nothing', ''],
    ['half of it', '{"a":'],
    ['a prototype', '{"__proto__": {"admin": true}}'],
    ['a prototype inside, escaped', '{"a": [{"\\u005f_proto__": 1}]}'],
  ])('refuses %s in a few milliseconds', (_name, text) => {
    const before = process.cpuUsage();
    expect(() => parseJson(bytes(text), 'LINK')).toThrowError(expect.objectContaining({ code: 'LINK_JSON' }));
    expect(process.cpuUsage(before).user).toBeLessThan(200_000);
  });

  it('refuses bytes that are no UTF-8', () => {
    expect(() => parseJson(Uint8Array.of(0x22, 0xff, 0xfe, 0x22), 'API')).toThrowError(/UTF-8/);
  });

  it('does not count brackets in strings', () => {
    const text = JSON.stringify(`${'['.repeat(500)}\\"${'{'.repeat(500)}`);
    expect(parseJson(bytes(text), 'API')).toBe(JSON.parse(text));
  });
});

describe('the caller', () => {
  const request = (host: string | undefined, origin?: string, encrypted = false) =>
    ({
      socket: { encrypted },
      headers: { ...(host === undefined ? {} : { host }), ...(origin === undefined ? {} : { origin }) },
    }) as unknown as IncomingMessage;
  const ownNames = createOwnNames({ listenHost: '127.0.0.1', names: [], clock: createClock() });
  it.each([
    ['127.0.0.1:7070', undefined, true],
    ['localhost', undefined, true],
    ['[::1]:7070', undefined, true],
    ['LOCALHOST:8080', 'http://LOCALHOST:8080', true],
    ['localhost:7070', 'http://localhost:7070', true],
    ['localhost:7070', 'http://localhost:3000', false],
    ['localhost:7070', 'null', false],
    ['localhost:7070', 'http://evil.example', false],
    ['evil.example:7070', undefined, false],
    ['localhost.evil.example', undefined, false],
    ['127.0.0.1@evil.example', undefined, false],
    ['', undefined, false],
    [undefined, undefined, false],
  ])('Host %s with Origin %s: %s', (host, origin, welcome) => {
    expect(callerProblem(request(host, origin), ownNames) === null).toBe(welcome);
  });

  it('takes no page that came without TLS over TLS', () => {
    const problem = (origin: string) => callerProblem(request('localhost:7070', origin, true), ownNames);
    expect(problem('https://localhost:7070')).toBeNull();
    expect(problem('http://localhost:7070')).not.toBeNull();
  });

  it.each([
    ['127.0.0.1', true],
    ['127.8.9.10', true],
    ['::1', true],
    ['::ffff:127.0.0.1', true],
    ['0.0.0.0', false],
    ['::', false],
    ['127.evil.example', false],
    ['10.0.0.1', false],
    [undefined, false],
  ])('calls %s loopback: %s', (address, loopback) => {
    expect(isLoopbackAddress(address)).toBe(loopback);
  });

  it('knows connections of this machine to itself, also over its other addresses', () => {
    const from = (remoteAddress: string | undefined, localAddress: string | undefined) =>
      isFromHere({ remoteAddress, localAddress });
    expect(from('::ffff:127.0.0.1', '::ffff:127.0.0.1')).toBe(true);
    expect(from('10.0.0.7', '10.0.0.7')).toBe(true);
    expect(from('10.0.0.8', '10.0.0.7')).toBe(false);
    expect(from(undefined, undefined)).toBe(false);
  });
});

describe('the refusal log', () => {
  it('writes a bounded number of lines and counts the rest', () => {
    const lines: string[] = [];
    let nowMs = 0;
    const clock = { wallMs: () => nowMs, monotonicMs: () => nowMs, after: () => ({ cancel() {} }) };
    const log = createRefusalLog(
      { ...createSilentLog(), warn: (fields, message) => void lines.push(message + JSON.stringify(fields)) },
      clock,
    );
    for (let n = 0; n < 10_000; n += 1) log.refused({ n }, 'refused');
    expect(lines).toHaveLength(20);
    nowMs = 60_000;
    log.refused({}, 'refused');
    expect(lines.at(-2)).toContain('"suppressed":9980');
  });
});
