import { describe, expect, it } from 'vitest';
import { defaultTls, requireTls } from '../../../../src/scheduler/tls/tls.ts';

describe('whether a scheduler speaks TLS', () => {
  it.each([
    ['127.0.0.1', false],
    ['localhost', false],
    ['::1', false],
    ['0.0.0.0', true],
    ['::', true],
    ['10.0.0.1', true],
    ['scheduler.example', true],
    ['127.0.0.1.evil.example', true],
  ])('by itself on %s: %s', (host, isTls) => {
    expect(requireTls(defaultTls, host)).toBe(isTls);
  });

  it('follows the operator on loopback, and with own files', () => {
    expect(requireTls({ ...defaultTls, mode: 'on' }, '127.0.0.1')).toBe(true);
    expect(requireTls({ ...defaultTls, mode: 'off' }, '127.0.0.1')).toBe(false);
    expect(requireTls({ ...defaultTls, certFile: '/c', keyFile: '/k' }, '127.0.0.1')).toBe(true);
  });

  it.each([
    ['SCHEDULER_LISTEN_OPEN', { mode: 'off' as const }, '0.0.0.0'],
    ['TLS_FILES_HALF', { certFile: '/c' }, '127.0.0.1'],
    ['TLS_FILES_HALF', { keyFile: '/k' }, '127.0.0.1'],
    ['TLS_FILES_OFF', { mode: 'off' as const, certFile: '/c', keyFile: '/k' }, '127.0.0.1'],
  ])('is refused with %s', (code, change, host) => {
    expect(() => requireTls({ ...defaultTls, ...change }, host)).toThrow(
      expect.objectContaining({ code, remedy: expect.stringMatching(/\S/) }),
    );
  });
});
