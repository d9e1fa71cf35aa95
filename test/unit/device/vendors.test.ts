// What every vendor of the list must fulfil, whatever its tool.
import { describe, expect, test } from 'vitest';
import type { DeviceReading } from '../../../src/device/accelerator.ts';
import { grantOf } from '../../../src/device/grant.ts';
import { emptyReading } from '../../../src/device/reading.ts';
import { createVendors } from '../../../src/device/vendors.ts';

const vendors = createVendors();

/** Devices with numbers that are told apart wherever one of them turns up. */
function device(index: number, nodeNumber: number | null = 700 + index): DeviceReading {
  return {
    ...emptyReading(index, `GPU-00000000000000${40 + index}`),
    nodeNumber,
    busId: `0000:${index + 10}:00.0`,
  };
}

/** Those of a grant that say which devices are seen; others set how they are counted. */
const choosing = (environment: Readonly<Record<string, string>>): [string, string][] =>
  Object.entries(environment).filter(([name]) => name.endsWith('_VISIBLE_DEVICES'));

/** Indexes, node numbers and ids in a value or a path. */
const namesIn = (text: string): string[] => text.match(/GPU-[0-9a-f]+|\d+/g) ?? [];

test('names are spelled in one way, and no tool belongs to two vendors', () => {
  expect(vendors.length).toBeGreaterThanOrEqual(10);
  for (const { name, title } of vendors) {
    expect(name).toMatch(/^[a-z]{3,20}$/);
    expect(title).toMatch(/^[A-Z][A-Za-z ]+$/);
  }
  const names = vendors.map(({ name }) => name);
  expect(new Set(names).size).toBe(names.length);
  const tools = vendors.flatMap((vendor) => vendor.tools);
  expect(new Set(tools).size).toBe(tools.length);
  for (const tool of tools) expect(tool).toMatch(/^[a-z][a-z0-9_-]+$/);
});

describe.each(vendors)('$name', (vendor) => {
  test('grants the devices it was given, and names no other', () => {
    for (const indexes of [[0], [1], [0, 2], [1, 2, 3], [7], [0, 1, 2, 3, 4, 5, 6, 7]]) {
      const given = indexes.map((index) => device(index));
      const { environment, deviceNodes } = vendor.grant(given);
      const allowed = new Set(
        given
          .flatMap(({ id, index, nodeNumber }) => [id, `${index}`, `${nodeNumber}`])
          .concat(
            // The runtime above another one counts what that one leaves, from 0.
            vendor.name === 'amd' ? given.map((_, at) => `${at}`) : [],
          ),
      );
      for (const [, value] of choosing(environment)) {
        const named = namesIn(value);
        for (const each of named) expect(allowed).toContain(each);
        expect(named).toHaveLength(given.length);
      }
      const own = deviceNodes.flatMap((path) => namesIn(path));
      for (const each of own) expect(allowed).toContain(each);
      expect(own).toHaveLength(given.length);
      for (const path of deviceNodes) expect(path).toMatch(/^\/dev\/[a-z][\w./-]*$/);
      expect(new Set(deviceNodes).size).toBe(deviceNodes.length);
    }
  });

  test('gives no node whose number is not known', () => {
    const { deviceNodes } = vendor.grant([device(3, null)]);
    expect(deviceNodes.flatMap((path) => namesIn(path))).toEqual([]);
  });

  test('hides by every variable that it grants by, and hides all', () => {
    const { environment } = vendor.grant([device(0), device(1)]);
    const names = choosing(environment).map(([name]) => name);
    expect(Object.keys(vendor.hidden).sort()).toEqual(names.sort());
    expect(names.length).toBeGreaterThan(0);
    for (const value of Object.values(vendor.hidden)) expect(value).toMatch(/^(?:-1|void|NoDevFiles)$/);
    // Nothing granted is hidden as well.
    for (const [name, value] of choosing(vendor.grant([]).environment))
      expect([vendor.hidden[name], '']).toContain(value);
    expect(vendor.grant([]).deviceNodes.flatMap((path) => namesIn(path))).toEqual([]);
  });

  test('stands beside every other vendor: what is granted wins over what hides', () => {
    const member = { vendor, reading: device(1), slot: 0, unread: null };
    for (const other of vendors) {
      const { environment } = grantOf([member as never], [vendor, other]);
      expect(environment).toMatchObject(vendor.grant([device(1)]).environment);
      const others = Object.entries(other.hidden).filter(([name]) => !(name in vendor.hidden));
      expect(environment).toMatchObject(Object.fromEntries(others));
    }
  });

  test('judges events without a word of nonsense', () => {
    for (const kind of ['xid', 'ecc', 'fault', 'lost', 'returned'] as const)
      for (const code of [0, 79, 0x80e18402, 2 ** 32 - 1, -1]) {
        const finding = vendor.judgeEvent?.({ kind, code, count: 3, detail: 'x'.repeat(5000) }) ?? null;
        expect(finding?.text.length ?? 0).toBeLessThanOrEqual(512);
        expect(finding?.code ?? 'none').toMatch(/^[A-Za-z0-9-]{1,64}$/);
        if (kind === 'returned') expect(finding).toBeNull();
      }
  });
});
