import { describe, expect, it } from 'vitest';
import { tlsKeys } from '../../../src/config/tls-keys.ts';
import { ValueProblem } from '../../../src/config/value.ts';

const keys = tlsKeys((value) => String(value));
const context = { folder: '/', environment: {} };
const names = (value: unknown) => keys['tls.names'].parse(value, context);

describe('the keys of TLS', () => {
  it('take names from a list or a text, in lower case and each once', () => {
    expect(names('Scheduler.example, 10.0.0.5,scheduler.example')).toEqual(['scheduler.example', '10.0.0.5']);
    expect(names(['a', '2001:DB8::1'])).toEqual(['a', '2001:db8::1']);
    expect(keys['tls.names'].format(['a', 'b'])).toBe('a,b');
  });

  it.each(['*.example', 'a_b', '-a', 'a..b', 'a:7070', '10.0.0', '10.0.0.256', 'https://a', '', 'a,,b', ' '])(
    'refuse %j as a name',
    (value) => {
      expect(() => names(value)).toThrow(ValueProblem);
    },
  );

  it('refuse more names than a certificate should have', () => {
    expect(() => names(Array.from({ length: 65 }, (_, at) => `n${at}`))).toThrow(/too many/);
  });

  it('bound how long certificates and overlaps last', () => {
    const life = (value: string) => keys['tls.lifetimeMs'].parse(value, context);
    expect(life('10s')).toBe(10_000);
    expect(() => life('9s')).toThrow(ValueProblem);
    expect(() => life('400d')).toThrow(ValueProblem);
    expect(keys['tls.overlapMs'].fallback({})).toBe(7 * 86_400_000);
    expect(() => keys['tls.mode'].parse('maybe', context)).toThrow(/mode of TLS/);
  });
});
