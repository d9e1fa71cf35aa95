import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { isFault } from '../../../src/base/fault.ts';
import { parseSchedulerMessage, printable, printableOwn } from '../../../src/link/message.ts';
import { MAX_FRAME_BYTES } from '../../../src/protocol/control.ts';
import { isNestedDeeper } from '../../../src/protocol/nesting.ts';
import { challenge, startOrderOf, welcome } from './parts.ts';

const parse = (text: string) => parseSchedulerMessage(Buffer.from(text)).message;
const codeOf = (text: string): string => {
  try {
    parse(text);
  } catch (error) {
    if (isFault(error)) return error.code;
    throw error;
  }
  return 'accepted';
};

describe('messages of a scheduler', () => {
  test('are accepted when they fit', () => {
    expect(parse(JSON.stringify(challenge))?.type).toBe('challenge');
    expect(parse(JSON.stringify(welcome))?.type).toBe('welcome');
    expect(parse(JSON.stringify(startOrderOf('job-1')))).toMatchObject({
      spec: { graceMs: 10_000, environment: {} },
    });
  });

  test('are refused with a code when they do not', () => {
    expect(codeOf('')).toBe('LINK_MESSAGE_SYNTAX');
    expect(codeOf('{"type":"ack",')).toBe('LINK_MESSAGE_SYNTAX');
    expect(codeOf('\u0000')).toBe('LINK_MESSAGE_SYNTAX');
    expect(codeOf(' '.repeat(MAX_FRAME_BYTES + 1))).toBe('LINK_FRAME_TOO_LONG');
    for (const text of [
      'null',
      '[]',
      '1e999',
      '"challenge"',
      '{}',
      '{"type":"unheardOf"}',
      '{"type":["ack"]}',
      '{"type":"ack"}',
      '{"type":"ack","sequence":"1"}',
      '{"type":"ack","sequence":0}',
      '{"type":"ack","sequence":-0}',
      '{"type":"ack","sequence":1.5}',
      '{"type":"ack","sequence":1e999}',
      '{"type":"ack","sequence":9007199254740993}',
      '{"type":"ack","sequence":null}',
      '{"type":"ack","sequence":1,"__proto__":{"admin":true}}',
      '{"type":"ack","sequence":1,"constructor":{}}',
      '{"type":"heartbeat","toString":1}',
      '{"type":"hello"}',
      '{"type":"__proto__"}',
      '{"type":"outputAck","jobId":"../../etc","epoch":1,"stdoutBytes":0,"stderrBytes":0}',
      '{"type":"ack","sequence":1,"more":1,"critical":["more"]}',
      '{"type":"start","orderId":"order-1","jobId":"../etc","epoch":1,"spec":{"version":1,"command":["true"]}}',
    ]) {
      expect([text, codeOf(text)]).toEqual([text, 'LINK_MESSAGE_INVALID']);
    }
  });

  test('of a newer scheduler are taken without what is unknown here, and it is told', () => {
    const take = (text: string) => parseSchedulerMessage(Buffer.from(text));
    expect(take('{"type":"ack","sequence":1,"more":{"deep":[1]},"evil\\nword":2}')).toEqual({
      message: { type: 'ack', sequence: 1 },
      ignored: ['more', '*'],
    });
    expect(take('{"type":"praise","optional":true,"words":[]}')).toEqual({
      message: null,
      ignored: ['type'],
    });
    expect(codeOf('{"type":"praise","optional":1}')).toBe('LINK_MESSAGE_INVALID');
    // Optional is what is unknown, not what is wrong.
    expect(codeOf('{"type":"ack","sequence":"1","optional":true}')).toBe('LINK_MESSAGE_INVALID');
  });

  test('whose order is not understood give its ids, so that it can be refused', () => {
    const order = (spec: object) =>
      parse(JSON.stringify({ ...startOrderOf('job-1'), spec: { version: 1, command: ['true'], ...spec } }));
    const unfit = { type: 'unfit', orderId: 'order-1', jobId: 'job-1', epoch: 1 };
    expect(order({ quantum: 1 })).toEqual({ ...unfit, field: 'spec.quantum' });
    expect(order({ resources: { cpus: 1, qubits: 3 } })).toEqual({ ...unfit, field: 'spec.resources' });
    expect(order({ version: 2 })).toEqual({ ...unfit, field: 'spec.version' });
    expect(order({ command: 'true' })).toEqual({ ...unfit, field: 'spec.command' });
  });

  test('cannot change a prototype through the one free map', () => {
    const order = `{"type":"start","orderId":"order-1","jobId":"job-1","epoch":1,"spec":{"version":1,"command":["true"],"environment":{"__proto__":"x","constructor":"y"}}}`;
    const message = parse(order);
    expect(message?.type === 'start' && Object.getPrototypeOf(message.spec.environment)).toBe(
      Object.prototype,
    );
    expect(({} as Record<string, unknown>).x).toBeUndefined();
  });

  test('nested a million deep are refused at once', () => {
    const before = process.cpuUsage();
    const text = '['.repeat(MAX_FRAME_BYTES / 2) + ']'.repeat(MAX_FRAME_BYTES / 2);
    expect(codeOf(text)).toBe('LINK_MESSAGE_NESTED');
    expect(codeOf('{"a":'.repeat(10_000))).toBe('LINK_MESSAGE_NESTED');
    expect(process.cpuUsage(before).user).toBeLessThan(250_000);
  });

  test('may hold the longest legal command even when JSON makes it six times as long', () => {
    const spec = { version: 1, command: ['true', '\u0001'.repeat(128 * 1024 - 16)] };
    const text = JSON.stringify({ type: 'start', orderId: 'order-1', jobId: 'job-1', epoch: 1, spec });
    expect(text.length).toBeGreaterThan(700_000);
    expect(codeOf(text)).toBe('accepted');
  });

  test('are never repeated by the fault that refuses them', () => {
    const secret = 'SECRET-7f3a';
    for (const text of [
      `${secret}`,
      `{"type":"${secret}"}`,
      `{"type":"ack","sequence":"${secret}","${secret}":1}`,
      `{"type":"start","orderId":"order-1","jobId":"job-1","epoch":1,"spec":{"version":1,"command":["a"],"environment":{"${secret}":"${secret}"}}}`,
    ]) {
      let told: unknown = null;
      try {
        told = parse(text);
      } catch (error) {
        expect(isFault(error)).toBe(true);
        told = [error, String(error), isFault(error) && error.cause];
      }
      expect(JSON.stringify(told)).not.toContain(secret);
    }
  });

  test('of any bytes give a message or a fault, nothing else', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.uint8Array({ maxLength: 200 }),
          fc.json().map((text) => Buffer.from(text)),
        ),
        (bytes) => {
          try {
            parseSchedulerMessage(bytes);
          } catch (error) {
            expect(isFault(error)).toBe(true);
          }
        },
      ),
    );
  });
});

describe('depth of a text', () => {
  test('is the depth of its JSON, brackets in strings aside', () => {
    const depthOf = (value: unknown): number =>
      typeof value !== 'object' || value === null
        ? 0
        : 1 + Math.max(0, ...Object.values(value).map((child) => depthOf(child)));
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 6 }), fc.nat({ max: 8 }), (value, limit) => {
        const bytes = Buffer.from(JSON.stringify(value));
        expect(isNestedDeeper(bytes, limit)).toBe(depthOf(value) > limit);
      }),
    );
    expect(isNestedDeeper(Buffer.from('"[[[[\\"[[[["'), 1)).toBe(false);
  });
});

test('printable words hold no control characters and have an end', () => {
  expect(printable('a\u001b[31m\nb\u202e\u2028c')).toBe('a [31m b c');
  expect(printable('x'.repeat(1000)).length).toBe(201);
  expect(printableOwn('x\n'.repeat(1000)).length).toBe(1001);
});
