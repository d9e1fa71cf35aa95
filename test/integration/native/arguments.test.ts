// Wrong arguments, every one a TypeError that names it; nothing else ever, whatever is passed.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, describe, expect, it } from 'vitest';
import { addon, isBuilt, packageRoot, title } from './addon.ts';

type Loose = Record<string, (...values: unknown[]) => unknown>;
const loose = (): Loose => addon() as unknown as Loose;

function errorOf(name: string, ...values: unknown[]): Error {
  try {
    loose()[name]?.(...values);
  } catch (error) {
    if (error instanceof Error) return error;
  }
  throw new Error(`${name} threw nothing`);
}

afterEach(() => {
  if (isBuilt) addon().closeReader();
});

const roots = { procRoot: '/proc', sysRoot: '/sys', periodMs: 100 };
/** One that the addon knows. */
const vendor = /&(?<name>[a-z]+)_vendor/.exec(
  readFileSync(join(packageRoot, 'native/vendor/catalogue.c'), 'utf8'),
)?.groups?.name;
const f64 = (length: number): Float64Array => new Float64Array(length);

describe.skipIf(!isBuilt)(title('arguments of the addon'), () => {
  it.each([
    ['options', 'openReader', []],
    ['options', 'openReader', ['x']],
    ['options', 'openReader', [null]],
    ['procRoot', 'openReader', [{}]],
    ['procRoot', 'openReader', [{ ...roots, procRoot: '' }]],
    ['procRoot', 'openReader', [{ ...roots, procRoot: '/a\0b' }]],
    ['procRoot', 'openReader', [{ ...roots, procRoot: 'x'.repeat(5000) }]],
    ['sysRoot', 'openReader', [{ ...roots, sysRoot: 3 }]],
    ['periodMs', 'openReader', [{ ...roots, periodMs: 9 }]],
    ['periodMs', 'openReader', [{ ...roots, periodMs: 10_001 }]],
    ['periodMs', 'openReader', [{ ...roots, periodMs: 10.5 }]],
    ['periodMs', 'openReader', [{ ...roots, periodMs: Number.NaN }]],
    ['periodMs', 'openReader', [{ ...roots, periodMs: '100' }]],
    ['vendors', 'openReader', [{ ...roots, vendors: 'x' }]],
    ['vendors[1]', 'openReader', [{ ...roots, vendors: [vendor, 5] }]],
    ['vendors[0]', 'openReader', [{ ...roots, vendors: ['acme'] }]],
    ['kernelLog', 'openReader', [{ ...roots, kernelLog: '' }]],
    ['kernelLog', 'openReader', [{ ...roots, kernelLog: 5 }]],
    ['wake', 'watchDevices', []],
    ['wake', 'watchDevices', [{}]],
    ['header', 'takeWindow', []],
    ['header', 'takeWindow', [new Float32Array(8), f64(1), new Uint8Array(1)]],
    ['header', 'takeWindow', [f64(7), f64(1), new Uint8Array(1)]],
    ['values', 'takeWindow', [f64(8), new BigInt64Array(1), new Uint8Array(1)]],
    ['reasons', 'takeWindow', [f64(8), f64(1), new Uint8ClampedArray(1)]],
    ['reasons', 'takeWindow', [f64(8), f64(1), new DataView(new ArrayBuffer(8))]],
    ['state', 'notify', []],
    ['state', 'notify', ['']],
    ['state', 'notify', ['a\0b']],
    ['path', 'spawn', []],
    ['path', 'spawn', ['', ['x'], []]],
    ['argv', 'spawn', ['/bin/true', [], []]],
    ['argv', 'spawn', ['/bin/true', 'true', []]],
    ['argv', 'spawn', ['/bin/true', { length: 1, 0: 'true' }, []]],
    ['argv[1]', 'spawn', ['/bin/true', ['true', 3], []]],
    ['argv[0]', 'spawn', ['/bin/true', ['a\0'], []]],
    ['argv', 'spawn', ['/bin/true', new Array(2 ** 32 - 1), []]],
    ['environment', 'spawn', ['/bin/true', ['true'], undefined]],
    ['environment[0]', 'spawn', ['/bin/true', ['true'], [null]]],
    ['path', 'lockFile', [7]],
    ['fd', 'peerUser', ['3']],
    ['fd', 'peerUser', [-1]],
    ['path', 'removeTree', []],
    ['path', 'removeTree', ['']],
    ['path', 'removeTree', ['a\0b']],
    ['precision', 'measureFlops', ['fp16', 1, 1]],
    ['precision', 'measureFlops', ['fp64fp64fp64', 1, 1]],
    ['precision', 'measureFlops', [undefined, 1, 1]],
    ['threads', 'measureFlops', ['fp64', 0, 1]],
    ['threads', 'measureFlops', ['fp64', 1025, 1]],
    ['durationMs', 'measureFlops', ['fp32', 1, Number.POSITIVE_INFINITY]],
    ['durationMs', 'measureFlops', ['fp32', 1, 0]],
  ] as [string, string, unknown[]][])(
    'a wrong %s of %s is a TypeError that names it (case %#)',
    (field, name, values) => {
      const error = errorOf(name, ...values);
      expect(error).toBeInstanceOf(TypeError);
      expect(error.message.startsWith(`${field} `)).toBe(true);
    },
  );

  it('passes the error of a getter on', () => {
    const options = {
      get procRoot(): string {
        throw new RangeError('mine');
      },
    };
    expect(errorOf('openReader', options).message).toBe('mine');
  });

  it('takes detached memory as none at all', () => {
    addon().openReader(roots);
    const memory = new ArrayBuffer(80_000);
    const values = new Float64Array(memory);
    structuredClone(memory, { transfer: [memory] });
    const count = addon().readerColumns().length;
    expect(addon().takeWindow(f64(8), values, new Uint8Array(10_000))).toBe(count);
  });

  it('throws or answers, whatever is passed', () => {
    const names = [
      'openReader',
      'readerColumns',
      'takeWindow',
      'closeReader',
      'notify',
      'reap',
      'lockFile',
      'peerUser',
    ];
    const value = fc.oneof(
      fc.anything({ withTypedArray: true, withDate: true, withSparseArray: true, withBigInt: true }),
      fc.constantFrom(
        f64(8),
        f64(4000),
        new Uint8Array(1000),
        roots,
        Symbol('x'),
        () => 1,
        new Proxy({}, {}),
      ),
    );
    // No path that could exist: lockFile creates.
    const safe = fc
      .array(value, { maxLength: 5 })
      .map((values) => values.map((v) => (typeof v === 'string' ? `/nosuch/${v}` : v)));
    fc.assert(
      fc.property(fc.constantFrom(...names), safe, (name, values) => {
        try {
          loose()[name]?.(...values);
        } catch (error) {
          if (!(error instanceof Error)) throw error;
        }
      }),
      { numRuns: 500 },
    );
  });
});
