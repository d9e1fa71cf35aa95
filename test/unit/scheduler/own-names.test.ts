import { describe, expect, it } from 'vitest';
import type { Clock } from '../../../src/base/clock.ts';
import { createOwnNames } from '../../../src/scheduler/own-names.ts';

let nowMs = 0;
const clock: Clock = { wallMs: () => nowMs, monotonicMs: () => nowMs, after: () => ({ cancel() {} }) };
let addresses = ['10.0.0.7', '2001:db8::7'];
const names = (listenHost: string, extra: string[] = []) =>
  createOwnNames({ listenHost, names: extra, clock, hostName: () => 'Host-A', addresses: () => addresses });

describe('the names of a scheduler', () => {
  it('are those of loopback alone for one that listens there', () => {
    const own = names('127.0.0.1');
    expect(own.list()).toEqual(['localhost', '127.0.0.1', '::1']);
    for (const name of ['LOCALHOST', '[::1]', '127.0.0.1']) expect(own.has(name)).toBe(true);
    for (const name of ['host-a', '10.0.0.7', 'evil.example', '']) expect(own.has(name)).toBe(false);
  });

  it('are the configured ones, the one it listens on, and the name of the machine', () => {
    const own = names('10.0.0.7', ['scheduler.example']);
    for (const name of ['10.0.0.7', 'host-a', 'Scheduler.Example', 'localhost'])
      expect(own.has(name), name).toBe(true);
    expect(own.has('2001:db8::7')).toBe(false);
  });

  it('are all addresses of the machine for one that listens on all, as they are now', () => {
    const own = names('0.0.0.0');
    expect(own.has('[2001:db8::7]')).toBe(true);
    expect(own.has('0.0.0.0')).toBe(false);
    expect(own.list()).toContain('10.0.0.7');
    addresses = ['10.0.0.8'];
    expect(own.has('10.0.0.8')).toBe(false);
    nowMs += 10_000;
    expect(own.has('10.0.0.8')).toBe(true);
    expect(own.has('10.0.0.7')).toBe(false);
  });
});
